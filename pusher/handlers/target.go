// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

const (
	// queueFactor is how many calls may wait for each that may be under way.
	queueFactor = 10
	// patience is how many calls may fail in a row before a target is left alone.
	patience = 10
	// sayEvery is how often the log has something to say of a target, at most: what makes
	// it fail may be a client.
	sayEvery = 5 * time.Second
	// minRest and maxRest are how long it is left alone. It doubles.
	minRest = time.Second
	maxRest = 30 * time.Second
)

// Target is one handler of one channel.
type Target struct {
	settings.Handler
	Channel  string
	maxEvent int64
	*state
}

// state is how a target fares. It outlives changes of settings.
type state struct {
	// Static.
	places chan struct{}

	// Shared.
	waiting atomic.Int64
	results [reasons]atomic.Uint64

	// Guarded by mu.
	mu      sync.Mutex
	failed  int // in a row
	until   time.Time
	rest    time.Duration
	probing bool // the one call that finds out whether it is back
	said    Reason
	saidAt  time.Time
	told    []telling // see Caller.Tell
	tellers int
}

// enter waits for a place.
func (t *state) enter(ctx context.Context) Reason {
	select {
	case t.places <- struct{}{}:
		return Done
	default:
	}
	if t.waiting.Add(1) > queueFactor*int64(cap(t.places)) {
		t.waiting.Add(-1)
		return Busy
	}
	defer t.waiting.Add(-1)
	select {
	case t.places <- struct{}{}:
		return Done
	case <-ctx.Done():
		return Busy
	}
}

func (t *state) leave() { <-t.places }

// permit reports whether the target is to be called now.
func (t *state) permit(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.failed < patience:
		return true
	case t.probing || now.Before(t.until):
		return false
	}
	t.probing = true
	return true
}

// note remembers how a call went, and returns whether that is news.
func (t *state) note(r Reason, now time.Time) bool {
	t.results[r].Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.probing = false
	if r.away() {
		if t.failed++; t.failed >= patience {
			t.rest = min(max(2*t.rest, minRest), maxRest)
			t.until = now.Add(t.rest)
		}
	} else {
		t.failed, t.rest = 0, 0
	}
	if r == t.said || now.Sub(t.saidAt) < sayEvery {
		return false
	}
	t.said, t.saidAt = r, now
	return true
}

// Sum is how often calls of targets have ended for each reason, and how many are under way
// and wait now.
func Sum(targets []*Target) (results map[Reason]uint64, under, waiting int64) {
	results = map[Reason]uint64{}
	seen := map[*state]bool{}
	for _, t := range targets {
		if t == nil || seen[t.state] {
			continue
		}
		seen[t.state] = true
		under += int64(len(t.places))
		waiting += t.waiting.Load()
		for r := range t.results {
			if n := t.results[r].Load(); n > 0 {
				results[Reason(r)] += n
			}
		}
	}
	return results, under, waiting
}
