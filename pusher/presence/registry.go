// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package presence

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// gather is how long what changes is gathered before others are told.
	gather = 100 * time.Millisecond
	// check is how often replicas are looked for that have gone, and heal how often
	// the others are asked for what was missed unnoticed.
	check = 2 * time.Second
	heal  = 30 * time.Second
	// maxAsked is how many scopes are asked for at a time, and maxSaid how many
	// users are named in one message.
	maxAsked = 256
	maxSaid  = 2000
)

// Others are the other replicas.
type Others interface {
	// Present are those that are there.
	Present() map[uint32]bool
	// Tell tells those who listen for a topic.
	Tell(topic string, what []byte)
	// Listen has take called, for one at a time, with what others tell.
	Listen(topic string, take func(what []byte)) (stop func())
	// Ask has all others Answer, and reports whether all have.
	Ask(ctx context.Context, questions []Question) (answers [][]byte, all bool)
}

// Config is what a Registry works with.
type Config struct {
	// Self tells this replica from the others.
	Self uint32
	// Others may be nil: there is one replica.
	Others Others
	// Notify is told of each change of a watched scope, in order.
	Notify func(Scope, wire.PresenceChange)
}

// Registry is one replica's knowledge. It is safe for concurrent use.
type Registry struct {
	// Static.
	config Config
	wake   chan struct{}
	done   chan struct{}
	ctx    context.Context //nolint:containedctx // of questions, which end with the Registry
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	version uint64
	counts  map[Scope]*count // of this replica
	changed []Scope          // counts that have something to say
	flushAt time.Time
	views   map[Scope]*view
	busy    map[*view]struct{} // those that may have something to say
	stale   map[Scope]struct{} // views that have missed something
	asking  bool
	checkAt time.Time
	healAt  time.Time
	present map[uint32]bool
}

// count is what there is in a scope on this replica.
type count struct {
	sessions int
	users    map[string]int
	version  uint64
	moved    map[string]struct{} // users whose number has changed; nil: nothing has
}

// New returns a Registry, which is to be closed.
func New(c Config) *Registry {
	r := &Registry{
		config: c, wake: make(chan struct{}, 1), done: make(chan struct{}),
		counts: map[Scope]*count{}, views: map[Scope]*view{}, busy: map[*view]struct{}{}, stale: map[Scope]struct{}{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.tasks.Go(r.run)
	return r
}

// Close ends it.
func (r *Registry) Close() {
	r.cancel()
	close(r.done)
	r.tasks.Wait()
}

// Enter counts a session of this replica, of a user or, if that is empty, of nobody.
func (r *Registry) Enter(s Scope, user string) { r.move(s, user, 1) }

// Leave ends what Enter has begun.
func (r *Registry) Leave(s Scope, user string) { r.move(s, user, -1) }

func (r *Registry) move(s Scope, user string, by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts[s]
	if c == nil {
		c = &count{users: map[string]int{}}
		r.counts[s] = c
	}
	c.sessions += by
	if user != "" {
		if c.users[user] += by; c.users[user] == 0 {
			delete(c.users, user)
		}
	}
	if c.moved == nil {
		c.moved = map[string]struct{}{}
		if r.changed = append(r.changed, s); len(r.changed) == 1 {
			r.flushAt = time.Now().Add(gather)
			r.kick()
		}
	}
	c.moved[user] = struct{}{}
}

// Watch has first called with who is in the scope, and Notify with each change from
// then on, until Unwatch.
func (r *Registry) Watch(s Scope, first func(wire.Presence)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.views[s]
	if v == nil {
		v = r.open(s)
	}
	v.watchers++
	v.waiting = append(v.waiting, first)
	r.stir(v)
}

// Unwatch ends what one Watch has begun.
func (r *Registry) Unwatch(s Scope) {
	r.mu.Lock()
	v := r.views[s]
	v.watchers--
	gone := v.watchers == 0
	if gone {
		delete(r.views, s)
		delete(r.stale, s)
		delete(r.busy, v)
	}
	r.mu.Unlock()
	if gone && v.stop != nil {
		v.stop()
	}
}

// open begins a view with what this replica knows.
func (r *Registry) open(s Scope) *view {
	v := newView(s)
	r.views[s] = v
	if c := r.counts[s]; c != nil {
		v.replace(&state{Replica: r.config.Self, Version: c.version, Sessions: c.sessions, Users: c.users})
	}
	if r.config.Others != nil {
		v.stop = r.config.Others.Listen(topic(s), func(what []byte) { r.heard(v, what) })
		r.stale[s] = struct{}{}
	}
	return v
}

// topic is what a scope is called among replicas. Names have no line feeds.
func topic(s Scope) string { return s.Channel + "\n" + s.Room }

// heard takes what another replica says.
func (r *Registry) heard(v *view, what []byte) {
	var u update
	if json.Unmarshal(what, &u) != nil || u.Replica == r.config.Self {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.views[v.scope] != v {
		return
	}
	if !v.take(&u) {
		r.stale[v.scope] = struct{}{}
	}
	r.stir(v)
}

// stir has run look at a view.
func (r *Registry) stir(v *view) {
	r.busy[v] = struct{}{}
	r.kick()
}

// Answer answers another replica.
func (r *Registry) Answer(questions []Question) (answers [][]byte) {
	r.mu.Lock()
	var states []state
	for _, q := range questions {
		c := r.counts[q.Scope]
		if c == nil {
			c = &count{}
		}
		if c.version != q.Known[r.config.Self] || c.moved != nil {
			states = append(states, r.states(q.Scope, c)...)
		}
	}
	r.mu.Unlock()
	for i := range states {
		answers = append(answers, encode(&states[i]))
	}
	return answers
}

// states are the parts of what this replica has to say of a scope.
func (r *Registry) states(s Scope, c *count) (all []state) {
	whole := state{Scope: s, Replica: r.config.Self, Version: c.version, Sessions: c.sessions, All: len(c.users)}
	for _, users := range inParts(c.users) {
		part := whole
		part.Users = users
		all = append(all, part)
	}
	return all
}

// inParts copies users, some at a time, at least once.
func inParts(users map[string]int) (parts []map[string]int) {
	part := map[string]int{}
	for user, n := range users {
		if len(part) == maxSaid {
			parts = append(parts, part)
			part = map[string]int{}
		}
		part[user] = n
	}
	return append(parts, part)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("presence: " + err.Error())
	}
	return b
}

// Who returns who is in a scope, all of them. It asks the others, and reports
// whether all have answered.
func (r *Registry) Who(ctx context.Context, s Scope) (who wire.Presence, all bool) {
	all = true
	v := newView(s)
	r.mu.Lock()
	if c := r.counts[s]; c != nil {
		v.replace(&state{Replica: r.config.Self, Version: c.version, Sessions: c.sessions, Users: c.users})
	}
	r.mu.Unlock()
	if r.config.Others != nil {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var answers [][]byte
		answers, all = r.config.Others.Ask(ctx, []Question{{Scope: s}})
		states, whole := join(answers)
		all = all && whole
		for _, st := range states {
			v.replace(st)
		}
	}
	users := byName(v.users)
	return wire.Presence{Room: s.Room, Users: users, PresenceTotals: wire.PresenceTotals{Users: len(users), Sessions: v.sessions}}, all
}

// join puts the parts of answers together. It reports whether none is missing.
func join(answers [][]byte) (whole []*state, all bool) {
	type key struct {
		Scope
		replica uint32
	}
	parts := map[key]*state{}
	for _, a := range answers {
		st := new(state)
		if json.Unmarshal(a, st) != nil {
			continue
		}
		k := key{st.Scope, st.Replica}
		if first := parts[k]; first != nil && first.Users != nil {
			for user, n := range st.Users {
				first.Users[user] = n
			}
			continue
		}
		parts[k] = st
	}
	all = true
	for _, st := range parts {
		if len(st.Users) != st.All {
			all = false
			continue
		}
		whole = append(whole, st)
	}
	return whole, all
}
