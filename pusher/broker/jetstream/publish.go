// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// tryTimeout is how long an answer is waited for before the same is sent again.
	tryTimeout = 1500 * time.Millisecond
	// firstPause and lastPause are between tries.
	firstPause = 5 * time.Millisecond
	lastPause  = 250 * time.Millisecond
	// maxBatch is how many events one call may have: NATS takes no larger batch.
	maxBatch = 1000
)

// Publish stores the events in the channel's log and answers with a receipt for
// each, in their order, once a quorum of NATS's nodes has them. It owns the events
// from then on.
//
// Delivery guarantees, where they differ from broker.Memory's:
//   - Sequences of a log rise, with gaps. Every stored event is delivered to every
//     attached replica exactly once and in the order of the sequences, or
//     Config.Lost says that it was not. That may be before or after Publish
//     returns.
//   - The dedup window is two minutes, without a limit on its bytes, and that of all
//     replicas.
//   - With an UnavailableError, or the context's, it is not known whether the
//     events are stored: all are or none is. Published again with the same IDs they
//     are stored once. Their receipts may then say Duplicate.
//   - Other errors: RefusedError, nothing is stored. A call has at most 1,000
//     events.
func (b *Broker) Publish(ctx context.Context, channel string, events []*wire.Event) ([]wire.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l, err := b.log(channel)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return []wire.Receipt{}, nil
	}
	if len(events) > maxBatch {
		return nil, &RefusedError{fmt.Errorf("%d events at once are more than %d", len(events), maxBatch)}
	}
	if since := b.away.Load(); since != 0 && time.Since(time.Unix(0, since)) > b.config.Timeout {
		return nil, &UnavailableError{errors.New("not connected")} // and not only just now
	}
	within, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	p := newPublication(l.token, events)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		in, err := b.await(within)
		if err == nil {
			err = b.try(within, in, p)
		}
		if err == nil {
			return p.receipts(l, in), nil
		}
		if b.hopeless(err) {
			return nil, &RefusedError{err}
		}
		if gone(err) {
			b.kick() // perhaps there is no stream any more
		}
		if sleep(within, pause) != nil {
			return nil, b.failure(ctx, fmt.Errorf("publish to %s: %w", channel, err))
		}
	}
}

// try sends what is not stored yet, once.
func (b *Broker) try(ctx context.Context, in *life, p *publication) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if p.left() == 1 {
		return b.publishOne(ctx, in, p)
	}
	return b.publishBatch(ctx, in, p)
}

// hopeless reports whether the same will be refused again.
func (b *Broker) hopeless(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	var e *apiError
	if !errors.As(err, &e) {
		return false
	}
	return e.Status >= 400 && e.Status < 500 && e.Code != codeTooManyInflight && e.Code != codeDuplicateInProcess &&
		e.Code != codeBatchIncomplete && e.Code != codeBatchDuplicate
}

// publication is one call of Publish: what of it is stored, and where.
type publication struct {
	messages []*message // without doubles
	of       []int      // for each event its message
	first    []bool     // whether the event is the message's first
}

type message struct {
	event *wire.Event
	body  []byte
	id    string // for NATS; it begins with the log's token
	own   bool   // whether the publisher gave the id

	seq       uint64 // 0: not stored, as far as is known
	duplicate bool
}

// newPublication gives each event without an id one for NATS alone, so that it can
// be sent again when no answer comes.
func newPublication(token string, events []*wire.Event) *publication {
	p := &publication{of: make([]int, len(events)), first: make([]bool, len(events))}
	var byID map[string]int
	var made string
	for i, ev := range events {
		m := &message{event: ev, own: ev.ID != ""}
		if m.own {
			if at, ok := byID[ev.ID]; ok {
				p.of[i] = at
				continue
			}
			if byID == nil {
				byID = map[string]int{}
			}
			byID[ev.ID] = len(p.messages)
			m.id = token + "." + base64.RawURLEncoding.EncodeToString([]byte(ev.ID)) // a header takes no spaces at its ends
		} else {
			if made == "" {
				made = nats.NewInbox()[len(nats.InboxPrefix):]
			}
			m.id = fmt.Sprintf("%s/%s/%d", token, made, i)
		}
		m.body = encode(ev)
		p.of[i], p.first[i] = len(p.messages), true
		p.messages = append(p.messages, m)
	}
	return p
}

func (p *publication) left() (n int) {
	for _, m := range p.messages {
		if m.seq == 0 {
			n++
		}
	}
	return n
}

func (p *publication) receipts(l *channelLog, in *life) []wire.Receipt {
	out := make([]wire.Receipt, len(p.of))
	for i, at := range p.of {
		m := p.messages[at]
		pos := l.place(in, m.seq)
		out[i] = wire.Receipt{ID: m.event.ID, Position: pos, Duplicate: m.duplicate || !p.first[i]}
		if !m.own {
			out[i].ID = pos.String()
		}
	}
	return out
}

// ack is the stream's answer to a message.
type ack struct {
	Seq       uint64    `json:"seq"`
	Duplicate bool      `json:"duplicate"`
	Count     uint64    `json:"count"`
	Error     *apiError `json:"error"`
}

// send publishes one message and waits for the stream's answer.
func (b *Broker) send(ctx context.Context, msg *nats.Msg) (*ack, error) {
	m, err := b.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return nil, err
	}
	var a ack
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return nil, fmt.Errorf("the stream's answer: %w", err)
	}
	if a.Error != nil {
		return nil, a.Error
	}
	return &a, nil
}

func (b *Broker) message(in *life, m *message) *nats.Msg {
	msg := nats.NewMsg(b.subject(in.epoch, m.id[:tokenSize]))
	msg.Header.Set("Nats-Msg-Id", m.id)
	msg.Data = m.body
	return msg
}

func (b *Broker) publishOne(ctx context.Context, in *life, p *publication) error {
	for _, m := range p.messages {
		if m.seq != 0 {
			continue
		}
		a, err := b.send(ctx, b.message(in, m))
		if err != nil {
			return err
		}
		m.stored(a)
		in.saw(a.Seq)
	}
	return nil
}

// stored notes where the stream has the message. One whose id was made up here
// was stored by an earlier try.
func (m *message) stored(a *ack) {
	m.seq, m.duplicate = a.Seq, a.Duplicate && m.own
}
