// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// publishBatch stores all messages that are not stored yet, next to each other, or
// none (NATS ADR-50). NATS refuses a batch that has a message it knows already,
// without saying which: then each is asked for, and the others are sent again.
func (b *Broker) publishBatch(ctx context.Context, in *life, p *publication) error {
	select {
	case b.batch <- struct{}{}:
		defer func() { <-b.batch }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		err := b.sendBatch(ctx, in, p)
		if codeOf(err) != codeBatchDuplicate {
			return err
		}
		if err := b.findKnown(ctx, in, p); err != nil {
			return err
		}
		switch p.left() {
		case 0:
			return nil
		case 1:
			return b.publishOne(ctx, in, p)
		}
	}
}

func (b *Broker) sendBatch(ctx context.Context, in *life, p *publication) error {
	batch := nats.NewInbox()[len(nats.InboxPrefix):]
	var sent []*message
	left := uint64(p.left()) //nolint:gosec // a length
	for _, m := range p.messages {
		if m.seq != 0 {
			continue
		}
		sent = append(sent, m)
		msg := b.message(in, m)
		msg.Header.Set("Nats-Batch-Id", batch)
		n := uint64(len(sent))
		msg.Header.Set("Nats-Batch-Sequence", strconv.FormatUint(n, 10))
		if n < left {
			if err := b.nc.PublishMsg(msg); err != nil {
				return err
			}
			continue
		}
		msg.Header.Set("Nats-Batch-Commit", "1")
		a, err := b.send(ctx, msg)
		if err != nil {
			return err
		}
		if a.Count != left || a.Seq < left {
			return fmt.Errorf("the stream has taken %d of a batch of %d", a.Count, left)
		}
		in.saw(a.Seq)
		for i, m := range sent {
			m.seq = a.Seq - left + 1 + uint64(i)
		}
	}
	return nil
}

// findKnown asks for each message whether the stream knows its id, by sending it
// in a way that the stream refuses if it does not: as a rollup, of a kind that
// there is not, on a stream that takes none.
func (b *Broker) findKnown(ctx context.Context, in *life, p *publication) error {
	for _, m := range p.messages {
		if m.seq != 0 {
			continue
		}
		msg := b.message(in, m)
		msg.Data = nil
		msg.Header.Set("Nats-Rollup", "none")
		a, err := b.send(ctx, msg)
		switch {
		case codeOf(err) == codeRollupFailed: // not known
		case err != nil:
			return err
		case !a.Duplicate:
			return errors.New("the stream has taken a question for an event")
		default:
			m.stored(a)
		}
	}
	return nil
}
