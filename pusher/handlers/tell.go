// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"context"
	"errors"
	"time"
)

const (
	// tellers is how many calls that nobody waits for one target has under way.
	tellers = 32
	// maxTold is how many such calls may wait. What comes on top is given up.
	maxTold = 100_000
	// tellFor is how long a call that nobody waits for is tried again.
	tellFor = time.Minute
	// minTellPause and maxTellPause are between two attempts.
	minTellPause = 500 * time.Millisecond
	maxTellPause = 8 * time.Second
)

var errTooManyTold = errors.New("too many calls wait")

// telling is a call that nobody waits for.
type telling struct {
	target *Target
	call   *Call
	done   func(*Answer, error)
	until  time.Time
}

// Tell calls a target for which nobody waits, at least once and again for a minute, until
// it answers or says that it never will. done is called when that is over, on another
// goroutine; the answer is not nil.
func (c *Caller) Tell(t *Target, call *Call, done func(*Answer, error)) {
	w := telling{t, call, done, time.Now().Add(tellFor)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.told) >= maxTold {
		t.results[Busy].Add(1)
		go done(&Answer{}, errTooManyTold)
		return
	}
	c.telling.Add(1)
	t.told = append(t.told, w)
	if t.tellers < tellers {
		t.tellers++
		c.tasks.Go(func() { c.tell(t.state) })
	}
}

// Telling is how many such calls are not over.
func (c *Caller) Telling() int64 { return c.telling.Load() }

// tell makes a target's calls until there are none left.
func (c *Caller) tell(s *state) {
	for {
		s.mu.Lock()
		if len(s.told) == 0 {
			s.tellers--
			s.told = nil
			s.mu.Unlock()
			return
		}
		w := s.told[0]
		s.told[0] = telling{}
		s.told = s.told[1:]
		s.mu.Unlock()
		w.done(c.insist(w))
		c.telling.Add(-1)
	}
}

// insist makes one call, and again while there is hope.
func (c *Caller) insist(w telling) (*Answer, error) {
	for pause := minTellPause; ; pause = min(2*pause, maxTellPause) {
		a, err := c.Do(c.ctx, w.target, w.call)
		var f *Failure
		switch {
		case err == nil:
			return a, nil
		case errors.As(err, &f) && (f.Reason == Status4xx || f.Reason == Malformed), time.Now().Add(pause).After(w.until), wait(c.ctx, pause) != nil:
			return &Answer{}, err
		}
	}
}

// wait waits, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
