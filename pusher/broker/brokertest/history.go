// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func read(t *testing.T, b Broker, channel string, r wire.Range) wire.Page {
	t.Helper()
	p, err := b.Read(t.Context(), channel, r)
	if err != nil {
		t.Fatalf("Read of %s, %+v: %v", channel, r, err)
	}
	if len(p.Events) > r.Limit {
		t.Fatalf("Read of %s, %+v: %d events", channel, r, len(p.Events))
	}
	return p
}

// readAll reads what follows a position, page by page.
func readAll(t *testing.T, b Broker, channel string, after wire.Position, limit int) (all []wire.Stored) {
	t.Helper()
	for {
		p := read(t, b, channel, wire.Range{After: after, Limit: limit})
		all = append(all, p.Events...)
		if !p.More {
			return all
		}
		if p.Through == after {
			t.Fatalf("Read of %s makes no progress behind %v", channel, after)
		}
		after = p.Through
	}
}

// lost reads what must not be there any more, and returns the oldest position.
func lost(t *testing.T, b Broker, channel string, after wire.Position) wire.Position {
	t.Helper()
	reaches := read(t, b, channel, wire.Range{Limit: 1000}).Through
	p, err := b.Read(t.Context(), channel, wire.Range{After: after, Limit: 10})
	var gone *wire.LostError
	if !errors.As(err, &gone) {
		t.Fatalf("Read of %s behind %v: %+v, %v, want a LostError", channel, after, p, err)
	}
	if n := gone.Newest; n.Epoch != reaches.Epoch || n.Seq < reaches.Seq {
		t.Errorf("the log of %s reaches %v, and a LostError says %v", channel, reaches, n)
	}
	return gone.Oldest
}

func testReadsBack(t *testing.T, f Factory) {
	b, r := start(t, f, "a", "b")
	begun := time.Now()
	publish(t, b, "a", &wire.Event{ID: "1", Name: "näme", Data: []byte(`{"a":[1,"ü"]}`), Rooms: []string{"r"}, Users: []string{"u"}, Sessions: []string{"s"}})
	publish(t, b, "a", &wire.Event{Name: "n", Binary: []byte{0, 255}}, &wire.Event{ID: "1"})
	delivered := r.wait(t, "a", 2)
	got := readAll(t, b, "a", wire.Position{}, 10)
	if len(got) != 2 {
		t.Fatalf("%d events are kept", len(got))
	}
	for i, s := range got {
		if s.Position != delivered[i].pos || fmt.Sprintf("%+v", s.Event) != fmt.Sprintf("%+v", delivered[i].ev) {
			t.Errorf("event %d is kept as %v %+v, was delivered as %v %+v", i, s.Position, s.Event, delivered[i].pos, delivered[i].ev)
		}
		if s.Published.Before(begun.Add(-time.Second)) || s.Published.After(time.Now().Add(time.Second)) {
			t.Errorf("event %d was published at %s", i, s.Published)
		}
	}
	if got := readAll(t, b, "a", delivered[0].pos, 10); len(got) != 1 || got[0].Position != delivered[1].pos {
		t.Errorf("behind the first event there is %+v", got)
	}
	if got := readAll(t, b, "a", delivered[1].pos, 10); len(got) != 0 {
		t.Errorf("behind the last event there is %+v", got)
	}
	if got := readAll(t, b, "b", wire.Position{}, 10); len(got) != 0 {
		t.Errorf("the other channel keeps %+v", got)
	}
	var coded interface{ Code() string }
	if _, err := b.Read(t.Context(), "nosuch", wire.Range{Limit: 1}); !errors.As(err, &coded) || coded.Code() != "unknown_channel" {
		t.Errorf("Read of no channel: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Read(ctx, "a", wire.Range{Limit: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Read when cancelled: %v", err)
	}
}

func testReadsInPages(t *testing.T, f Factory) {
	b, r := start(t, f, "a")
	const n = 50
	for i := range n {
		publish(t, b, "a", &wire.Event{Name: fmt.Sprint(i)})
	}
	all := r.wait(t, "a", n)
	for _, limit := range []int{1, 7, n - 1, n, n + 1} {
		for from := range 3 {
			after := all[from*20].pos
			got := readAll(t, b, "a", after, limit)
			if len(got) != n-from*20-1 {
				t.Fatalf("limit %d: %d events behind event %d", limit, len(got), from*20)
			}
			for i, s := range got {
				if want := all[from*20+1+i]; s.Position != want.pos || s.Event.Name != want.ev.Name {
					t.Fatalf("limit %d: event %d is %v %s, want %v %s", limit, i, s.Position, s.Event.Name, want.pos, want.ev.Name)
				}
			}
		}
	}
	p := read(t, b, "a", wire.Range{After: all[9].pos, Upto: all[19].pos.Seq, Limit: n})
	if len(p.Events) != 10 || p.More || p.Through != all[19].pos {
		t.Errorf("up to event 19: %d events through %v, more %v", len(p.Events), p.Through, p.More)
	}
	p = read(t, b, "a", wire.Range{After: all[9].pos, Upto: all[9].pos.Seq, Limit: n})
	if len(p.Events) != 0 || p.More || p.Through != all[9].pos {
		t.Errorf("up to where it begins: %d events through %v, more %v", len(p.Events), p.Through, p.More)
	}
}

func testLostIsSaid(t *testing.T, f Factory) {
	b, r := start(t, f)
	const kept = 20
	b.SetChannels([]settings.Channel{keeping("a", kept)})
	begin, _ := b.Position("a")
	if got := readAll(t, b, "a", begin, 10); len(got) != 0 {
		t.Fatalf("an empty log has %+v", got)
	}
	for range 3 * kept {
		publish(t, b, "a", &wire.Event{})
	}
	all := r.wait(t, "a", 3*kept)
	if got := readAll(t, b, "a", all[2*kept-1].pos, 7); len(got) != kept {
		t.Errorf("%d events are kept, want %d", len(got), kept)
	}
	last := all[len(all)-1].pos
	for _, after := range []wire.Position{begin, all[0].pos, {Epoch: "other", Seq: last.Seq}, {Epoch: last.Epoch, Seq: last.Seq + 1000}} {
		oldest := lost(t, b, "a", after)
		if oldest.Epoch != last.Epoch {
			t.Fatalf("the oldest position is %v", oldest)
		}
		if got := readAll(t, b, "a", oldest, 7); len(got) < kept || got[len(got)-1].Position != last {
			t.Errorf("%d events behind the oldest position", len(got))
		}
	}
	if p := read(t, b, "a", wire.Range{Limit: 1}); p.Oldest != lost(t, b, "a", begin) {
		t.Errorf("a page says that %v is the oldest position", p.Oldest)
	}
}

func testHistoryOff(t *testing.T, f Factory) {
	b, r := start(t, f)
	b.SetChannels([]settings.Channel{{Name: "a"}})
	publish(t, b, "a", &wire.Event{ID: "x"}, &wire.Event{})
	all := r.wait(t, "a", 2)
	lost(t, b, "a", all[0].pos)
	if got := readAll(t, b, "a", all[1].pos, 1); len(got) != 0 {
		t.Errorf("behind the last event there is %+v", got)
	}
	if got := publish(t, b, "a", &wire.Event{ID: "x"}); !got[0].Duplicate {
		t.Error("without history an event is stored twice")
	}
}

// testOtherLimits changes what is kept of a log that goes on.
func testOtherLimits(t *testing.T, f Factory) {
	b, r := start(t, f)
	keep := func(n int64) { b.SetChannels([]settings.Channel{keeping("a", n)}) }
	keep(10)
	for range 10 {
		publish(t, b, "a", &wire.Event{})
	}
	all := r.wait(t, "a", 10)
	keep(4)
	lost(t, b, "a", all[0].pos)
	if got := readAll(t, b, "a", all[5].pos, 10); len(got) != 4 {
		t.Errorf("%d of 4 events are kept", len(got))
	}
	keep(8)
	publish(t, b, "a", &wire.Event{}, &wire.Event{})
	if got := readAll(t, b, "a", all[5].pos, 10); len(got) != 6 {
		t.Errorf("%d of 6 events are kept", len(got))
	}
	if p, _ := b.Position("a"); p.Epoch != all[0].pos.Epoch {
		t.Errorf("the log has become another: %v", p)
	}
}

// testReadWhilePublishing reads a log that grows: without a gap, without a double,
// and never less than what has been delivered.
func testReadWhilePublishing(t *testing.T, f Factory) {
	b, r := start(t, f, "a")
	at, _ := b.Position("a")
	const n = 400
	done := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := b.Publish(context.Background(), "a", []*wire.Event{{Name: fmt.Sprint(i)}}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	seen := 0
	for seen < n {
		before, _ := b.Position("a")
		p := read(t, b, "a", wire.Range{After: at, Limit: 9})
		if !p.More && p.Through.Seq < before.Seq {
			t.Fatalf("the end is %v, but the position was %v", p.Through, before)
		}
		for _, s := range p.Events {
			if s.Event.Name != fmt.Sprint(seen) || s.Position.Seq <= at.Seq {
				t.Fatalf("event %d is %s at %v, behind %v", seen, s.Event.Name, s.Position, at)
			}
			at = s.Position
			seen++
		}
		at = p.Through
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.wait(t, "a", n)
}
