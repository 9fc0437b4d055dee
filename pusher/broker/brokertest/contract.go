// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
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
	begin, _ := b.Position("a")
	const batches, size = 20, 7
	receipts := []wire.Receipt{{Position: begin}}
	for i := range batches {
		var events []*wire.Event
		for j := range size {
			events = append(events, &wire.Event{Name: fmt.Sprint(i*size + j)})
		}
		for _, got := range publish(t, b, "a", events...) {
			if last := receipts[len(receipts)-1].Position; got.Position.Epoch != epoch || got.Position.Seq <= last.Seq || got.Duplicate {
				t.Fatalf("receipt %+v behind %v", got, last)
			}
			receipts = append(receipts, got)
		}
	}
	for i, d := range r.wait(t, "a", batches*size) {
		if d.pos != receipts[i+1].Position || d.ev.Name != fmt.Sprint(i) {
			t.Fatalf("delivery %d is %v %+v, the receipt was %+v", i, d.pos, d.ev, receipts[i+1])
		}
	}
	waitPosition(t, b, "a", receipts[batches*size].Position)
	if p, ok := b.Position("b"); !ok || p.Epoch == epoch {
		t.Fatalf("the other channel is at %v (%v)", p, ok)
	}
	if got := publish(t, b, "a"); len(got) != 0 {
		t.Fatalf("no events, receipts %v", got)
	}
}

func testDuplicates(t *testing.T, f Factory) {
	b, r := start(t, f, "a", "b")
	one := publish(t, b, "a", &wire.Event{ID: "x"}, &wire.Event{ID: "y"})
	two := publish(t, b, "a", &wire.Event{ID: "z"}, &wire.Event{ID: "x"}, &wire.Event{ID: "z"}, &wire.Event{ID: "w"})
	three := publish(t, b, "a", &wire.Event{ID: "w"})
	all := slices.Concat(one, two, three)
	for i, w := range []struct {
		first int // the receipt that has the same place
		id    string
	}{{0, "x"}, {1, "y"}, {2, "z"}, {0, "x"}, {2, "z"}, {5, "w"}, {5, "w"}} {
		want := wire.Receipt{ID: w.id, Position: all[w.first].Position, Duplicate: w.first != i}
		if all[i] != want {
			t.Fatalf("receipt %d is %+v, want %+v", i, all[i], want)
		}
	}
	like := []string{"x", "x ", " x", "X", "x.", "x,", "ü", "\"x\"", "x: y"}
	for _, id := range like {
		if got := publish(t, b, "b", &wire.Event{ID: id}); got[0].Duplicate {
			t.Fatalf("%q is a duplicate of another id, or of another channel's", id)
		}
	}
	for _, id := range like {
		if got := publish(t, b, "b", &wire.Event{ID: id}); !got[0].Duplicate || got[0].ID != id {
			t.Fatalf("%q again: %+v", id, got[0])
		}
	}
	for i, d := range r.wait(t, "a", 4) {
		if want := all[[]int{0, 1, 2, 5}[i]]; d.pos != want.Position || d.ev.ID != want.ID {
			t.Fatalf("delivery %d is %v %s, want %+v", i, d.pos, d.ev.ID, want)
		}
	}
	for i, d := range r.wait(t, "b", len(like)) {
		if d.ev.ID != like[i] {
			t.Fatalf("%q is delivered as %q", like[i], d.ev.ID)
		}
	}
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
		&wire.Event{ID: "2", Name: "n", Binary: []byte{0, 1, 255}},
		&wire.Event{ID: "3", Name: "n", Data: []byte(`[1,2]`), Spread: true, Attachments: [][]byte{{7}}, Except: []string{"s"}, Trace: "00-t"})
	got := r.wait(t, "a", 3)
	if more := got[2].ev; string(more.Data) != `[1,2]` || !more.Spread || fmt.Sprintf("%v %q %s", more.Attachments, more.Except, more.Trace) != `[[7]] ["s"] 00-t` {
		t.Fatalf("the event with everything arrives as %+v", more)
	}
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
	first := publish(t, b, "b", &wire.Event{ID: "x"})
	r.wait(t, "a", 1)
	set(b, "b")
	if _, ok := b.Position("a"); ok {
		t.Fatal("a removed channel has a position")
	}
	if _, err := b.Publish(t.Context(), "a", []*wire.Event{{}}); err == nil {
		t.Fatal("a removed channel takes events")
	}
	setNew(b, "a", "b")
	after := epochOf(t, b, "a")
	if after == before {
		t.Fatal("the channel came back with the same epoch")
	}
	got := publish(t, b, "a", &wire.Event{ID: "x"})
	if got[0].Duplicate || got[0].Position.Epoch != after {
		t.Fatalf("first receipt of the new epoch: %+v", got[0])
	}
	got = publish(t, b, "b", &wire.Event{ID: "x"})
	if !got[0].Duplicate || got[0].Position != first[0].Position || got[0].Position.Epoch != kept {
		t.Fatalf("the kept channel: %+v, before %+v", got[0], first[0])
	}
	r.wait(t, "a", 2)
}

// testNothingAfterRemoval removes a channel while events pour in: what has been
// delivered is a beginning of what was accepted, and nothing comes after.
func testNothingAfterRemoval(t *testing.T, f Factory) {
	b, r := start(t, f, "a", "b")
	type outcome struct {
		accepted []wire.Receipt
		err      error
	}
	done := make(chan outcome)
	go func() {
		var o outcome
		for o.err == nil {
			var got []wire.Receipt
			got, o.err = b.Publish(context.Background(), "a", []*wire.Event{{}, {}})
			o.accepted = append(o.accepted, got...)
		}
		done <- o
	}()
	r.waitAtLeast(t, "a", 20)
	set(b, "b")
	delivered := r.all("a")
	o := <-done
	if code := codeOf(o.err); code != "unknown_channel" {
		t.Fatalf("Publish: %v", o.err)
	}
	publish(t, b, "b", &wire.Event{}) // what was on its way before has arrived with it
	r.wait(t, "b", 1)
	if after := r.all("a"); len(after) != len(delivered) || len(delivered) > len(o.accepted) {
		t.Fatalf("%d deliveries, then %d, of %d accepted", len(delivered), len(after), len(o.accepted))
	}
	for i, d := range delivered {
		if d.pos != o.accepted[i].Position {
			t.Fatalf("delivery %d is %v, accepted was %v", i, d.pos, o.accepted[i].Position)
		}
	}
}

func codeOf(err error) string {
	var coded interface{ Code() string }
	if errors.As(err, &coded) {
		return coded.Code()
	}
	return ""
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
	if got := publish(t, b, "a", &wire.Event{ID: "x"}); got[0].Duplicate {
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
				for j := 1; j < len(got); j++ {
					if got[j].Position.Seq <= got[j-1].Position.Seq {
						t.Errorf("a batch is out of order: %+v", got)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, channel := range []string{"a", "b"} {
		last := map[int]int{}
		batch := ""
		var seq uint64
		for i, d := range r.wait(t, channel, publishers/2*batches*size) {
			if d.pos.Seq <= seq {
				t.Fatalf("%s: delivery %d has the sequence %d behind %d", channel, i, d.pos.Seq, seq)
			}
			seq = d.pos.Seq
			var p, n, j int
			if _, err := fmt.Sscanf(d.ev.Name, "%d/%d/%d", &p, &n, &j); err != nil {
				t.Fatal(err)
			}
			if n*size+j != last[p] {
				t.Fatalf("%s: publisher %d's event %d comes after %d others", channel, p, n*size+j, last[p])
			}
			last[p]++
			if of := fmt.Sprint(p, n); j > 0 && of != batch {
				t.Fatalf("%s: batch %s is torn by batch %s", channel, of, batch)
			} else if j == 0 {
				batch = of
			}
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
	begin, _ := b.Position("slow")
	done := make(chan error, 1)
	go func() {
		_, err := b.Publish(context.Background(), "slow", []*wire.Event{{}})
		done <- err
	}()
	<-entered
	publish(t, b, "fast", &wire.Event{}, &wire.Event{})
	r.wait(t, "fast", 2)
	if p, ok := b.Position("slow"); !ok || p != begin {
		t.Errorf("before its delivery ends the slow channel is at %v (%v)", p, ok)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.wait(t, "slow", 1)
}
