// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func (r *replica) logSubject(channel string) string {
	l, _ := r.log(channel)
	return r.subject(r.stream.life().epoch, l.token)
}

// kept is how many messages the stream keeps of a log.
func (r *replica) kept(t testing.TB, channel string) uint64 {
	t.Helper()
	api, err := js.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.Stream(t.Context(), r.config.Stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), js.WithSubjectFilter(r.logSubject(channel)))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects[r.logSubject(channel)]
}

// TestQuietLogs: of a log whose events are all too old to be kept it is still known
// that nothing followed the last; of two replicas one writes that down.
func TestQuietLogs(t *testing.T) {
	c := testConfig(oneNode(t).ClientURL(), nil)
	r, other := newReplica(t, c, "a"), newReplica(t, c, "a")
	early := r.publish(t, "a", &wire.Event{})[0].Position
	last := r.publish(t, "a", &wire.Event{})[0].Position
	for _, r := range []*replica{r, other} {
		r.wait(t, "a", 2)
		eventually(t, "the delivery has ended", func() bool { p, _ := r.Position("a"); return p == last })
	}
	one, _ := r.log("a")
	two, _ := other.log("a")
	one.mu.Lock() // both at once: a mark of the first is news to the second
	two.mu.Lock()
	one.lastAt, two.lastAt = time.Now().Add(-time.Hour), time.Now().Add(-time.Hour)
	two.mu.Unlock()
	one.mu.Unlock()
	r.kick()
	other.kick()
	eventually(t, "a mark is written", func() bool { return r.kept(t, "a") == 4 }) // with that at the beginning
	end, err := r.leaderGet(t.Context(), leaderRequest{LastFor: r.logSubject("a")})
	if err != nil || !isMark(*end) {
		t.Fatalf("the last message is %+v, %v", end, err)
	}
	// As age would: the first three go.
	if err := r.purge(r.logSubject("a"), end.seq); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Read(t.Context(), "a", wire.Range{After: last, Limit: 5}); err != nil || len(p.Events) != 0 || p.More {
		t.Errorf("behind the last event: %+v, %v", p, err)
	}
	var lost *wire.LostError
	if _, err := r.Read(t.Context(), "a", wire.Range{After: early, Limit: 5}); !errors.As(err, &lost) {
		t.Errorf("behind the one before: %v", err)
	}
	if p, _ := other.Position("a"); p != last {
		t.Errorf("the position is %v, the last event was %v", p, last)
	}
	third := newReplica(t, c, "a")
	after := third.publish(t, "a", &wire.Event{})[0].Position
	for _, r := range []*replica{r, other} {
		if got := r.wait(t, "a", 3); got[2].pos != after || len(r.losses()) != 0 {
			t.Errorf("behind the mark: %+v, lost: %v", got, r.losses())
		}
		if p, err := r.Read(t.Context(), "a", wire.Range{After: last, Limit: 5}); err != nil || len(p.Events) != 1 {
			t.Errorf("behind the last event but one: %+v, %v", p, err)
		}
	}
}

// TestBytes: what is more than the history's bytes is dropped from the stream.
func TestBytes(t *testing.T) {
	r := newReplica(t, testConfig(oneNode(t).ClientURL(), nil))
	all := keeping("a")
	const limit = 1 << 20
	all[0].History.Bytes = limit
	r.SetChannels(all)
	data := []byte(`"` + strings.Repeat("x", 10_000) + `"`)
	const n = 300
	for i := range n {
		r.publish(t, "a", &wire.Event{Name: fmt.Sprint(i), Data: data})
	}
	got := r.wait(t, "a", n)
	most := uint64(limit/len(data)) + 2
	eventually(t, "the stream keeps no more than it should", func() bool { return r.kept(t, "a") <= most })
	p, err := r.Read(t.Context(), "a", wire.Range{After: got[n-50].pos, Limit: n})
	if err != nil || len(p.Events) != 49 {
		t.Fatalf("behind event %d: %d events, %v", n-50, len(p.Events), err)
	}
	var lost *wire.LostError
	if _, err := r.Read(t.Context(), "a", wire.Range{After: got[100].pos, Limit: n}); !errors.As(err, &lost) {
		t.Fatalf("behind event 100: %v", err)
	}
	if p, err := r.Read(t.Context(), "a", wire.Range{After: lost.Oldest, Limit: n}); err != nil || len(p.Events) < limit/len(data)*3/4 {
		t.Fatalf("behind the oldest: %d events, %v", len(p.Events), err)
	}
}

// TestTTL: what is older than the history's ttl is not read, though it is there.
func TestTTL(t *testing.T) {
	r := newReplica(t, testConfig(oneNode(t).ClientURL(), nil))
	all := keeping("a")
	r.SetChannels(all)
	first := r.publish(t, "a", &wire.Event{}, &wire.Event{})
	r.wait(t, "a", 2)
	all[0].History.TTL = settings.Duration(1)
	r.SetChannels(all)
	var lost *wire.LostError
	if _, err := r.Read(t.Context(), "a", wire.Range{After: first[0].Position, Limit: 5}); !errors.As(err, &lost) || lost.Oldest != first[1].Position {
		t.Errorf("behind an event, when the next is too old: %v, oldest %v", err, lost)
	}
	if p, err := r.Read(t.Context(), "a", wire.Range{After: first[1].Position, Limit: 5}); err != nil || len(p.Events) != 0 {
		t.Errorf("behind the last event: %+v, %v", p, err)
	}
	if p, err := r.Read(t.Context(), "a", wire.Range{Limit: 5}); err != nil || len(p.Events) != 0 || p.Oldest != first[1].Position {
		t.Errorf("what is kept: %+v, %v", p, err)
	}
}

// TestAttachAndDetach: events come only while a channel is attached, and can be
// read all the time.
func TestAttachAndDetach(t *testing.T) {
	r := newReplica(t, testConfig(oneNode(t).ClientURL(), nil))
	if err := r.Attach(t.Context(), "a"); !errors.Is(err, ErrUnknownChannel) {
		t.Fatalf("Attach of no channel: %v", err)
	}
	r.Broker.SetChannels(keeping("a", "b"))
	if p, ok := r.Position("a"); ok {
		t.Fatalf("before it is attached it is at %v", p)
	}
	before := r.publish(t, "a", &wire.Event{Name: "before"})[0]
	p, err := r.Read(t.Context(), "a", wire.Range{Limit: 5})
	if err != nil || len(p.Events) != 1 || p.Events[0].Position != before.Position {
		t.Fatalf("Read before Attach: %+v, %v", p, err)
	}
	for range 2 {
		if err := r.Attach(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if p, ok := r.Position("a"); !ok || p != before.Position {
			t.Fatalf("when it is attached it is at %v (%v)", p, ok)
		}
	}
	r.publish(t, "a", &wire.Event{Name: "while"})
	r.wait(t, "a", 1)
	r.Detach("a")
	eventually(t, "it is detached", func() bool { _, ok := r.Position("a"); return !ok })
	r.publish(t, "a", &wire.Event{Name: "after"})
	if err := r.Attach(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	r.publish(t, "b", &wire.Event{}) // comes behind what was on its way
	r.wait(t, "b", 1)
	if err := r.Attach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r.Detach("a")
	if err := r.Attach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r.publish(t, "a", &wire.Event{Name: "again"})
	if got := r.wait(t, "a", 2); got[0].name != "while" || got[1].name != "again" || len(r.losses()) > 0 {
		t.Fatalf("delivered: %+v, lost: %v", got, r.losses())
	}
}

// TestAnotherChannelOfTheName: a channel that was deleted and made anew has another
// log; who was attached to the old one goes on with the new one, and is told.
func TestAnotherChannelOfTheName(t *testing.T) {
	r := newReplica(t, testConfig(oneNode(t).ClientURL(), nil), "a")
	old := r.publish(t, "a", &wire.Event{ID: "x"})[0].Position
	r.wait(t, "a", 1)
	all := keeping("a")
	all[0].UID = "another"
	r.Broker.SetChannels(all)
	eventually(t, "the new log is attached", func() bool { _, ok := r.Position("a"); return ok })
	p, _ := r.Position("a")
	if got := r.losses(); len(got) != 1 || got[0] != (loss{old, p}) || p.Epoch == old.Epoch {
		t.Fatalf("lost: %v, now %v", got, p)
	}
	if got := r.publish(t, "a", &wire.Event{ID: "x"}); got[0].Duplicate {
		t.Fatal("the new log knows an event of the old one")
	}
	r.wait(t, "a", 2)
}

// TestSentAgain: what is sent again, because the answer was lost, is stored once,
// and no duplicate of itself.
func TestSentAgain(t *testing.T) {
	r := newReplica(t, testConfig(oneNode(t).ClientURL(), nil), "a")
	l, _ := r.log("a")
	in := r.stream.life()
	total := 0
	for _, evs := range [][]*wire.Event{{{}}, {{}, {}, {}}, {{ID: "1"}, {}}} {
		p := newPublication(l.token, evs)
		if err := r.try(t.Context(), in, p); err != nil {
			t.Fatal(err)
		}
		first := p.receipts(l, in)
		for _, m := range p.messages {
			m.seq = 0 // as if nothing had come back
		}
		if err := r.try(t.Context(), in, p); err != nil {
			t.Fatal(err)
		}
		for i, again := range p.receipts(l, in) {
			if again.Position != first[i].Position || again.ID != first[i].ID || again.Duplicate != (evs[i].ID != "") {
				t.Fatalf("receipt %d is %+v, was %+v", i, again, first[i])
			}
		}
		total += len(evs)
	}
	r.wait(t, "a", total)
	var refused *RefusedError
	if _, err := r.Publish(t.Context(), "a", []*wire.Event{{Binary: make([]byte, 2<<20)}}); !errors.As(err, &refused) {
		t.Fatalf("an event that is too large: %v", err)
	}
}

// TestLimitsOnlyGrow: a replica with older settings takes nothing from another.
func TestLimitsOnlyGrow(t *testing.T) {
	c := testConfig(oneNode(t).ClientURL(), nil)
	r := newReplica(t, c)
	limits := func() (int64, time.Duration) {
		info, err := r.fit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.Config.MaxMsgsPerSubject, info.Config.MaxAge
	}
	large, small := keeping("a"), keeping("a")
	large[0].History.Size, large[0].History.TTL = 5000, settings.Duration(time.Hour)
	small[0].History.Size, small[0].History.TTL = 10, settings.Duration(time.Second)
	r.Broker.SetChannels(large)
	newReplica(t, c).Broker.SetChannels(small)
	if n, age := limits(); n != 5002 || age != time.Hour+extraAge {
		t.Fatalf("%d messages for %s", n, age)
	}
}
