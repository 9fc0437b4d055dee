// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package presence

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// mesh joins the Registries of one test.
type mesh struct {
	mu        sync.Mutex
	replicas  map[uint32]*Registry
	listeners map[string]map[int]func([]byte)
	next      int
	loses     func() bool // whether the next message is lost; nil: none is
	slow      time.Duration
}

func newMesh() *mesh {
	return &mesh{replicas: map[uint32]*Registry{}, listeners: map[string]map[int]func([]byte){}}
}

func (m *mesh) lost() bool { return m.loses != nil && m.loses() }

// member is the mesh as one replica sees it.
type member struct {
	*mesh
	self uint32
}

func (m member) Present() map[uint32]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	others := map[uint32]bool{}
	for id := range m.replicas {
		if id != m.self {
			others[id] = true
		}
	}
	return others
}

func (m member) Tell(topic string, what []byte) {
	m.mu.Lock()
	var to []func([]byte)
	for _, take := range m.listeners[topic] {
		if !m.lost() {
			to = append(to, take)
		}
	}
	m.mu.Unlock()
	for _, take := range to {
		take(what)
	}
}

func (m member) Listen(topic string, take func([]byte)) func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	n := m.next
	if m.listeners[topic] == nil {
		m.listeners[topic] = map[int]func([]byte){}
	}
	m.listeners[topic][n] = take
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.listeners[topic], n)
	}
}

func (m member) Ask(_ context.Context, questions []Question) (answers [][]byte, all bool) {
	m.mu.Lock()
	others := maps.Clone(m.replicas)
	m.mu.Unlock()
	time.Sleep(m.slow)
	for id, r := range others {
		if id == m.self {
			continue
		}
		for _, a := range r.Answer(questions) {
			m.mu.Lock()
			if !m.lost() {
				answers = append(answers, a)
			}
			m.mu.Unlock()
		}
	}
	return answers, true
}

// watcher is what somebody knows who watches.
type watcher struct {
	here     map[string]bool
	totals   wire.PresenceTotals
	snapshot *wire.Presence
	changes  []wire.PresenceChange
}

// replica is a Registry with those who watch there.
type replica struct {
	*Registry
	t        *testing.T
	mu       sync.Mutex
	watchers map[Scope]*watcher
}

func start(t *testing.T, m *mesh, id uint32) *replica {
	t.Helper()
	rep := &replica{t: t, watchers: map[Scope]*watcher{}}
	c := Config{Self: id, Notify: rep.notify}
	if m != nil {
		c.Others = member{m, id}
	}
	rep.Registry = New(c)
	if m != nil {
		m.mu.Lock()
		m.replicas[id] = rep.Registry
		m.mu.Unlock()
	}
	return rep
}

// stop is the end of a replica, of which the others learn that it is not there.
func (rep *replica) stop(m *mesh, id uint32) {
	m.mu.Lock()
	delete(m.replicas, id)
	m.mu.Unlock()
	rep.Close()
}

func (rep *replica) watch(s Scope) *watcher {
	w := &watcher{here: map[string]bool{}}
	rep.Watch(s, func(snap wire.Presence) {
		rep.mu.Lock()
		defer rep.mu.Unlock()
		rep.watchers[s] = w
		w.snapshot, w.totals = &snap, snap.PresenceTotals
		for _, u := range snap.Users {
			w.here[u.User] = true
		}
	})
	return w
}

func (rep *replica) notify(s Scope, c wire.PresenceChange) {
	rep.mu.Lock()
	defer rep.mu.Unlock()
	w := rep.watchers[s]
	if w == nil {
		rep.t.Errorf("a change of %v before its snapshot", s)
		return
	}
	w.changes, w.totals = append(w.changes, c), c.PresenceTotals
	for _, user := range c.Joined {
		if w.here[user] {
			rep.t.Errorf("%s has joined %v twice", user, s)
		}
		w.here[user] = true
	}
	for _, user := range c.Left {
		if !w.here[user] {
			rep.t.Errorf("%s has left %v and was not there", user, s)
		}
		delete(w.here, user)
	}
}

func (rep *replica) knows(w *watcher) string {
	rep.mu.Lock()
	defer rep.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Keys(w.here)), w.totals)
}

func (rep *replica) told(w *watcher) int {
	rep.mu.Lock()
	defer rep.mu.Unlock()
	return len(w.changes)
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func want(t *testing.T, what, got, wanted string) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s: %s, want %s", what, got, wanted)
	}
}

var chat = Scope{Channel: "chat"}

func TestOneReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil, 0)
		defer r.Close()
		r.Enter(chat, "ann")
		r.Enter(chat, "")
		w := r.watch(chat)
		synctest.Wait()
		want(t, "first", r.knows(w), "[ann] {1 2}")
		r.Enter(chat, "bob")
		r.Enter(chat, "ann")
		after(2 * time.Second)
		want(t, "bob joins", r.knows(w), "[ann bob] {2 4}")
		if n := r.told(w); n != 1 {
			t.Errorf("told %d times", n)
		}
		r.Leave(chat, "ann")
		after(time.Minute)
		want(t, "one of ann's", r.knows(w), "[ann bob] {2 3}")
		r.Leave(chat, "ann")
		after(Grace - time.Second)
		want(t, "ann may come back", r.knows(w), "[ann bob] {2 2}")
		after(2 * time.Second)
		want(t, "ann leaves", r.knows(w), "[bob] {1 2}")
		r.Unwatch(chat)
		if len(r.views) != 0 || len(r.busy) != 0 {
			t.Errorf("%d views are left", len(r.views))
		}
		r.Leave(chat, "bob")
		r.Leave(chat, "")
		after(time.Second)
		if len(r.counts) != 0 {
			t.Errorf("%d counts are left", len(r.counts))
		}
	})
}

// TestABriefAbsence is nobody's business.
func TestABriefAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		a, b := start(t, m, 1), start(t, m, 2)
		defer a.Close()
		defer b.Close()
		a.Enter(chat, "ann")
		w := b.watch(chat)
		after(time.Second)
		for range 20 {
			a.Leave(chat, "ann")
			after(3 * time.Second)
			a, b = b, a // she comes back elsewhere
			a.Enter(chat, "ann")
			after(time.Second)
		}
		for _, c := range w.changes {
			if len(c.Joined)+len(c.Left) > 0 {
				t.Errorf("told %+v", c)
			}
		}
	})
}

// TestOthersAreSlow: nobody is told anything before they have answered, and nothing is
// done meanwhile.
func TestOthersAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		m.slow = time.Second
		a, b := start(t, m, 1), start(t, m, 2)
		defer a.Close()
		defer b.Close()
		a.Enter(chat, "ann")
		b.Enter(chat, "bob")
		w := a.watch(chat)
		a.Enter(chat, "cem")
		after(900 * time.Millisecond)
		a.mu.Lock()
		told := a.watchers[chat] != nil
		a.mu.Unlock()
		if told {
			t.Error("told before all have answered")
		}
		after(200 * time.Millisecond)
		want(t, "first", a.knows(w), "[ann bob cem] {3 3}")
	})
}

func TestAReplicaThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		a, b, c := start(t, m, 1), start(t, m, 2), start(t, m, 3)
		defer a.Close()
		defer b.Close()
		for i := range 5 {
			c.Enter(chat, fmt.Sprint("user", i))
		}
		b.Enter(chat, "user1")
		w := a.watch(chat)
		after(time.Second)
		want(t, "first", a.knows(w), "[user0 user1 user2 user3 user4] {5 6}")
		c.stop(m, 3)
		after(check + Grace + 2*time.Second)
		want(t, "afterwards", a.knows(w), "[user1] {1 1}")
	})
}

// TestMany are more than are named in one message.
func TestMany(t *testing.T) {
	const n = 2*maxSaid + 7
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		a, b := start(t, m, 1), start(t, m, 2)
		defer a.Close()
		defer b.Close()
		for i := range n {
			b.Enter(chat, fmt.Sprintf("user%06d", i))
		}
		w := a.watch(chat)
		after(time.Second)
		if w.snapshot == nil || len(w.snapshot.Users) != Listed || w.snapshot.Users[7].User != "user000007" || w.totals != (wire.PresenceTotals{Users: n, Sessions: n}) {
			t.Fatalf("snapshot: %v", w.totals)
		}
		for i := range n {
			b.Enter(chat, fmt.Sprintf("zoe%06d", i))
		}
		after(2 * time.Second)
		if len(w.here) != Listed+n || w.totals != (wire.PresenceTotals{Users: 2 * n, Sessions: 2 * n}) {
			t.Errorf("%d are known, %v", len(w.here), w.totals)
		}
		for _, c := range w.changes {
			if len(c.Joined) > Listed {
				t.Errorf("%d have joined in one change", len(c.Joined))
			}
		}
		who, all := a.Who(t.Context(), chat)
		if len(who.Users) != 2*n || who.PresenceTotals != w.totals || !all || who.Users[n].User != "zoe000000" {
			t.Errorf("asked: %v, %v", who.PresenceTotals, all)
		}
	})
}

// TestEverythingIsKnownInTheEnd: random comings and goings on three replicas, with
// messages lost, against what is true.
func TestEverythingIsKnownInTheEnd(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { everythingIsKnown(t, rand.New(rand.NewPCG(seed, 1)), seed%2 == 1) })
		})
	}
}

func everythingIsKnown(t *testing.T, rnd *rand.Rand, lossy bool) {
	t.Helper()
	m := newMesh()
	if lossy {
		other := rand.New(rand.NewPCG(rnd.Uint64(), 2)) // guarded by the mesh
		m.loses = func() bool { return other.IntN(4) == 0 }
	}
	type entry struct {
		scope   Scope
		user    string
		replica int
	}
	var replicas []*replica
	for id := range uint32(3) {
		r := start(t, m, id+1)
		defer r.Close()
		replicas = append(replicas, r)
	}
	scopes := []Scope{chat, {"chat", "a"}, {"chat", "b"}}
	var in []entry
	for range 300 {
		switch n := rnd.IntN(len(in) + 12); {
		case n < len(in):
			e := in[n]
			in = slices.Delete(in, n, n+1)
			replicas[e.replica].Leave(e.scope, e.user)
		case n < len(in)+2:
			r := replicas[rnd.IntN(3)]
			s := scopes[rnd.IntN(3)]
			r.mu.Lock()
			known := r.watchers[s] != nil
			r.mu.Unlock()
			if !known {
				r.watch(s)
				after(askTimeout)
			}
		default:
			e := entry{scopes[rnd.IntN(3)], []string{"", "ann", "bob", "cem", "dee"}[rnd.IntN(5)], rnd.IntN(3)}
			in = append(in, e)
			replicas[e.replica].Enter(e.scope, e.user)
		}
		if rnd.IntN(3) == 0 {
			after(time.Duration(rnd.Int64N(int64(4 * time.Second))))
		}
	}
	m.mu.Lock()
	m.loses = nil
	m.mu.Unlock()
	after(heal + Grace + countPace + 2*time.Second)
	for _, s := range scopes {
		users, sessions := map[string]bool{}, 0
		for _, e := range in {
			if e.scope == s {
				sessions++
				if e.user != "" {
					users[e.user] = true
				}
			}
		}
		all := fmt.Sprint(slices.Sorted(maps.Keys(users)), wire.PresenceTotals{Users: len(users), Sessions: sessions})
		for i, r := range replicas {
			if w := r.watchers[s]; w != nil {
				want(t, fmt.Sprintf("replica %d, %v", i, s), r.knows(w), all)
			}
		}
	}
}
