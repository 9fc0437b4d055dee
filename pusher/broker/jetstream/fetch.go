// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// fetchTimeout bounds one request, so that one that was lost can be repeated.
const fetchTimeout = 2 * time.Second

// stored is a message as the stream keeps it.
type stored struct {
	seq  uint64
	at   time.Time
	body []byte
}

// follows reports whether all events behind a sequence are kept, if this is the
// first kept message of the log. Limits and age drop the oldest first.
func (m *stored) follows(after uint64) bool {
	if m.seq <= after+1 {
		return true
	}
	_, mk, _ := decode(m.body)
	return mk != nil && mk.floor <= after // not noFloor
}

// getRequest asks any node for messages ("direct get", NATS ADR-31).
type getRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	MultiLast []string   `json:"multi_last,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
}

// got is the answer: messages in the order of the stream, and how many more there
// are that fit the request.
type got struct {
	msgs     []stored
	subjects []string // of the messages
	pending  uint64
	upto     uint64 // how far the node's stream reached; only for MultiLast
}

// fetch asks any node for a batch of messages. That node may lag behind others.
func (b *Broker) fetch(ctx context.Context, r getRequest) (*got, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	inbox := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := b.nc.PublishRequest("$JS.API.DIRECT.GET."+b.config.Stream, inbox, body); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	g := &got{}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("fetch: %w", err)
		}
		if done, err := g.add(m); err != nil {
			return nil, fmt.Errorf("fetch: %w", err)
		} else if done {
			return g, nil
		}
	}
}

// add takes one message of the answer, and reports whether it was the last.
func (g *got) add(m *nats.Msg) (done bool, err error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "204": // end of batch
		g.pending = number(m, "Nats-Num-Pending")
		g.upto = number(m, "Nats-UpTo-Sequence")
		return true, g.check(number(m, "Nats-Last-Sequence"))
	case "404":
		return true, nil
	case "503":
		return false, nats.ErrNoResponders
	default:
		return false, fmt.Errorf("status %s %s", status, m.Header.Get("Description"))
	}
	s, err := parseStored(m)
	if err != nil {
		return false, err
	}
	if err := g.check(number(m, "Nats-Last-Sequence")); err != nil {
		return false, err
	}
	g.msgs = append(g.msgs, s)
	g.subjects = append(g.subjects, m.Header.Get("Nats-Subject"))
	return false, nil
}

// check holds the last message to what the next one says of it.
func (g *got) check(last uint64) error {
	var have uint64
	if n := len(g.msgs); n > 0 {
		have = g.msgs[n-1].seq
	}
	if last != have {
		return errors.New("a part of the answer was lost")
	}
	return nil
}

func parseStored(m *nats.Msg) (stored, error) {
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	s := stored{number(m, "Nats-Sequence"), at, m.Data}
	if err != nil || s.seq == 0 {
		return stored{}, errors.New("a message without a sequence or a time")
	}
	return s, nil
}

func number(m *nats.Msg, header string) uint64 {
	n, _ := strconv.ParseUint(m.Header.Get(header), 10, 64)
	return n
}

// firstOf is the first message that is kept of a log; nil: there is none.
func (b *Broker) firstOf(ctx context.Context, subject string) (*stored, error) {
	g, err := b.fetch(ctx, getRequest{Seq: 1, NextFor: subject, Batch: 1})
	if err != nil || len(g.msgs) == 0 {
		return nil, err
	}
	return &g.msgs[0], nil
}

// leaderRequest asks the stream's leader for one message.
type leaderRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
}

// leaderGet asks the leader, who lags behind nobody; nil: there is no such message.
func (b *Broker) leaderGet(ctx context.Context, r leaderRequest) (*stored, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+b.config.Stream, body)
	if err != nil {
		return nil, fmt.Errorf("ask the leader: %w", err)
	}
	var answer struct {
		Error   *apiError `json:"error"`
		Message struct {
			Seq  uint64    `json:"seq"`
			Data []byte    `json:"data"`
			Time time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("ask the leader: %w", err)
	}
	if e := answer.Error; e != nil {
		if e.Code == codeNoMessage {
			return nil, nil
		}
		return nil, fmt.Errorf("ask the leader: %w", e)
	}
	return &stored{answer.Message.Seq, answer.Message.Time, answer.Message.Data}, nil
}

// begin writes the mark that a log without messages begins with, unless somebody
// else does, and returns the log's last message.
func (b *Broker) begin(ctx context.Context, in *life, subject string) (*stored, error) {
	for {
		last, err := b.leaderGet(ctx, leaderRequest{LastFor: subject})
		if err != nil || last != nil {
			return last, err
		}
		first := mark{floor: noFloor}
		seq, err := b.mark(ctx, in, subject, 0, first)
		if err == nil {
			return &stored{seq, time.Now(), encodeMark(first)}, nil
		}
		if !wrongLast(err) {
			return nil, err
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// noFloor is the floor of a mark that knows nothing of what came before.
const noFloor = 1<<64 - 1

// mark writes a mark behind the log's last message.
func (b *Broker) mark(ctx context.Context, in *life, subject string, last uint64, m mark) (uint64, error) {
	msg := nats.NewMsg(subject)
	msg.Data = encodeMark(m)
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(last, 10))
	ack, err := b.send(ctx, msg)
	if err != nil {
		return 0, err
	}
	in.saw(ack.Seq)
	return ack.Seq, nil
}
