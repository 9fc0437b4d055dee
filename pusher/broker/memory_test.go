// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/broker/brokertest"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func TestContract(t *testing.T) {
	brokertest.Run(t, func(t *testing.T, deliver brokertest.Deliver) brokertest.Broker {
		e := &exact{t: t, delivered: map[string]uint64{}}
		e.Memory = NewMemory(func(channel string, pos wire.Position, ev *wire.Event) {
			e.follows(pos)
			deliver(channel, pos, ev)
		}, nil)
		return e
	})
}

// exact holds a Memory to more than the contract: sequences are 1, 2, 3 and so on,
// and what was stored has been delivered when Publish returns.
type exact struct {
	*Memory
	t         *testing.T
	mu        sync.Mutex
	delivered map[string]uint64 // by epoch
}

func (e *exact) follows(pos wire.Position) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.delivered[pos.Epoch]++; pos.Seq != e.delivered[pos.Epoch] {
		e.t.Errorf("delivered: %v, want %d", pos, e.delivered[pos.Epoch])
	}
}

func (e *exact) SetChannels(channels []settings.Channel) {
	e.Memory.SetChannels(channels)
	for _, c := range channels {
		p, ok := e.Position(c.Name)
		e.mu.Lock()
		if !ok || e.delivered[p.Epoch] == 0 && p.Seq != 0 {
			e.t.Errorf("%s is at %v (%v), %d are delivered", c.Name, p, ok, e.delivered[p.Epoch])
		}
		e.mu.Unlock()
	}
}

func (e *exact) Publish(ctx context.Context, channel string, events []*wire.Event) ([]wire.Receipt, error) {
	receipts, err := e.Memory.Publish(ctx, channel, events)
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, r := range receipts {
		if e.delivered[r.Position.Epoch] < r.Position.Seq {
			e.t.Errorf("%v is not delivered when Publish returns", r.Position)
		}
		for _, earlier := range receipts[:i] {
			if !r.Duplicate && earlier.Position.Seq >= r.Position.Seq {
				e.t.Errorf("the receipts are not in order: %+v", receipts)
			}
		}
		if i > 0 && !r.Duplicate && !receipts[i-1].Duplicate && r.Position.Seq != receipts[i-1].Position.Seq+1 {
			e.t.Errorf("a batch is torn: %+v", receipts)
		}
	}
	return receipts, err
}

// TestAllBeforeRemoval: what was accepted before a channel ends is delivered before.
func TestAllBeforeRemoval(t *testing.T) {
	var delivered atomic.Int64
	m := NewMemory(func(string, wire.Position, *wire.Event) { delivered.Add(1) }, nil)
	m.SetChannels(one)
	accepted, under := make(chan int64), make(chan struct{})
	go func() {
		for n := int64(0); ; n += 2 {
			if n == 20 {
				close(under)
			}
			if _, err := m.Publish(context.Background(), "c", []*wire.Event{{}, {}}); err != nil {
				accepted <- n
				return
			}
		}
	}()
	<-under
	m.SetChannels(nil)
	if n, want := delivered.Load(), <-accepted; n != want {
		t.Fatalf("%d deliveries of %d events", n, want)
	}
}

// one is a channel c with the defaults.
var one = []settings.Channel{{Name: "c", History: settings.History{Size: 1000, TTL: settings.Duration(5 * time.Minute), Bytes: 8 << 20}}}

func ignore(string, wire.Position, *wire.Event) {}

// clock is a time that a test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func publishOne(t testing.TB, m *Memory, id string) wire.Receipt {
	t.Helper()
	r, err := m.Publish(context.Background(), "c", []*wire.Event{{ID: id}})
	if err != nil || len(r) != 1 {
		t.Fatalf("Publish: %v, %v", r, err)
	}
	return r[0]
}

func TestUnknownChannelHasACode(t *testing.T) {
	var coded interface{ Code() string }
	if !errors.As(fmt.Errorf("publish: %w", ErrUnknownChannel), &coded) || coded.Code() != "unknown_channel" {
		t.Fatalf("ErrUnknownChannel has no code")
	}
}

func TestDedupWindowInTime(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	m := NewMemory(ignore, c.now)
	m.SetChannels(one)
	publishOne(t, m, "a")
	c.advance(time.Minute)
	publishOne(t, m, "b")
	c.advance(time.Minute)
	if r := publishOne(t, m, "a"); !r.Duplicate || r.Position.Seq != 1 {
		t.Fatalf("after exactly the window: %+v", r)
	}
	c.advance(1)
	if r := publishOne(t, m, "a"); r.Duplicate || r.Position.Seq != 3 {
		t.Fatalf("after the window: %+v", r)
	}
	// A duplicate does not renew: b is as old as its first.
	if r := publishOne(t, m, "b"); !r.Duplicate || r.Position.Seq != 2 {
		t.Fatalf("the younger id: %+v", r)
	}
	c.advance(time.Minute)
	if r := publishOne(t, m, "b"); r.Duplicate {
		t.Fatalf("the younger id after its window: %+v", r)
	}
	if r := publishOne(t, m, "a"); !r.Duplicate || r.Position.Seq != 3 {
		t.Fatalf("the stored again id: %+v", r)
	}
}

func TestDedupWindowInBytes(t *testing.T) {
	m := NewMemory(ignore, func() time.Time { return time.Unix(1000, 0) })
	m.SetChannels(one)
	id := func(i int) string { return fmt.Sprintf("%s-%07d", strings.Repeat("x", 64), i) }
	fits := DedupBytes / (idCost + len(id(0)))
	const more = 1000
	for i := range fits + more {
		if r := publishOne(t, m, id(i)); r.Duplicate {
			t.Fatalf("event %d is a duplicate", i)
		}
		if b := m.logs["c"].seen.bytes; b > DedupBytes {
			t.Fatalf("the ids cost %d bytes", b)
		}
	}
	for i := more; i < fits+more; i++ { // all that fit, from the oldest on
		if r := publishOne(t, m, id(i)); !r.Duplicate || r.Position.Seq != uint64(i+1) {
			t.Fatalf("event %d again: %+v", i, r)
		}
	}
	if r := publishOne(t, m, id(more-1)); r.Duplicate {
		t.Fatalf("more is known than fits: %+v", r)
	}
}

func TestDedupGivesMemoryBack(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	m := NewMemory(ignore, c.now)
	m.SetChannels(one)
	for i := range 1000 {
		publishOne(t, m, fmt.Sprint(i))
	}
	c.advance(DedupWindow + 1)
	publishOne(t, m, "")
	if w := m.logs["c"].seen; w.bytes != 0 || cap(w.queue.items) != 0 || w.seqs != nil {
		t.Fatalf("still holds %d bytes, a queue of %d", w.bytes, cap(w.queue.items))
	}
}

func TestPublishAfterCancel(t *testing.T) {
	m := NewMemory(ignore, nil)
	m.SetChannels(one)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Publish(ctx, "c", []*wire.Event{{}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Publish: %v", err)
	}
	if p, _ := m.Position("c"); p.Seq != 0 {
		t.Fatalf("position is %v", p)
	}
}

// TestPositionDuringDelivery: what Position says has reached everybody, and
// asking from within a delivery does not lock up.
func TestPositionDuringDelivery(t *testing.T) {
	var m *Memory
	var wrong atomic.Int64
	m = NewMemory(func(channel string, pos wire.Position, _ *wire.Event) {
		if p, ok := m.Position(channel); !ok || p.Seq != pos.Seq-1 {
			wrong.Add(1)
		}
	}, nil)
	m.SetChannels(one)
	for range 10 {
		publishOne(t, m, "")
	}
	if wrong.Load() != 0 {
		t.Fatalf("%d wrong positions", wrong.Load())
	}
}

// BenchmarkPublish is what an event costs the broker: with an id of the publisher's
// or without, with history or without.
func BenchmarkPublish(b *testing.B) {
	for _, withID := range []bool{false, true} {
		for _, size := range []int64{0, 1000, 100_000} {
			b.Run(fmt.Sprintf("id=%v/history=%d", withID, size), func(b *testing.B) {
				m, _ := memoryOf(settings.History{Size: size, TTL: settings.Duration(time.Hour), Bytes: 1 << 30})
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					ev := &wire.Event{Data: []byte(`{"total":12}`)}
					if withID {
						ev.ID = fmt.Sprint(i)
					}
					if _, err := m.Publish(b.Context(), "c", []*wire.Event{ev}); err != nil {
						b.Fatal(err)
					}
				}
				if events, bytes := m.Kept("c"); events > 0 {
					b.ReportMetric(float64(bytes)/float64(events), "kept-B/event")
				}
			})
		}
	}
}

// memoryOf is a Memory with one channel c, of a history, that a test's clock moves.
func memoryOf(h settings.History) (*Memory, *clock) {
	c := &clock{time.Unix(1000, 0)}
	m := NewMemory(ignore, c.now)
	m.SetChannels([]settings.Channel{{Name: "c", History: h}})
	return m, c
}

func first(t *testing.T, m *Memory) uint64 {
	t.Helper()
	p, err := m.Read(t.Context(), "c", wire.Range{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	return p.Oldest.Seq + 1
}

func TestHistoryInTime(t *testing.T) {
	m, c := memoryOf(settings.History{Size: 100, TTL: settings.Duration(time.Minute), Bytes: 1 << 20})
	publishOne(t, m, "")
	c.advance(40 * time.Second)
	publishOne(t, m, "")
	c.advance(20 * time.Second)
	if f := first(t, m); f != 1 {
		t.Fatalf("after exactly its time: the first kept event is %d", f)
	}
	c.advance(1)
	if f := first(t, m); f != 2 {
		t.Fatalf("after its time: the first kept event is %d", f)
	}
	c.advance(time.Hour)
	m.Tidy()
	if n, b := m.logs["c"].history.kept.len(), m.logs["c"].history.bytes; n != 0 || b != 0 {
		t.Fatalf("%d events, %d bytes are held for nothing", n, b)
	}
	end, _ := m.Position("c")
	if p, err := m.Read(t.Context(), "c", wire.Range{After: end, Limit: 1}); err != nil || len(p.Events) != 0 || p.Oldest != end {
		t.Fatalf("behind the last event, which has gone: %+v, %v", p, err)
	}
}

func TestHistoryInBytes(t *testing.T) {
	const limit = 1 << 20
	m, _ := memoryOf(settings.History{Size: 100_000, TTL: settings.Duration(time.Minute), Bytes: limit})
	event := func() []*wire.Event { return []*wire.Event{{Name: "n", Data: []byte(strings.Repeat("x", 1000))}} }
	for range 3000 {
		if _, err := m.Publish(t.Context(), "c", event()); err != nil {
			t.Fatal(err)
		}
		if _, b := m.Kept("c"); b > limit {
			t.Fatalf("%d bytes are kept", b)
		}
	}
	n, b := m.Kept("c")
	if each := costOf(event()[0]); b < limit-2*each || int64(n) < limit/(each+100) {
		t.Fatalf("%d events, %d bytes are kept", n, b)
	}
	// An event that is larger than all of its history is delivered, and not kept.
	if _, err := m.Publish(t.Context(), "c", []*wire.Event{{Data: []byte(strings.Repeat("x", limit))}}); err != nil {
		t.Fatal(err)
	}
	if n, b := m.Kept("c"); n != 0 || b != 0 {
		t.Fatalf("%d events, %d bytes are kept behind one that is too large", n, b)
	}
}

// TestQueueGivesMemoryBack: a queue that has been long is not held.
func TestQueueGivesMemoryBack(t *testing.T) {
	var q queue[int]
	for i := range 100_000 {
		q.push(i)
	}
	for i := range 99_000 {
		if *q.at(0) != i {
			t.Fatalf("item %d is %d", i, *q.at(0))
		}
		q.pop()
	}
	if q.len() != 1000 || cap(q.items) > 5000 {
		t.Fatalf("%d items in room for %d", q.len(), cap(q.items))
	}
	for range 1000 {
		q.pop()
	}
	if q.items != nil {
		t.Fatalf("an empty queue has room for %d", cap(q.items))
	}
}
