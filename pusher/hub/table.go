// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/slab"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Slot names a session on its loop.
type Slot = uint32

const noSlot = ^Slot(0)

// ErrTooManyRooms means that a session is in wire.MaxRooms rooms already.
var ErrTooManyRooms = errors.New("too many rooms")

// Table is one loop's members: which sessions are in which channel and rooms,
// and whose they are. Only its loop may use it.
type Table struct {
	channels map[string]*channel
	members  slab.Slab[member] // by slot
	mark     uint64            // of the walk under way, see Each
}

// channel is what one Table knows of a channel.
type channel struct {
	last     wire.Position
	all      group
	rooms    index[string, *group]
	users    index[string, Slot] // the first of each; the others follow
	sessions index[wire.SessionID, Slot]
}

// group is a set of sessions with constant-time add and remove: each session
// knows its place.
type group struct {
	name  string
	slots []Slot
}

// member is a session as a Table knows it.
type member struct {
	channel *channel // nil: none
	id      wire.SessionID
	user    string
	mark    uint64
	all     uint32 // place in channel.all
	// The user's other sessions: nearly always there is none.
	before, after Slot
	rooms         []membership // nil for most
}

type membership struct {
	room *group
	at   uint32
}

// NewTable returns an empty Table.
func NewTable() *Table { return &Table{channels: map[string]*channel{}} }

// AddChannel makes a channel known, at the position from which its events will
// follow. Adding it again does nothing.
func (t *Table) AddChannel(name string, at wire.Position) {
	if t.channels[name] == nil {
		t.channels[name] = &channel{last: at}
	}
}

// RemoveChannel forgets a channel and returns the sessions that were in it,
// which are no members any more.
func (t *Table) RemoveChannel(name string) []Slot {
	c := t.channels[name]
	if c == nil {
		return nil
	}
	delete(t.channels, name)
	for _, s := range c.all.slots {
		*t.at(s) = member{}
	}
	return c.all.slots
}

// Add makes a session a member of a channel. It reports false when the channel
// is not known (any more).
func (t *Table) Add(name string, s Slot, id wire.SessionID, user string) bool {
	c := t.channels[name]
	if c == nil {
		return false
	}
	t.members.Grow(s)
	m := t.at(s)
	*m = member{channel: c, id: id, user: user, mark: t.mark, before: noSlot, after: noSlot}
	m.all = c.all.add(s)
	if user != "" {
		if first, ok := c.users.get(user); ok {
			m.after = first
			t.at(first).before = s
		}
		c.users.put(user, s)
	}
	c.sessions.put(id, s)
	return true
}

// Remove ends a session's membership. Removing it again does nothing.
func (t *Table) Remove(s Slot) {
	m := t.member(s)
	if m == nil {
		return
	}
	c := m.channel
	for len(m.rooms) > 0 {
		t.leaveAt(s, len(m.rooms)-1)
	}
	if m.user != "" {
		t.unlinkUser(c, m)
	}
	if moved, ok := c.all.remove(m.all); ok {
		t.at(moved).all = m.all
	}
	c.sessions.remove(m.id)
	*m = member{}
}

// unlinkUser takes a member out of its user's list.
func (t *Table) unlinkUser(c *channel, m *member) {
	if m.after != noSlot {
		t.at(m.after).before = m.before
	}
	switch {
	case m.before != noSlot:
		t.at(m.before).after = m.after
	case m.after != noSlot:
		c.users.put(m.user, m.after)
	default:
		c.users.remove(m.user)
	}
}

// Join adds a session to a room. Joining again does nothing.
func (t *Table) Join(s Slot, room string) error {
	m := t.member(s)
	if m == nil || t.inRoom(m, room) >= 0 {
		return nil
	}
	if len(m.rooms) >= wire.MaxRooms {
		return ErrTooManyRooms
	}
	g, ok := m.channel.rooms.get(room)
	if !ok {
		room = strings.Clone(room) // it may be a part of a request, or of a message
		g = &group{name: room}
		m.channel.rooms.put(room, g)
	}
	m.rooms = append(m.rooms, membership{room: g, at: g.add(s)})
	return nil
}

// Leave takes a session out of a room; the room vanishes with its last member.
func (t *Table) Leave(s Slot, room string) {
	if m := t.member(s); m != nil {
		if i := t.inRoom(m, room); i >= 0 {
			t.leaveAt(s, i)
		}
	}
}

// Rooms returns the rooms that a session is in.
func (t *Table) Rooms(s Slot) []string {
	m := t.member(s)
	if m == nil || len(m.rooms) == 0 {
		return nil
	}
	names := make([]string, len(m.rooms))
	for i := range m.rooms {
		names[i] = m.rooms[i].room.name
	}
	return names
}

// Members returns all sessions of a channel. The slice is the Table's own.
func (t *Table) Members(name string) []Slot {
	if c := t.channels[name]; c != nil {
		return c.all.slots
	}
	return nil
}

// Channels returns the names of all channels, in no order.
func (t *Table) Channels() []string {
	return slices.Collect(maps.Keys(t.channels))
}

// Find returns the session of an id.
func (t *Table) Find(name, id string) (Slot, bool) {
	c := t.channels[name]
	if c == nil {
		return 0, false
	}
	return c.find(id)
}

func (c *channel) find(id string) (s Slot, ok bool) {
	if parsed, valid := wire.ParseSessionID(id); valid {
		s, ok = c.sessions.get(parsed)
	}
	return s, ok
}

// ID returns the id of a session.
func (t *Table) ID(s Slot) wire.SessionID { return t.at(s).id }

// Position is that of the last event that was walked for the channel: every
// member has been given what is addressed to it up to here.
func (t *Table) Position(name string) wire.Position {
	if c := t.channels[name]; c != nil {
		return c.last
	}
	return wire.Position{}
}

// Each calls fn once for each session that the event is addressed to. fn may
// remove sessions; it must not add any.
func (t *Table) Each(name string, d *Delivery, fn func(Slot)) {
	c := t.channels[name]
	if c == nil {
		return
	}
	c.last = d.Position
	if d.Event.Broadcast() {
		// Backwards: a removed member's place is taken by one that had its turn.
		for i := len(c.all.slots) - 1; i >= 0; i-- {
			fn(c.all.slots[i])
		}
		return
	}
	t.mark++
	for _, room := range d.Event.Rooms {
		if g, ok := c.rooms.get(room); ok {
			t.eachOf(g, fn)
		}
	}
	for _, user := range d.Event.Users {
		s, ok := c.users.get(user)
		for ok && s != noSlot {
			after := t.at(s).after // fn may remove s
			t.once(s, fn)
			s = after
		}
	}
	for _, id := range d.Event.Sessions {
		if s, ok := c.find(id); ok {
			t.once(s, fn)
		}
	}
}

func (t *Table) eachOf(g *group, fn func(Slot)) {
	for i := len(g.slots) - 1; i >= 0; i-- {
		t.once(g.slots[i], fn)
	}
}

func (t *Table) once(s Slot, fn func(Slot)) {
	if m := t.at(s); m.mark != t.mark {
		m.mark = t.mark
		fn(s)
	}
}

func (t *Table) member(s Slot) *member {
	if s >= t.members.Len() || t.at(s).channel == nil {
		return nil
	}
	return t.at(s)
}

func (t *Table) at(s Slot) *member { return t.members.At(s) }

func (t *Table) inRoom(m *member, room string) int {
	for i := range m.rooms {
		if m.rooms[i].room.name == room {
			return i
		}
	}
	return -1
}

// leaveAt takes a session out of the i-th of its rooms.
func (t *Table) leaveAt(s Slot, i int) {
	m := t.at(s)
	g, at := m.rooms[i].room, m.rooms[i].at
	if moved, ok := g.remove(at); ok {
		for j := range t.at(moved).rooms {
			if r := &t.at(moved).rooms[j]; r.room == g {
				r.at = at
			}
		}
	}
	if len(g.slots) == 0 {
		m.channel.rooms.remove(g.name)
	}
	last := len(m.rooms) - 1
	m.rooms[i] = m.rooms[last]
	m.rooms[last] = membership{}
	m.rooms = m.rooms[:last]
	if last == 0 {
		m.rooms = nil
	}
}

// add appends a session and returns its place.
func (g *group) add(s Slot) uint32 {
	g.slots = append(g.slots, s)
	return uint32(len(g.slots) - 1) //nolint:gosec // bounded by descriptors
}

// remove takes the session at a place out. If another was moved there, it
// returns that one. Room that a large crowd has left behind is given back.
func (g *group) remove(at uint32) (moved Slot, ok bool) {
	last := len(g.slots) - 1
	moved, ok = g.slots[last], int(at) != last
	g.slots[at] = moved
	g.slots = g.slots[:last]
	if c := cap(g.slots); c > 64 && last < c/4 {
		g.slots = append(make([]Slot, 0, c/2), g.slots...)
	}
	return moved, ok
}
