// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
)

// look is how often the number of events in flight is looked at.
const look = 40 * time.Microsecond

// pacer says when a link's next event is due. It owns its thread, whose timers it
// makes exact: Go's own sleep is up to a millisecond late when all else is idle.
type pacer struct {
	*traffic
	link int
	n    int // events so far
	end  int64
}

func newPacer(t *traffic, link int) *pacer {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // in nanoseconds
	return &pacer{traffic: t, link: link, end: t.from.at + int64(t.phase.For)}
}

func (p *pacer) close() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // the default
	runtime.UnlockOSThread()
}

// next waits until the next event is due and returns when that was; more is false
// when there is none in this phase.
func (p *pacer) next(ctx context.Context) (due int64, more bool) {
	if p.phase.Kind != InFlight {
		// Links take turns, whatever happens to the others.
		turn := float64(p.n*p.pub.Links() + p.link)
		p.n++
		due = p.from.at + int64(turn/p.phase.Rate*1e9)
		for now := mark.Now(); now < due && due < p.end && !p.over(ctx); now = mark.Now() {
			sleep(min(time.Duration(due-now), 100*time.Millisecond))
		}
		return due, due < p.end && !p.over(ctx)
	}
	for {
		now := mark.Now()
		if now >= p.end || p.over(ctx) {
			return 0, false
		}
		if p.outstanding() < float64(p.phase.InFlight) {
			return now, true
		}
		sleep(look)
	}
}

// over reports whether publishing must end before its time.
func (p *pacer) over(ctx context.Context) bool { return ctx.Err() != nil || p.failure.Load() != nil }

// sleep sleeps, or is woken early by a signal.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}
