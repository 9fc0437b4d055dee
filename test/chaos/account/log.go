// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Key names an event: the publisher, and its number among those of that publisher.
type Key struct{ Publisher, Seq int }

// String is the event's id.
func (k Key) String() string { return fmt.Sprintf("p%d-%d", k.Publisher, k.Seq) }

// Event is an event that a publisher was told is stored.
type Event struct {
	Key
	Room     string // "": for the whole channel
	Position wire.Position
}

// For reports whether the event is addressed to who is in a room.
func (e *Event) For(room string) bool { return e.Room == "" || e.Room == room }

// Log is all events of a channel, in their order.
type Log struct {
	Events []Event

	index map[Key]int
	epoch map[string]int // when it began
}

// NewLog puts events, as their publishers got the acknowledgements, in order. It
// returns what cannot be: two events in one place, or a publisher's events in
// another order than it has published them.
func NewLog(acked []Event) (*Log, error) {
	l := &Log{Events: slices.Clone(acked), index: map[Key]int{}, epoch: map[string]int{}}
	for i := range acked {
		if _, known := l.epoch[acked[i].Position.Epoch]; !known {
			l.epoch[acked[i].Position.Epoch] = len(l.epoch)
		}
	}
	slices.SortStableFunc(l.Events, func(a, b Event) int { return l.compare(a.Position, b.Position) })
	last := map[int]int{}
	for i := range l.Events {
		e := &l.Events[i]
		if i > 0 && l.Events[i-1].Position == e.Position {
			return nil, fmt.Errorf("events %s and %s are both at %s", l.Events[i-1].Key, e.Key, e.Position)
		}
		if e.Seq <= last[e.Publisher] {
			return nil, fmt.Errorf("event %s is stored behind number %d of the same publisher", e.Key, last[e.Publisher])
		}
		last[e.Publisher] = e.Seq
		l.index[e.Key] = i
	}
	return l, nil
}

// compare orders positions. An epoch in which nothing was stored comes last.
func (l *Log) compare(a, b wire.Position) int {
	return cmp.Or(cmp.Compare(l.rank(a.Epoch), l.rank(b.Epoch)), cmp.Compare(a.Seq, b.Seq))
}

func (l *Log) rank(epoch string) int {
	if n, known := l.epoch[epoch]; known {
		return n
	}
	return len(l.epoch)
}

// behind is the index of the first event behind a position.
func (l *Log) behind(at wire.Position) int {
	return sort.Search(len(l.Events), func(i int) bool { return l.compare(l.Events[i].Position, at) > 0 })
}
