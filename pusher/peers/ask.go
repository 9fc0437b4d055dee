// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
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

// Ask asks all other replicas and returns the parts of their answers, in no order,
// and whether all that are known to be there have answered. It waits for them for
// two seconds at most, or until ctx is done.
func (m *Mesh) Ask(ctx context.Context, question []byte) (parts [][]byte, all bool) {
	waiting := m.Present()
	if len(waiting) == 0 {
		return nil, m.config.Conn.IsConnected()
	}
	inbox := m.config.Conn.NewRespInbox()
	sub, err := m.config.Conn.SubscribeSync(inbox)
	if err != nil {
		return nil, false
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := m.config.Conn.PublishRequest(m.config.Prefix+".ask", inbox, append(m.id(), question...)); err != nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for len(waiting) > 0 {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			m.config.Log.Warn("replicas have not answered in time", "missing", len(waiting))
			return parts, false
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
	return parts, true
}

// AskOne asks one of the other replicas. It reports false when that gives no answer, or
// does not give one in two seconds.
func (m *Mesh) AskOne(ctx context.Context, id uint32, question []byte) (answer []byte, ok bool) {
	if _, ok := m.find(id); !ok {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	msg, err := m.config.Conn.RequestWithContext(ctx, m.own(id), append(m.id(), question...))
	if err != nil || len(msg.Data) < answerHead || msg.Data[4] == 1 {
		return nil, false
	}
	return msg.Data[answerHead:], true
}

// own is the subject of what is for one replica alone.
func (m *Mesh) own(id uint32) string { return fmt.Sprintf("%s.ask.%08x", m.config.Prefix, id) }

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

// Publish tells those of the other replicas that listen for a topic something that
// needs no answer.
func (m *Mesh) Publish(topic string, what []byte) {
	_ = m.config.Conn.Publish(m.subject(topic), what) // best effort
}

// Listen has take called, for one at a time, with what is published for a topic,
// until stop.
func (m *Mesh) Listen(topic string, take func(what []byte)) (stop func()) {
	s, err := m.config.Conn.Subscribe(m.subject(topic), func(msg *nats.Msg) { take(msg.Data) })
	if err != nil {
		return func() {} // the connection is closed for good
	}
	return func() { _ = s.Unsubscribe() } // as above
}

// subject is where a topic is published, of whatever it consists.
func (m *Mesh) subject(topic string) string {
	sum := sha256.Sum256([]byte(topic))
	return m.config.Prefix + ".topic." + hex.EncodeToString(sum[:16])
}
