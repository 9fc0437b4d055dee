// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"slices"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Rename gives a session the id that its client had before. It reports false when
// another session has that id.
func (t *Table) Rename(s Slot, id wire.SessionID) bool {
	m := t.member(s)
	if m == nil {
		return false
	}
	if other, ok := t.find(id); ok {
		return other == s
	}
	t.forget(m)
	m.id = id
	if t.slotIn(&id) != s {
		if t.renamed == nil {
			t.renamed = map[wire.SessionID]Slot{}
		}
		t.renamed[id] = s
	}
	return true
}

// forget drops what is known of an id that does not tell its slot.
func (t *Table) forget(m *member) {
	if len(t.renamed) > 0 {
		delete(t.renamed, m.id)
	}
}

// find returns the session of an id, in any channel.
func (t *Table) find(id wire.SessionID) (Slot, bool) {
	if s, ok := t.renamed[id]; ok {
		return s, true
	}
	s := t.slotIn(&id)
	m := t.member(s)
	return s, m != nil && m.id == id
}

// Session returns the session of an id, in any channel.
func (t *Table) Session(id wire.SessionID) (Slot, bool) { return t.find(id) }

// Addressed reports whether an event is addressed to a session as it is now, or
// to the one that it was before.
func (t *Table) Addressed(s Slot, before wire.SessionID, ev *wire.Event) bool {
	m := t.member(s)
	if m == nil || m.excepted(before, ev) {
		return false
	}
	if ev.Broadcast() || m.user != "" && slices.Contains(ev.Users, m.user) {
		return true
	}
	for _, room := range ev.Rooms {
		if m.in(room) != nil {
			return true
		}
	}
	for _, id := range ev.Sessions {
		if parsed, ok := wire.ParseSessionID(id); ok && (parsed == m.id || parsed == before) {
			return true
		}
	}
	return false
}

// excepted reports whether a session, as it is now or was before, is one of those that
// do not get an event.
func (m *member) excepted(before wire.SessionID, ev *wire.Event) bool {
	return slices.ContainsFunc(ev.Except, func(id string) bool {
		parsed, ok := wire.ParseSessionID(id)
		return ok && (parsed == m.id || parsed == before)
	})
}

// except returns fn for all sessions but those of some ids.
func (t *Table) except(name string, ids []string, fn func(Slot)) func(Slot) {
	var not []Slot
	for _, id := range ids {
		if s, ok := t.Find(name, id); ok {
			not = append(not, s)
		}
	}
	return func(s Slot) {
		if !slices.Contains(not, s) {
			fn(s)
		}
	}
}
