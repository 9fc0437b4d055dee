// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"errors"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// ErrTooManyRooms means that a session is in wire.MaxRooms rooms already.
var ErrTooManyRooms = errors.New("too many rooms")

// membership is that of a session in a room.
type membership struct {
	group   *group
	at      uint32 // place there
	granted bool   // see Grant
}

// Join adds a session to a room. Joining again does nothing.
func (t *Table) Join(s Slot, room string) error {
	m := t.member(s)
	if m == nil || m.in(room) != nil {
		return nil
	}
	if len(m.more) == wire.MaxRooms-1 {
		return ErrTooManyRooms
	}
	g, ok := m.channel.rooms.get(room)
	if !ok {
		room = strings.Clone(room) // it may be a part of a request, or of a message
		g = &group{name: room}
		m.channel.rooms.put(room, g)
	}
	joined := membership{group: g, at: g.add(s)}
	if m.room.group == nil {
		m.room = joined
	} else {
		m.more = append(m.more, joined)
	}
	return nil
}

// RoomCount is how many rooms a session is in.
func (t *Table) RoomCount(s Slot) int {
	m := t.member(s)
	if m == nil || m.room.group == nil {
		return 0
	}
	return 1 + len(m.more)
}

// In reports whether a session is in a room.
func (t *Table) In(s Slot, room string) bool {
	m := t.member(s)
	return m != nil && m.in(room) != nil
}

// Grant is Join by somebody who decides who may be in the room: see Granted.
func (t *Table) Grant(s Slot, room string) error {
	if err := t.Join(s, room); err != nil {
		return err
	}
	if m := t.member(s); m != nil {
		m.in(room).granted = true
	}
	return nil
}

// Granted returns those of a session's rooms that were granted.
func (t *Table) Granted(s Slot) (rooms []string) {
	m := t.member(s)
	if m == nil || m.room.group == nil {
		return nil
	}
	if m.room.granted {
		rooms = append(rooms, m.room.group.name)
	}
	for i := range m.more {
		if m.more[i].granted {
			rooms = append(rooms, m.more[i].group.name)
		}
	}
	return rooms
}

// Leave takes a session out of a room; the room vanishes with its last member.
func (t *Table) Leave(s Slot, room string) {
	if m := t.member(s); m != nil {
		if left := m.in(room); left != nil {
			t.leave(m, left)
		}
	}
}

// Rooms returns the rooms that a session is in.
func (t *Table) Rooms(s Slot) []string {
	m := t.member(s)
	if m == nil || m.room.group == nil {
		return nil
	}
	names := append(make([]string, 0, 1+len(m.more)), m.room.group.name)
	for i := range m.more {
		names = append(names, m.more[i].group.name)
	}
	return names
}

// last is the membership that can go without leaving a hole.
func (m *member) last() *membership {
	if n := len(m.more); n > 0 {
		return &m.more[n-1]
	}
	return &m.room
}

// in returns the membership of a room; nil: there is none.
func (m *member) in(room string) *membership {
	return m.where(func(g *group) bool { return g.name == room })
}

func (m *member) where(is func(*group) bool) *membership {
	if m.room.group == nil {
		return nil
	}
	if is(m.room.group) {
		return &m.room
	}
	for i := range m.more {
		if is(m.more[i].group) {
			return &m.more[i]
		}
	}
	return nil
}

// leave ends one of a member's memberships.
func (t *Table) leave(m *member, left *membership) {
	g, at := left.group, left.at
	last := m.last()
	*left = *last
	*last = membership{}
	if n := len(m.more); n > 0 {
		m.more = m.more[:n-1]
	}
	if len(m.more) == 0 {
		m.more = nil
	}
	if moved, ok := g.remove(at); ok {
		t.at(moved).where(func(other *group) bool { return other == g }).at = at
	}
	if len(g.slots) == 0 {
		m.channel.rooms.remove(g.name)
	}
}
