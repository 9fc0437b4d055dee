// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// replayWorkers is how many pages of history are under way at a time. It is
	// what bounds replays: a loop is given no page before the last one of the same
	// worker is sent, so that live events wait for a few pages at most, however many
	// clients come back.
	replayWorkers = 4
	// replayPage is how many events a page has at most.
	replayPage = 64
)

// resumeCounts are about clients that wanted to go on from where they were.
type resumeCounts struct {
	recovered, lost, events atomic.Uint64
}

// history is what a broker keeps.
type history interface {
	Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error)
}

// replayer reads for replays, in turn.
type replayer struct {
	// Static.
	history history
	ctx     context.Context //nolint:containedctx // of the workers
	cancel  context.CancelFunc

	// Guarded by mu.
	mu     sync.Mutex
	some   sync.Cond // there is work, or none will come
	queue  []func()
	closed bool
}

func newReplayer(h history) *replayer {
	r := &replayer{history: h}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.some.L = &r.mu
	return r
}

// add has work done. It waits for nothing.
func (r *replayer) add(work func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.queue = append(r.queue, work)
		r.some.Signal()
	}
}

// follow has a replay go on.
func (r *replayer) follow(p *replay, n next) {
	switch {
	case n.done:
	case n.after > 0:
		r.after(n.after, func() { r.read(p, n.ask) })
	default:
		r.add(func() { r.read(p, n.ask) })
	}
}

// after has work done after a while.
func (r *replayer) after(d time.Duration, work func()) {
	time.AfterFunc(d, func() { r.add(work) })
}

// read reads a page for a replay, and waits until it is sent.
func (r *replayer) read(p *replay, ask wire.Range) {
	page, err := r.history.Read(r.ctx, p.channel, ask)
	var n next
	if p.shard.do(func() { n = p.step(page, err) }) {
		r.follow(p, n)
	}
}

// take returns the next work; nil when there will be none.
func (r *replayer) take() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.closed {
		r.some.Wait()
	}
	if r.closed {
		return nil
	}
	work := r.queue[0]
	r.queue[0] = nil
	if r.queue = r.queue[1:]; len(r.queue) == 0 {
		r.queue = nil
	}
	return work
}

// work does what there is to do until close.
func (r *replayer) work() {
	for work := r.take(); work != nil; work = r.take() {
		work()
	}
}

// close ends the workers.
func (r *replayer) close() {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.queue = true, nil
	r.some.Broadcast()
}
