// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/settings/rules"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

const noSession = ^uint32(0)

// session is one client's attachment to one channel. What the table knows (id,
// user, rooms) is not kept twice.
type session struct {
	channel   *channel // nil: none
	talk      *talk    // nil: it has nothing to do with handlers (yet)
	client    auth.Client
	remote    address
	connected uint32 // Unix time in seconds
	kept      uint32 // as above: see keep; 0: never
	conn      loop.Slot
	next      uint32 // the next session of the same connection: Socket.IO only
	form      hub.Form
	replaying bool   // see replay
	present   bool   // see appear
	housed    bool   // see moveIn
	ended     bool   // for good: see dismiss
	moved     bool   // to another replica
	told      bool   // that it ends: see farewell
	counted   uint8  // countedAddress, countedUser
	asked     drip   // see asks
	serial    uint16 // tells it from earlier ones of the same id
}

// overSocketIO reports whether the session is one of several on its connection.
func (ses *session) overSocketIO() bool {
	return ses.form == hub.SocketIO || ses.form == hub.SocketIODeflate
}

// subject is who the session's token names: a handler may have named the user otherwise.
func (ses *session) subject() string {
	if t := ses.talk; t != nil && t.named {
		return t.subject
	}
	return ses.client.User()
}

// address is an IP address and a port in half the room of a netip.AddrPort, and
// without its pointer. IPv4 is mapped into IPv6. A zone is not kept.
type address struct {
	ip   [16]byte
	port uint16
}

func addressOf(a netip.AddrPort) address { return address{a.Addr().As16(), a.Port()} }

func (a address) addr() netip.Addr { return netip.AddrFrom16(a.ip).Unmap() }

func (a address) String() string { return netip.AddrPortFrom(a.addr(), a.port).String() }

// failure says why something that a client asked for, or a part of it, was not done.
type failure struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Rooms   []string `json:"rooms,omitempty"`
}

// begin makes ses a member of its channel. It reports false when the channel is gone.
func (sh *shard) begin(ses session) (uint32, bool) {
	if len(sh.free) == 0 {
		base := sh.sessions.Len()
		sh.sessions.Grow(base)
		for s := sh.sessions.Len(); s > base; s-- {
			sh.free = append(sh.free, s-1)
		}
	}
	s := sh.free[len(sh.free)-1]
	if !sh.table.Add(ses.channel.Name, s, ses.client.User()) {
		return noSession, false
	}
	sh.free = sh.free[:len(sh.free)-1]
	ses.connected = uint32(time.Now().Unix()) //nolint:gosec // until 2106
	ses.serial = uint16(rand.Uint32())        //nolint:gosec // half of the bits are enough
	*sh.sessions.At(s) = ses
	sh.setBuffer(sh.sessions.At(s))
	if ses.channel.Presence {
		sh.appear(s)
	}
	if ses.channel.housed() {
		sh.moveIn(s)
	}
	return s, true
}

// finish ends a session that its client has been told of, or never will be.
func (sh *shard) finish(s uint32) {
	ses := sh.sessions.At(s)
	ses.channel.counters.connections.Add(-1)
	sh.uncount(ses)
	if ses.present {
		sh.disappear(s)
	}
	if ses.housed {
		sh.moveOut(s)
	}
	if ses.kept != 0 && (ses.moved || !ses.channel.witnessed()) {
		id := sh.table.ID(s)
		sh.server.roster().Release(id.String())
	}
	sh.farewell(s)
	sh.table.Remove(s)
	if ses.replaying {
		sh.release(s)
	}
	*ses = session{}
	sh.free = append(sh.free, s)
}

// What of a session its server's crowd counts.
const (
	countedAddress uint8 = 1 << iota
	countedUser
)

// crowded reports whether a session that has just begun is one too many of its user.
func (sh *shard) crowded(s uint32) bool {
	ses := sh.sessions.At(s)
	counted, ok := sh.server.crowd.enterAs(ses.channel, ses.subject())
	if counted {
		ses.counted |= countedUser
	}
	if !ok {
		ses.channel.counters.refuse(refusedUser)
	}
	return !ok
}

func (sh *shard) uncount(ses *session) {
	if ses.counted&countedUser != 0 {
		sh.server.crowd.leaveAs(ses.channel, ses.subject())
	}
	if ses.counted&countedAddress != 0 {
		sh.server.crowd.leave(ses.remote)
	}
}

// end ends a session for a reason that its client must know. A Socket.IO client
// that must not come back by itself loses its namespace; otherwise the connection
// is closed.
func (sh *shard) end(s uint32, code wire.CloseCode, reason string) {
	ses := sh.sessions.At(s)
	if ses.overSocketIO() && code.Advice() != wire.Reconnect {
		sh.expel(s, code, reason)
		return
	}
	sh.loop.Close(ses.conn, code, reason)
}

// setBuffer bounds what may wait for the session's connection. Sessions that
// share one share the largest of their buffers, and the strictest policy.
func (sh *shard) setBuffer(ses *session) {
	slow := ses.channel.SlowClients
	if e := sh.peers.At(uint32(ses.conn)).engine; e != nil {
		for other := range sh.sessionsOf(e) {
			o := sh.sessions.At(other).channel.SlowClients
			slow.BufferBytes = max(slow.BufferBytes, o.BufferBytes)
			if o.Policy != slow.Policy {
				slow.Policy = settings.Disconnect
			}
		}
	}
	sh.loop.SetBuffer(ses.conn, slow.BufferBytes, slow.Policy)
}

// join adds the session to the rooms that it may join and says which were refused.
func (sh *shard) join(s uint32, rooms []string) *failure {
	ses := sh.sessions.At(s)
	verifier := sh.server.current.Load().verifier
	var forbidden []string
	for i, room := range rooms {
		if !verifier.MayJoin(ses.channel.Name, &ses.client, room) {
			forbidden = append(forbidden, room)
			continue
		}
		if sh.joinRoom(s, room) != nil {
			return &failure{plain.CodeTooMany, ses.channel.tooManyRooms(), append(forbidden, rooms[i:]...)}
		}
	}
	if forbidden == nil {
		return nil
	}
	ses.channel.counters.refuse(refusedJoin)
	if ses.channel.Clients.Rules[string(rules.Join)] != "" {
		return &failure{plain.CodeForbidden, "this channel's rules do not let you join these rooms", forbidden}
	}
	return &failure{plain.CodeForbidden, "these rooms are not among the rooms of your token", forbidden}
}

// maxRooms is how many rooms a session of the channel may be in.
func (c *channel) maxRooms() int {
	if n := int(c.Limits.RoomsPerSession); n > 0 {
		return n
	}
	return wire.MaxRooms
}

func (c *channel) tooManyRooms() string {
	return fmt.Sprintf("a session is in at most %d rooms here: leave some first", c.maxRooms())
}

// joinAgain puts a session into the rooms that its client was in before. Those that
// were granted need no rule.
func (sh *shard) joinAgain(s uint32, rooms, granted []string) *failure {
	for i, room := range granted {
		if sh.grantRoom(s, room) != nil {
			return &failure{plain.CodeTooMany, sh.sessions.At(s).channel.tooManyRooms(), granted[i:]}
		}
	}
	return sh.join(s, slices.DeleteFunc(slices.Clone(rooms), func(room string) bool { return slices.Contains(granted, room) }))
}

func (sh *shard) leave(s uint32, rooms []string) {
	for _, room := range rooms {
		sh.leaveRoom(s, room)
	}
}

// renew gives the session a fresh token, and takes it out of rooms that it may not
// be in any more.
func (sh *shard) renew(s uint32, token string) *failure {
	ses := sh.sessions.At(s)
	verifier := sh.server.current.Load().verifier
	client, err := verifier.Client(ses.channel.Name, token)
	switch {
	case err != nil:
		return &failure{Code: plain.CodeToken, Message: err.Error()}
	case client.User() != ses.subject():
		return &failure{Code: plain.CodeToken, Message: "the token is another user's: connect anew to become another user"}
	}
	if err := verifier.MayRenew(ses.channel.Name, &client, ses.remote.addr()); err != nil {
		return &failure{Code: plain.CodeForbidden, Message: err.Error()}
	}
	if t := ses.talk; t != nil && t.named {
		client = client.As(ses.client.User())
	}
	ses.client = client
	granted := sh.table.Granted(s)
	for _, room := range sh.table.Rooms(s) {
		if !verifier.MayJoin(ses.channel.Name, &client, room) && !slices.Contains(granted, room) {
			sh.leaveRoom(s, room)
		}
	}
	return nil
}

// position is where the session's client is: it has been sent everything up to
// there.
func (sh *shard) position(s uint32) wire.Position {
	ses := sh.sessions.At(s)
	if ses.replaying {
		return sh.replays[s].at
	}
	return sh.table.Position(ses.channel.Name)
}

func (sh *shard) offset(s uint32) string { return sh.position(s).String() }

// rooms is never nil, so that JSON shows an empty list.
func (sh *shard) rooms(s uint32) []string {
	rooms := sh.table.Rooms(s)
	if rooms == nil {
		return []string{}
	}
	slices.Sort(rooms)
	return rooms
}

// sooner is the earlier of two times, of which the zero time is none.
func sooner(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}
