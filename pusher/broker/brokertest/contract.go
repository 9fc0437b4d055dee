// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func testUnknownChannel(t *testing.T, f Factory) {
	b, _ := start(t, f, "a")
	_, err := b.Publish(t.Context(), "nosuch", []*wire.Event{{}})
	var coded interface{ Code() string }
	if !errors.As(err, &coded) || coded.Code() != "unknown_channel" {
		t.Fatalf("Publish: %v, want the code unknown_channel", err)
	}
	if p, ok := b.Position("nosuch"); ok {
		t.Fatalf("it has the position %v", p)
	}
}

func testOrderAndSequence(t *testing.T, f Factory) {
	b, r := start(t, f, "a", "b")
	epoch := epochOf(t, b, "a")
	if p, _ := b.Position("a"); p.Seq != 0 {
		t.Fatalf("an empty log is at %v", p)
	}
	const batches, size = 20, 7
	for i := range batches {
		var events []*wire.Event
		for j := range size {
			events = append(events, &wire.Event{Name: fmt.Sprint(i*size + j)})
		}
		for j, got := range publish(t, b, "a", events...) {
			if want := (wire.Position{Epoch: epoch, Seq: uint64(i*size + j + 1)}); got.Position != want || got.Duplicate {
				t.Fatalf("receipt %+v, want %v", got, want)
			}
		}
	}
	for i, d := range r.wait(t, "a", batches*size) {
		if d.pos.Epoch != epoch || d.pos.Seq != uint64(i+1) || d.ev.Name != fmt.Sprint(i) {
			t.Fatalf("delivery %d is %v %+v", i, d.pos, d.ev)
		}
	}
	waitPosition(t, b, "a", wire.Position{Epoch: epoch, Seq: batches * size})
	if p, _ := b.Position("b"); p.Seq != 0 || p.Epoch == epoch {
		t.Fatalf("the other channel is at %v", p)
	}
	if got := publish(t, b, "a"); len(got) != 0 {
		t.Fatalf("no events, receipts %v", got)
	}
}

func testDuplicates(t *testing.T, f Factory) {
	b, r := start(t, f, "a", "b")
	publish(t, b, "a", &wire.Event{ID: "x"}, &wire.Event{ID: "y"})
	got := publish(t, b, "a", &wire.Event{ID: "z"}, &wire.Event{ID: "x"}, &wire.Event{ID: "z"}, &wire.Event{ID: "w"})
	want := []struct {
		seq uint64
		dup bool
	}{{3, false}, {1, true}, {3, true}, {4, false}}
	for i, w := range want {
		if got[i].Position.Seq != w.seq || got[i].Duplicate != w.dup {
			t.Fatalf("receipt %d is %+v, want %+v", i, got[i], w)
		}
	}
	if got := publish(t, b, "b", &wire.Event{ID: "x"}); got[0].Duplicate {
		t.Fatal("an id of one channel is a duplicate in another")
	}
	r.wait(t, "a", 4)
	r.wait(t, "b", 1)
}

func testMadeUpIDs(t *testing.T, f Factory) {
	b, r := start(t, f, "a")
	got := publish(t, b, "a", &wire.Event{}, &wire.Event{}, &wire.Event{ID: "mine"}, &wire.Event{})
	seen := map[string]bool{}
	deliveries := r.wait(t, "a", 4)
	for i, g := range got {
		id := deliveries[i].ev.ID
		if g.Duplicate || g.ID != id || id == "" || seen[id] || len(id) > wire.MaxEventID {
			t.Fatalf("receipt %d is %+v, delivered as %q", i, g, id)
		}
		seen[id] = true
		if strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~") != "" {
			t.Fatalf("id %q is not safe in a URL", id)
		}
	}
	if got[2].ID != "mine" {
		t.Fatalf("receipt 2 is %+v", got[2])
	}
}

func testEventsArriveUnchanged(t *testing.T, f Factory) {
	b, r := start(t, f, "a")
	publish(t, b, "a",
		&wire.Event{ID: "1", Name: "näme", Data: []byte(`{"a":[1,"ü"]}`), Rooms: []string{"r:1", "r 2"}, Users: []string{"u"}, Sessions: []string{"s1", "s2"}},
		&wire.Event{ID: "2", Name: "n", Binary: []byte{0, 1, 255}})
	got := r.wait(t, "a", 2)
	j, bin := got[0].ev, got[1].ev
	if j.ID != "1" || j.Name != "näme" || string(j.Data) != `{"a":[1,"ü"]}` || j.Binary != nil ||
		fmt.Sprintf("%q %q %q", j.Rooms, j.Users, j.Sessions) != `["r:1" "r 2"] ["u"] ["s1" "s2"]` {
		t.Fatalf("the JSON event arrives as %+v", j)
	}
	if bin.Name != "n" || bin.Data != nil || !bytes.Equal(bin.Binary, []byte{0, 1, 255}) || !bin.Broadcast() {
		t.Fatalf("the binary event arrives as %+v", bin)
	}
}

func testNewEpochAfterRemoval(t *testing.T, f Factory) {
	b, r := start(t, f, "a", "b")
	before, kept := epochOf(t, b, "a"), epochOf(t, b, "b")
	publish(t, b, "a", &wire.Event{ID: "x"})
	publish(t, b, "b", &wire.Event{ID: "x"})
	r.wait(t, "a", 1)
	set(b, "b")
	if _, ok := b.Position("a"); ok {
		t.Fatal("a removed channel has a position")
	}
	if _, err := b.Publish(t.Context(), "a", []*wire.Event{{}}); err == nil {
		t.Fatal("a removed channel takes events")
	}
	set(b, "a", "b")
	after := epochOf(t, b, "a")
	if after == before {
		t.Fatal("the channel came back with the same epoch")
	}
	got := publish(t, b, "a", &wire.Event{ID: "x"})
	if got[0].Duplicate || got[0].Position != (wire.Position{Epoch: after, Seq: 1}) {
		t.Fatalf("first receipt of the new epoch: %+v", got[0])
	}
	got = publish(t, b, "b", &wire.Event{ID: "x"})
	if !got[0].Duplicate || got[0].Position != (wire.Position{Epoch: kept, Seq: 1}) {
		t.Fatalf("the kept channel: %+v", got[0])
	}
	r.wait(t, "a", 2)
}

// testNothingAfterRemoval removes a channel while events pour in: what was
// accepted before is delivered before, and nothing after.
func testNothingAfterRemoval(t *testing.T, f Factory) {
	b, r := start(t, f, "a")
	accepted := make(chan int)
	go func() {
		n := 0
		for {
			if _, err := b.Publish(context.Background(), "a", []*wire.Event{{}, {}}); err != nil {
				accepted <- n
				return
			}
			n += 2
		}
	}()
	r.waitAtLeast(t, "a", 20)
	set(b)
	r.wait(t, "a", <-accepted)
}

// waitAtLeast waits for a number of deliveries while more may come.
func (r *recorder) waitAtLeast(t *testing.T, channel string, n int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		got, changed := len(r.byName[channel]), r.changed
		r.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: %d deliveries, want at least %d", channel, got, n)
		}
	}
}

func testCancelledStoresNothing(t *testing.T, f Factory) {
	b, r := start(t, f, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Publish(ctx, "a", []*wire.Event{{ID: "x"}, {}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Publish: %v", err)
	}
	if got := publish(t, b, "a", &wire.Event{ID: "x"}); got[0].Duplicate || got[0].Position.Seq != 1 {
		t.Fatalf("the first event is %+v", got[0])
	}
	r.wait(t, "a", 1)
}

func testConcurrentPublishers(t *testing.T, f Factory) {
	b, r := start(t, f, "a", "b")
	const publishers, batches, size = 6, 30, 3
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			channel := []string{"a", "b"}[p%2]
			for i := range batches {
				var events []*wire.Event
				for j := range size {
					events = append(events, &wire.Event{Name: fmt.Sprintf("%d/%d/%d", p, i, j)})
				}
				got, err := b.Publish(t.Context(), channel, events)
				if err != nil {
					t.Errorf("Publish: %v", err)
					return
				}
				for j := range got {
					if got[j].Position.Seq != got[0].Position.Seq+uint64(j) {
						t.Errorf("a batch is torn: %+v", got)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, channel := range []string{"a", "b"} {
		last := map[int]int{}
		for i, d := range r.wait(t, channel, publishers/2*batches*size) {
			if d.pos.Seq != uint64(i+1) {
				t.Fatalf("%s: delivery %d has the sequence %d", channel, i, d.pos.Seq)
			}
			var p, batch, j int
			if _, err := fmt.Sscanf(d.ev.Name, "%d/%d/%d", &p, &batch, &j); err != nil {
				t.Fatal(err)
			}
			if n := batch*size + j; n != last[p] {
				t.Fatalf("%s: publisher %d's event %d comes after %d others", channel, p, n, last[p])
			}
			last[p]++
		}
	}
}

func testConcurrentDuplicates(t *testing.T, f Factory) {
	b, r := start(t, f, "a")
	const publishers, ids = 8, 50
	var mu sync.Mutex
	first, seqs := 0, map[string]uint64{}
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for i := range ids {
				got, err := b.Publish(t.Context(), "a", []*wire.Event{{ID: fmt.Sprint(i)}})
				if err != nil {
					t.Errorf("Publish: %v", err)
					return
				}
				mu.Lock()
				if !got[0].Duplicate {
					first++
				}
				if seq, ok := seqs[got[0].ID]; ok && seq != got[0].Position.Seq {
					t.Errorf("%s is stored at %d and at %d", got[0].ID, seq, got[0].Position.Seq)
				}
				seqs[got[0].ID] = got[0].Position.Seq
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if first != ids {
		t.Fatalf("%d receipts are no duplicates, want %d", first, ids)
	}
	r.wait(t, "a", ids)
}

func testChannelsDoNotWait(t *testing.T, f Factory) {
	r := newRecorder()
	entered, release := make(chan struct{}), make(chan struct{})
	b := f(t, func(channel string, pos wire.Position, ev *wire.Event) {
		if channel == "slow" {
			close(entered)
			<-release
		}
		r.deliver(channel, pos, ev)
	})
	set(b, "slow", "fast")
	done := make(chan error, 1)
	go func() {
		_, err := b.Publish(context.Background(), "slow", []*wire.Event{{}})
		done <- err
	}()
	<-entered
	publish(t, b, "fast", &wire.Event{}, &wire.Event{})
	r.wait(t, "fast", 2)
	if p, ok := b.Position("slow"); !ok || p.Seq != 0 {
		t.Errorf("before its delivery ends the slow channel is at %v (%v)", p, ok)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.wait(t, "slow", 1)
}
