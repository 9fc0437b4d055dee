// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// eventCost is what a kept event takes besides the bytes of its strings and data.
const eventCost = 320

// history is what is kept of one log: the last events without a gap. Its lock is
// its own, so that whoever reads does not wait for a delivery.
type history struct {
	// Static.
	epoch string

	// Guarded by mu.
	mu     sync.Mutex
	limits settings.History
	kept   queue[kept]
	bytes  int64
	last   uint64 // sequence of the last event, kept or not
}

type kept struct {
	event *wire.Event
	at    time.Time
	cost  int64
}

// add keeps the event that has the next sequence.
func (h *history) add(ev *wire.Event, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	if h.limits.Size == 0 {
		return
	}
	k := kept{ev, now, costOf(ev)}
	h.kept.push(k)
	h.bytes += k.cost
	h.trim(now)
}

func costOf(ev *wire.Event) int64 {
	n := eventCost + ev.Size() + len(ev.ID) + len(ev.Name)
	for _, list := range [][]string{ev.Rooms, ev.Users, ev.Sessions} {
		for _, s := range list {
			n += len(s) + 16
		}
	}
	return int64(n)
}

// limit holds what is kept to other limits.
func (h *history) limit(to settings.History, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limits = to
	h.trim(now)
}

// trim drops what is over the limits.
func (h *history) trim(now time.Time) {
	for n := h.kept.len(); n > 0; n-- {
		first := h.kept.at(0)
		if int64(n) <= h.limits.Size && h.bytes <= h.limits.Bytes && now.Sub(first.at) <= h.limits.TTL.Std() {
			return
		}
		h.bytes -= first.cost
		h.kept.pop()
	}
}

// size is how many events are kept, and what they take.
func (h *history) size(now time.Time) (events int, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trim(now)
	return h.kept.len(), h.bytes
}

// read returns a part of what is kept.
func (h *history) read(r wire.Range, now time.Time) (wire.Page, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trim(now)
	before := h.last - uint64(h.kept.len()) //nolint:gosec // a length; sequence before the first kept
	oldest := wire.Position{Epoch: h.epoch, Seq: before}
	if r.After == (wire.Position{}) {
		r.After = oldest
	}
	if r.After.Epoch != h.epoch || r.After.Seq < before || r.After.Seq > h.last {
		return wire.Page{}, &wire.LostError{Oldest: oldest, Newest: wire.Position{Epoch: h.epoch, Seq: h.last}}
	}
	upto := h.last
	if r.Upto != 0 {
		upto = min(max(r.Upto, r.After.Seq), h.last)
	}
	through := min(upto, r.After.Seq+uint64(r.Limit)) //nolint:gosec // at least 1
	p := wire.Page{
		Events:  make([]wire.Stored, 0, through-r.After.Seq),
		Through: wire.Position{Epoch: h.epoch, Seq: through}, More: through < upto, Oldest: oldest,
	}
	for seq := r.After.Seq + 1; seq <= through; seq++ {
		k := h.kept.at(int(seq - before - 1)) //nolint:gosec // less than a length
		p.Events = append(p.Events, wire.Stored{Position: wire.Position{Epoch: h.epoch, Seq: seq}, Event: k.event, Published: k.at})
	}
	return p, nil
}
