// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/load"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
)

// quiet is how long nothing may arrive before what is outstanding is taken for lost.
const quiet = 2 * time.Second

// traffic is a phase that publishes.
type traffic struct {
	*run
	phase   Phase
	members *load.Members
	each    float64 // deliveries that an event has on average
	from    sample
	live    load.Live // when it began
	sent    int       // events when it began
	answers uint64

	// Shared by the publishing goroutines.
	owed     atomic.Int64 // deliveries
	failure  atomic.Pointer[error]
	progress atomic.Int64 // when something last arrived, as far as anybody looked
	arrived  atomic.Int64 // how much had, then
}

func (r *run) traffic(ctx context.Context, p Phase) (*Step, error) {
	t := &traffic{run: r, phase: p}
	if err := t.begin(); err != nil {
		return nil, err
	}
	err := t.publish(ctx)
	until := t.drain(ctx, func() bool { return t.received() >= t.owed.Load() })
	to, sampleErr := r.sample()
	if sampleErr != nil {
		return nil, sampleErr
	}
	if p.Kind == Slow {
		if err := r.fleet.Resume(); err != nil {
			return nil, err
		}
		t.drain(ctx, func() bool { return false })
	}
	received, endErr := r.fleet.End(r.pub.Sent())
	if endErr != nil {
		return nil, endErr
	}
	return t.result(to, until, received), err
}

func (t *traffic) begin() error {
	members, err := t.fleet.Begin(t.phase.Slow)
	if err != nil {
		return err
	}
	t.members = members
	t.each = float64(members.Total()) / float64(t.pub.Groups())
	t.live, t.sent, t.answers = t.fleet.Live(), total(t.pub.Sent()), t.pub.Answered()
	if err := t.pub.Open(); err != nil {
		return err
	}
	t.from, err = t.sample()
	t.progress.Store(t.from.at)
	return err
}

// received is how many deliveries have been made that were owed.
func (t *traffic) received() int64 {
	return int64(t.fleet.Live().Delivered - t.live.Delivered) //nolint:gosec // a count
}

// publish publishes on all links until the phase is over. All that was sent is answered then.
func (t *traffic) publish(ctx context.Context) error {
	stop := t.watch(t.phase.String(), func() float64 { return float64(mark.Now()-t.from.at) / float64(t.phase.For) })
	defer stop()
	var all sync.WaitGroup
	for i := range t.pub.Links() {
		all.Go(func() {
			if err := t.feed(ctx, i); err != nil {
				t.failure.CompareAndSwap(nil, &err)
			}
		})
	}
	all.Wait()
	closing := t.pub.Close()
	if err := t.failure.Load(); err != nil {
		return fmt.Errorf("%s: %w", t.phase, *err)
	}
	return closing
}

// feed publishes on one link, to its groups in turn.
func (t *traffic) feed(ctx context.Context, link int) error {
	p := newPacer(t, link)
	defer p.close()
	for group := link; ; group += t.pub.Links() {
		if group >= t.pub.Groups() {
			group = link
		}
		due, more := p.next(ctx)
		if !more {
			return ctx.Err()
		}
		t.owed.Add(int64(t.members.Reading[group]))
		if err := t.pub.Publish(link, group, due); err != nil {
			return err
		}
	}
}

// outstanding is how many events are on their way: by their deliveries, or when
// nobody listens, by their answers.
func (t *traffic) outstanding() float64 {
	if t.each == 0 {
		sent, answered := total(t.pub.Sent())-t.sent, t.pub.Answered()-t.answers
		return float64(sent) - float64(answered)
	}
	owed, received := t.owed.Load(), t.received()
	now := mark.Now()
	switch {
	case t.arrived.Swap(received) != received:
		t.progress.Store(now)
	case now-t.progress.Load() > int64(quiet) && received < owed:
		// What is lost must not hold publishing up for ever.
		t.owed.CompareAndSwap(owed, received)
		t.progress.Store(now)
	}
	return float64(owed-received) / t.each
}

// drain waits until enough has arrived, or nothing does any more. It returns when
// something last arrived.
func (t *traffic) drain(ctx context.Context, enough func() bool) int64 {
	last, at := uint64(math.MaxUint64), mark.Now()
	for ctx.Err() == nil {
		live := t.fleet.Live()
		if n := live.Delivered + live.Behind; n != last {
			last, at = n, mark.Now()
		} else if mark.Now()-at > int64(quiet) {
			break
		}
		if enough() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return at
}

func (t *traffic) result(to sample, until int64, received *load.Received) *Step {
	s := t.step(t.phase.String(), t.from, to, until)
	answers := t.pub.TakeAnswers()
	published, delivered := float64(total(t.pub.Sent())-t.sent), float64(received.Delivered)
	s.Traffic = &Traffic{
		Published: int(published), PublishesPerS: published / s.Seconds, Answer: latency(&answers.Latency), Refused: answers.Refused,
		Delivered: received.Delivered, DeliveriesPerS: delivered / s.Seconds, Latency: latency(&received.Latency),
		Check: checkOf(received),
	}
	if t.phase.Kind == Slow {
		s.Traffic.SlowClients = t.ready - t.members.Total()
	}
	if delivered > 0 {
		s.Traffic.BytesPerDelivery = float64(received.Bytes) / delivered
		s.Traffic.ReadsPerDelivery = float64(received.Reads) / delivered
	}
	if s.Server != nil {
		if delivered > 0 {
			s.Server.CPUPerDelivery = s.Server.CPUSeconds * 1e6 / delivered
		}
		if published > 0 {
			s.Server.CPUPerPublish = s.Server.CPUSeconds * 1e6 / published
		}
	}
	return s
}

func total(all []int) int {
	sum := 0
	for _, n := range all {
		sum += n
	}
	return sum
}
