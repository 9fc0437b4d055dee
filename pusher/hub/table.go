// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/klaxon-dev/klaxon/pusher/slab"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Slot is the number of a session on its loop.
type Slot = uint32

const noSlot = ^Slot(0)

// Table is one loop's members: which sessions are in which channel and rooms,
// and whose they are. Only its loop may use it.
type Table struct {
	channels map[string]*channel
	members  slab.Slab[member]       // by slot
	mark     uint64                  // of the walk under way, see Each
	veil     maphash.Seed            // over the slots in ids
	renamed  map[wire.SessionID]Slot // whose ids do not tell their slots
}

// channel is what one Table knows of a channel.
type channel struct {
	last  wire.Position
	all   group
	rooms index[string, *group]
	users index[string, Slot] // the first of each; the others follow
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
	// Most sessions are in no room or in one.
	room membership   // room.group is nil: none
	more []membership // further ones
}

// NewTable returns an empty Table.
func NewTable() *Table {
	return &Table{channels: map[string]*channel{}, veil: maphash.MakeSeed()}
}

// AddChannel makes a channel known. Adding it again does nothing.
func (t *Table) AddChannel(name string) {
	if t.channels[name] == nil {
		t.channels[name] = &channel{}
	}
}

// Advance tells the position from which the channel's events follow, or that there
// were none for a while. It never goes back within an epoch.
func (t *Table) Advance(name string, to wire.Position) {
	if c := t.channels[name]; c != nil && (c.last.Epoch != to.Epoch || c.last.Seq < to.Seq) {
		c.last = to
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
		t.forget(t.at(s))
		*t.at(s) = member{}
	}
	return c.all.slots
}

// Add makes a session a member of a channel and gives it an id. It reports false
// when the channel is not known (any more).
func (t *Table) Add(name string, s Slot, user string) bool {
	c := t.channels[name]
	if c == nil {
		return false
	}
	t.members.Grow(s)
	m := t.at(s)
	*m = member{channel: c, id: t.newID(s), user: user, mark: t.mark, before: noSlot, after: noSlot}
	m.all = c.all.add(s)
	if user != "" {
		if first, ok := c.users.get(user); ok {
			m.after = first
			t.at(first).before = s
		}
		c.users.put(user, s)
	}
	return true
}

// newID is 96 bits that nobody can guess, and the slot, so that a session is found
// by its id without a map of them all. The slot is veiled: how many clients there
// are is nobody's business.
func (t *Table) newID(s Slot) (id wire.SessionID) {
	_, _ = rand.Read(id[:12]) // never fails
	binary.BigEndian.PutUint32(id[12:], s^t.veilOf(&id))
	return id
}

// veilOf differs from id to id: one veil for all would show in what two ids have
// in common.
func (t *Table) veilOf(id *wire.SessionID) uint32 {
	return uint32(maphash.Bytes(t.veil, id[:12])) //nolint:gosec // half of the bits are enough
}

// Remove ends a session's membership. Removing it again does nothing.
func (t *Table) Remove(s Slot) {
	m := t.member(s)
	if m == nil {
		return
	}
	c := m.channel
	for m.room.group != nil {
		t.leave(m, m.last())
	}
	if m.user != "" {
		t.unlinkUser(c, m)
	}
	if moved, ok := c.all.remove(m.all); ok {
		t.at(moved).all = m.all
	}
	t.forget(m)
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
	parsed, valid := wire.ParseSessionID(id)
	if !valid {
		return 0, false
	}
	s, ok := t.find(parsed)
	return s, ok && t.at(s).channel == t.channels[name]
}

// slotIn is the slot that an id of newID tells.
func (t *Table) slotIn(id *wire.SessionID) Slot {
	return binary.BigEndian.Uint32(id[12:]) ^ t.veilOf(id)
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
	t.walk(c, name, d.Event, fn)
}

// Count is how many sessions an event would be given to now.
func (t *Table) Count(name string, ev *wire.Event) (n int) {
	c := t.channels[name]
	switch {
	case c == nil:
		return 0
	case ev.Broadcast() && len(ev.Except) == 0:
		return len(c.all.slots)
	}
	t.walk(c, name, ev, func(Slot) { n++ })
	return n
}

func (t *Table) walk(c *channel, name string, ev *wire.Event, fn func(Slot)) {
	if len(ev.Except) > 0 {
		fn = t.except(name, ev.Except, fn)
	}
	if ev.Broadcast() {
		// Backwards: a removed member's place is taken by one that had its turn.
		for i := len(c.all.slots) - 1; i >= 0; i-- {
			fn(c.all.slots[i])
		}
		return
	}
	t.mark++
	for _, room := range ev.Rooms {
		if g, ok := c.rooms.get(room); ok {
			t.eachOf(g, fn)
		}
	}
	for _, user := range ev.Users {
		s, ok := c.users.get(user)
		for ok && s != noSlot {
			after := t.at(s).after // fn may remove s
			t.once(s, fn)
			s = after
		}
	}
	for _, id := range ev.Sessions {
		if s, ok := t.Find(name, id); ok {
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
