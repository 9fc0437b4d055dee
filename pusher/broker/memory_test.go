// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/broker/brokertest"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func TestContract(t *testing.T) {
	brokertest.Run(t, func(_ *testing.T, deliver brokertest.Deliver) brokertest.Broker {
		return NewMemory(deliver, nil)
	})
}

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
	m.SetChannels([]string{"c"})
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
	m.SetChannels([]string{"c"})
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
	m.SetChannels([]string{"c"})
	for i := range 1000 {
		publishOne(t, m, fmt.Sprint(i))
	}
	c.advance(DedupWindow + 1)
	publishOne(t, m, "")
	if w := m.logs["c"].seen; w.bytes != 0 || cap(w.queue) != 0 || w.seqs != nil {
		t.Fatalf("still holds %d bytes, a queue of %d", w.bytes, cap(w.queue))
	}
}

func TestPublishAfterCancel(t *testing.T) {
	m := NewMemory(ignore, nil)
	m.SetChannels([]string{"c"})
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
	m.SetChannels([]string{"c"})
	for range 10 {
		publishOne(t, m, "")
	}
	if wrong.Load() != 0 {
		t.Fatalf("%d wrong positions", wrong.Load())
	}
}

func BenchmarkPublish(b *testing.B) {
	for name, withID := range map[string]bool{"no id": false, "id": true} {
		b.Run(name, func(b *testing.B) {
			m := NewMemory(ignore, nil)
			m.SetChannels([]string{"c"})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				ev := &wire.Event{}
				if withID {
					ev.ID = fmt.Sprint(i)
				}
				if _, err := m.Publish(b.Context(), "c", []*wire.Event{ev}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
