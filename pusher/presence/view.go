// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package presence

import (
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// pace is the least time between two changes of a scope.
	pace = time.Second
	// countPace is that when nobody has joined or left, and only the number of
	// sessions is another.
	countPace = 5 * time.Second
	// Grace is how long a user may be away without having left.
	Grace = 10 * time.Second
)

// view is what those who watch a scope here are told of it.
type view struct {
	scope Scope
	// watchers is how many there are; waiting are those who have not been told
	// anything yet.
	watchers int
	waiting  []func(wire.Presence)
	ready    bool // the others have been asked
	stop     func()

	parts    map[uint32]*part
	users    map[string]int // sessions of each that is there
	sessions int

	shown  map[string]struct{} // who has joined and not left
	told   wire.PresenceTotals
	toldAt time.Time
	moved  map[string]struct{}  // users to look at
	absent map[string]time.Time // shown ones that are not there, and since when
}

func newView(s Scope) *view {
	return &view{
		scope: s, parts: map[uint32]*part{}, users: map[string]int{},
		shown: map[string]struct{}{}, moved: map[string]struct{}{}, absent: map[string]time.Time{},
	}
}

// of returns what a replica has said, if only nothing.
func (v *view) of(replica uint32) *part {
	p := v.parts[replica]
	if p == nil {
		p = &part{users: map[string]int{}}
		v.parts[replica] = p
	}
	return p
}

// take takes what a replica says has changed. It reports false when something was
// missed.
func (v *view) take(u *update) bool {
	p := v.of(u.Replica)
	p.seen = max(p.seen, u.Version)
	if u.Version <= p.version {
		return true // it is known, from an answer
	}
	if u.Before != p.version {
		return false
	}
	for user, n := range u.Users {
		v.set(p, user, n)
	}
	v.sessions += u.Sessions - p.sessions
	p.sessions, p.version = u.Sessions, u.Version
	if p.sessions == 0 {
		v.drop(u.Replica) // the next version follows nothing
	}
	return true
}

// replace takes all that a replica has to say. It reports false when something else
// is known to have followed.
func (v *view) replace(s *state) bool {
	p := v.of(s.Replica)
	if s.Version < p.version && s.Sessions > 0 {
		return true // what has changed since is known
	}
	for user := range p.users {
		if s.Users[user] == 0 {
			v.set(p, user, 0)
		}
	}
	for user, n := range s.Users {
		v.set(p, user, n)
	}
	v.sessions += s.Sessions - p.sessions
	p.sessions, p.version = s.Sessions, s.Version
	if p.sessions == 0 && p.seen <= s.Version {
		v.drop(s.Replica)
	}
	return p.seen <= p.version
}

func (v *view) set(p *part, user string, n int) {
	if user == "" || n == p.users[user] {
		return
	}
	v.moved[user] = struct{}{}
	if v.users[user] += n - p.users[user]; v.users[user] == 0 {
		delete(v.users, user)
	}
	if p.users[user] = n; n == 0 {
		delete(p.users, user)
	}
}

// drop takes a replica's sessions out.
func (v *view) drop(replica uint32) {
	p := v.parts[replica]
	for user := range p.users {
		v.set(p, user, 0)
	}
	v.sessions -= p.sessions
	delete(v.parts, replica)
}

// known are the versions of the parts.
func (v *view) known() map[uint32]uint64 {
	known := make(map[uint32]uint64, len(v.parts))
	for replica, p := range v.parts {
		known[replica] = p.version
	}
	return known
}

// begin has the view show what is known.
func (v *view) begin(now time.Time) {
	v.ready = true
	v.toldAt = now
	for user := range v.users {
		v.shown[user] = struct{}{}
	}
	clear(v.moved)
	v.told = wire.PresenceTotals{Users: len(v.shown), Sessions: v.sessions}
}

// snapshot is what those who watch have been told.
func (v *view) snapshot() wire.Presence {
	users := make(map[string]int, len(v.shown))
	for user := range v.shown {
		users[user] = max(1, v.users[user]) // it may be about to come back
	}
	all := byName(users)
	return wire.Presence{Room: v.scope.Room, Users: all[:min(len(all), Listed)], PresenceTotals: v.told}
}

// due is when show has something to do; zero: not as things are.
func (v *view) due() (at time.Time) {
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if len(v.moved) > 0 {
		sooner(v.toldAt.Add(pace))
	}
	if v.told.Sessions != v.sessions {
		sooner(v.toldAt.Add(countPace))
	}
	for _, since := range v.absent {
		sooner(since.Add(Grace))
	}
	return at
}

// show returns what those who watch are to be told now.
func (v *view) show(now time.Time) (changes []wire.PresenceChange) {
	var joined, left []string
	for user := range v.moved {
		_, shown := v.shown[user]
		_, absent := v.absent[user]
		switch here := v.users[user] > 0; {
		case here && !shown:
			v.shown[user] = struct{}{}
			joined = append(joined, user)
		case here:
			delete(v.absent, user)
		case shown && !absent:
			v.absent[user] = now
		}
	}
	clear(v.moved)
	for user, since := range v.absent {
		if now.Sub(since) >= Grace {
			delete(v.absent, user)
			delete(v.shown, user)
			left = append(left, user)
		}
	}
	totals := wire.PresenceTotals{Users: len(v.shown), Sessions: v.sessions}
	if len(joined)+len(left) == 0 && (totals == v.told || now.Sub(v.toldAt) < countPace) {
		return nil
	}
	v.told, v.toldAt = totals, now
	for first := true; first || len(joined)+len(left) > 0; first = false {
		j, l := min(len(joined), Listed), min(len(left), Listed)
		changes = append(changes, wire.PresenceChange{Room: v.scope.Room, Joined: joined[:j:j], Left: left[:l:l], PresenceTotals: totals})
		joined, left = joined[j:], left[l:]
	}
	return changes
}
