// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
)

const (
	// messageCost is about what the stream takes for a message besides its body.
	messageCost = 160
	// parts is how many parts a log's bytes are dropped in.
	parts = 16
)

// keptBytes knows about what a log's messages take that were seen here, in parts.
type keptBytes struct {
	parts []part
	bytes int64
}

type part struct {
	last  uint64 // sequence of its last message
	bytes int64
}

// add takes in a message, and returns the sequence until which what is more than
// the limit can be dropped; 0: nothing.
func (k *keptBytes) add(seq uint64, size int, limit int64) (upto uint64) {
	cost := int64(size) + messageCost
	if n := len(k.parts); n == 0 || k.parts[n-1].bytes+cost > limit/parts {
		k.parts = append(k.parts, part{})
	}
	p := &k.parts[len(k.parts)-1]
	p.last, p.bytes = seq, p.bytes+cost
	k.bytes += cost
	for k.bytes > limit && len(k.parts) > 1 {
		upto = k.parts[0].last
		k.bytes -= k.parts[0].bytes
		k.parts = k.parts[1:]
	}
	return upto
}

// weigh lets the stream drop what is more than the history's bytes. The message
// before what is kept stays, so that it is known what was dropped.
func (l *channelLog) weigh(in *life, m stored) {
	h := l.limits()
	if h.Bytes == 0 {
		return
	}
	upto := l.chain.kept.add(m.seq, len(m.body), h.Bytes)
	if upto == 0 {
		return
	}
	subject := l.broker.subject(in.epoch, l.token)
	l.broker.spawn(func() {
		if err := l.broker.purge(subject, upto); err != nil {
			l.broker.config.Log.Warn("more than the history's bytes are kept for now", "channel", l.name, "error", err)
		}
	})
}

// purge drops a log's messages before a sequence.
func (b *Broker) purge(subject string, before uint64) error {
	ctx, cancel := context.WithTimeout(b.ctx, b.config.Timeout)
	defer cancel()
	body, err := json.Marshal(map[string]any{"filter": subject, "seq": before})
	if err != nil {
		return err
	}
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+b.config.Stream, body)
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if answer.Error != nil {
		return fmt.Errorf("purge: %w", answer.Error)
	}
	return nil
}
