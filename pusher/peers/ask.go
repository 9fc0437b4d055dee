// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// askTimeout is how long the others may take over an answer.
	askTimeout = 2 * time.Second
	// answerHead is what each part of an answer begins with: who says it, and
	// whether it is the last.
	answerHead = 5
)

// Ask asks all other replicas and returns the parts of their answers, in no order.
// It returns when all that are known to be there have answered, and at the latest
// after two seconds, or when ctx is done: who has not answered by then is not
// heard.
func (m *Mesh) Ask(ctx context.Context, question []byte) (parts [][]byte) {
	waiting := m.present()
	if len(waiting) == 0 {
		return nil
	}
	inbox := m.config.Conn.NewRespInbox()
	sub, err := m.config.Conn.SubscribeSync(inbox)
	if err != nil {
		return nil
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := m.config.Conn.PublishRequest(m.config.Prefix+".ask", inbox, append(m.id(), question...)); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for len(waiting) > 0 {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			m.config.Log.Warn("replicas have not answered in time", "missing", len(waiting))
			return parts
		}
		if len(msg.Data) < answerHead {
			continue
		}
		if msg.Data[4] == 1 {
			delete(waiting, binary.BigEndian.Uint32(msg.Data))
		}
		if len(msg.Data) > answerHead {
			parts = append(parts, msg.Data[answerHead:])
		}
	}
	return parts
}

func (m *Mesh) id() []byte { return binary.BigEndian.AppendUint32(nil, m.config.ID) }

// asked answers another replica's question.
func (m *Mesh) asked(msg *nats.Msg) {
	if len(msg.Data) < 4 || binary.BigEndian.Uint32(msg.Data) == m.config.ID {
		return
	}
	m.mu.Lock()
	answer := m.answer
	m.mu.Unlock()
	m.tasks.Go(func() {
		var parts [][]byte
		if answer != nil {
			parts = answer(msg.Data[4:])
		}
		if msg.Reply == "" {
			return
		}
		for _, part := range parts {
			_ = msg.Respond(append(append(m.id(), 0), part...)) // who asked stops waiting by itself
		}
		_ = msg.Respond(append(m.id(), 1))
	})
}

// Tell tells all other replicas something that needs no answer.
func (m *Mesh) Tell(what []byte) {
	_ = m.config.Conn.Publish(m.config.Prefix+".ask", append(m.id(), what...)) // best effort
}
