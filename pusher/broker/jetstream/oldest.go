// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// oldestAge is how old a Page's Oldest may be.
const oldestAge = time.Second

// oldestPage remembers what was the oldest position.
type oldestPage struct {
	at  time.Time
	pos wire.Position
}

// lost is the error that says what could be read instead.
func (r *reading) lost(ctx context.Context) error {
	oldest, err := r.findOldest(ctx)
	if err != nil {
		return err
	}
	// The end may be what is known here only, and the client have had more elsewhere.
	last, err := r.log.broker.begin(ctx, r.in, r.subject)
	if err != nil {
		return err
	}
	return &wire.LostError{Oldest: oldest, Newest: r.log.place(r.in, max(r.end, last.seq))}
}

// recentOldest is findOldest, or what it was a moment ago.
func (r *reading) recentOldest(ctx context.Context) (wire.Position, error) {
	r.log.mu.Lock()
	o := r.log.oldest
	r.log.mu.Unlock()
	if time.Since(o.at) < oldestAge && o.pos.Epoch == r.in.epoch+r.log.token {
		return o.pos, nil
	}
	return r.findOldest(ctx)
}

// findOldest finds the earliest position that everything which follows is kept of.
func (r *reading) findOldest(ctx context.Context) (wire.Position, error) {
	seq, err := r.oldestSeq(ctx)
	if err != nil {
		return wire.Position{}, err
	}
	pos := r.log.place(r.in, seq)
	r.log.mu.Lock()
	r.log.oldest = oldestPage{time.Now(), pos}
	r.log.mu.Unlock()
	return pos, nil
}

func (r *reading) oldestSeq(ctx context.Context) (uint64, error) {
	if r.history.Size == 0 {
		return r.end, nil
	}
	young := r.now.Add(-r.history.TTL.Std())
	first, n, err := r.count(ctx, getRequest{StartTime: &young})
	if err != nil {
		return 0, err
	}
	switch {
	case first == nil:
		return r.end, nil
	case n <= r.history.Size:
		return first.seq - 1, nil
	case isMark(*first) && n == r.history.Size+1:
		return first.seq, nil
	}
	return r.bySize(ctx, first.seq, n)
}

// count finds the first message from somewhere on, and how many there are with it.
func (r *reading) count(ctx context.Context, from getRequest) (*stored, int64, error) {
	from.NextFor, from.Batch = r.subject, 1
	g, err := r.log.broker.fetch(ctx, from)
	if err != nil || len(g.msgs) == 0 {
		return nil, 0, err
	}
	return &g.msgs[0], int64(g.pending) + 1, nil //nolint:gosec // fits
}

// bySize finds the place before the last messages, as many as the history's size,
// given an early message and how many there are with it: too many. The stream
// counts but does not skip, so the place is guessed, as if messages came evenly, and
// halved now and then, in case they do not.
func (r *reading) bySize(ctx context.Context, early uint64, n int64) (uint64, error) {
	late := max(r.end, early) + 1 // with too few, if any
	var few int64
	for turn := 0; n > r.history.Size+1 && late-early > 1; turn++ {
		guess := early + (late-early)/2
		if turn%2 == 0 {
			share := float64(n-r.history.Size) / float64(n-few)
			guess = early + uint64(share*float64(late-early))
			guess = min(max(guess, early+1), late-1)
		}
		m, count, err := r.count(ctx, getRequest{Seq: guess})
		switch {
		case err != nil:
			return 0, err
		case count == r.history.Size:
			return m.seq - 1, nil
		case count > r.history.Size:
			early, n = m.seq, count
		default:
			late, few = guess, count
		}
	}
	return early, nil // the message itself is the last one too many
}
