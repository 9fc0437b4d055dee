// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// ErrUnknownChannel means that the broker has no log of that channel.
var ErrUnknownChannel error = unknownChannel{}

type unknownChannel struct{}

func (unknownChannel) Error() string { return "there is no such channel" }

// Code is the stable word for the error that publishers are shown.
func (unknownChannel) Code() string { return "unknown_channel" }

// Memory is the broker of a single replica. What it knows ends with the
// process: a new one begins new epochs.
type Memory struct {
	// Static.
	deliver func(channel string, pos wire.Position, ev *wire.Event)
	clock   func() time.Time

	// Guarded by mu.
	mu   sync.RWMutex
	logs map[string]*channelLog
}

// channelLog is the order of one channel. Its lock is held while an event is
// delivered, so that no two channels wait for each other.
type channelLog struct {
	// Static.
	epoch string
	uid   string // of the channel

	// delivered is the sequence of the last event whose delivery is done.
	delivered atomic.Uint64

	// Guarded by mu.
	mu     sync.Mutex
	closed bool
	seq    uint64
	seen   window

	history history
}

// NewMemory returns a broker without channels. It calls deliver for each stored
// event, in order and one at a time for a channel, at the same time for several
// channels; deliver must not publish to the same channel, change the channels,
// or wait for a client. A nil clock is time.Now.
func NewMemory(deliver func(channel string, pos wire.Position, ev *wire.Event), clock func() time.Time) *Memory {
	if clock == nil {
		clock = time.Now
	}
	return &Memory{deliver: deliver, clock: clock, logs: map[string]*channelLog{}}
}

// SetChannels gives every channel a log, keeps those that there are, with as much
// of their history as is wanted now, and ends all others. When it returns, nothing
// is delivered to an ended log any more. A channel that ended and comes back, or is
// another of the name by its UID, has a new log: another epoch, from the beginning.
func (m *Memory) SetChannels(channels []settings.Channel) {
	for _, l := range m.swap(channels) {
		l.close() // may wait for a delivery, so nobody else waits for this
	}
}

// swap puts the logs of channels in place and returns those that ended.
func (m *Memory) swap(channels []settings.Channel) []*channelLog {
	m.mu.Lock()
	defer m.mu.Unlock()
	logs := make(map[string]*channelLog, len(channels))
	for i := range channels {
		c := &channels[i]
		l := m.logs[c.Name]
		if l == nil || l.uid != c.UID {
			l = newLog(c.UID)
		}
		l.history.limit(c.History, m.clock())
		logs[c.Name] = l
	}
	var ended []*channelLog
	for name, l := range m.logs {
		if logs[name] != l {
			ended = append(ended, l)
		}
	}
	m.logs = logs
	return ended
}

func newLog(uid string) *channelLog {
	epoch := newEpoch()
	return &channelLog{epoch: epoch, uid: uid, history: history{epoch: epoch}}
}

func (m *Memory) log(channel string) *channelLog {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.logs[channel]
}

// Publish stores the events in the channel's log and answers with a receipt for
// each, in their order. It owns the events from then on.
//
// Delivery guarantees:
//   - All events are stored, next to each other and in their order, or, with an
//     error, none is. Errors are ErrUnknownChannel and the context's.
//   - Sequences of a log rise; with Memory they begin with 1 and leave no gap.
//     Every stored event is delivered exactly once, in the order of the sequences.
//     With Memory it has been delivered when Publish returns.
//   - An event whose ID was stored in this log within the dedup window (two
//     minutes, and at most 8 MiB of ids: see window) is not stored again: its
//     receipt says Duplicate and has the position of the first. That holds
//     within one call too.
//   - An event without an ID is never a duplicate. It is given its position's
//     string as its ID.
func (m *Memory) Publish(ctx context.Context, channel string, events []*wire.Event) ([]wire.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := m.log(channel)
	if l == nil {
		return nil, ErrUnknownChannel
	}
	receipts := make([]wire.Receipt, 0, len(events))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrUnknownChannel
	}
	now := m.clock()
	l.seen.forget(now)
	for _, ev := range events {
		r := l.store(ev, now)
		if !r.Duplicate {
			m.deliver(channel, r.Position, ev)
			l.delivered.Store(r.Position.Seq)
		}
		receipts = append(receipts, r)
	}
	return receipts, nil
}

// Position is the place of the last event that has been delivered, with
// sequence 0 when there is none yet; false when there is no such channel. It
// waits for nobody.
func (m *Memory) Position(channel string) (wire.Position, bool) {
	l := m.log(channel)
	if l == nil {
		return wire.Position{}, false
	}
	return wire.Position{Epoch: l.epoch, Seq: l.delivered.Load()}, true
}

// Read returns a part of what is kept of a channel: see wire.Range. What Position
// says, or a delivery had, can be read at once.
//
// It can be read what follows a position if that is of the log's epoch, not ahead
// of it, and nothing that follows has been dropped by the channel's
// settings.History. Otherwise the error is a wire.LostError. Other errors are
// ErrUnknownChannel and the context's.
func (m *Memory) Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error) {
	if err := ctx.Err(); err != nil {
		return wire.Page{}, err
	}
	l := m.log(channel)
	if l == nil {
		return wire.Page{}, ErrUnknownChannel
	}
	return l.history.read(r, m.clock())
}

// Tidy drops what has become too old in channels that nobody publishes to or
// reads. It is to be called now and then.
func (m *Memory) Tidy() {
	m.mu.RLock()
	logs := slices.Collect(maps.Values(m.logs))
	m.mu.RUnlock()
	now := m.clock()
	for _, l := range logs {
		l.tidy(now)
	}
}

// Kept is how many events are kept of a channel and about how many bytes of
// memory they take. What has become too old is dropped.
func (m *Memory) Kept(channel string) (events int, bytes int64) {
	l := m.log(channel)
	if l == nil {
		return 0, 0
	}
	return l.history.size(m.clock())
}

// Attach does nothing for a channel that there is: with Memory everything is
// delivered, always.
func (m *Memory) Attach(ctx context.Context, channel string) error {
	if m.log(channel) == nil {
		return ErrUnknownChannel
	}
	return ctx.Err()
}

// Detach does nothing.
func (*Memory) Detach(string) {}

// Healthy is always nil.
func (*Memory) Healthy() error { return nil }

// Close does nothing.
func (*Memory) Close() {}

// store gives the event its place, or finds the one it has.
func (l *channelLog) store(ev *wire.Event, now time.Time) wire.Receipt {
	if ev.ID != "" {
		if seq, ok := l.seen.find(ev.ID); ok {
			return wire.Receipt{ID: ev.ID, Position: wire.Position{Epoch: l.epoch, Seq: seq}, Duplicate: true}
		}
	}
	l.seq++
	pos := wire.Position{Epoch: l.epoch, Seq: l.seq}
	if ev.ID == "" {
		ev.ID = pos.String()
	} else {
		l.seen.add(ev.ID, l.seq, now)
	}
	l.history.add(ev, now)
	return wire.Receipt{ID: ev.ID, Position: pos}
}

func (l *channelLog) tidy(now time.Time) {
	l.history.size(now)
	if l.mu.TryLock() { // otherwise somebody publishes, who forgets as well
		l.seen.forget(now)
		l.mu.Unlock()
	}
}

// close waits for a delivery that is under way.
func (l *channelLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// newEpoch names one life of a log: 40 random bits in lower-case base 32.
func newEpoch() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails
	return epochEncoding.EncodeToString(b[:])
}

var epochEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
