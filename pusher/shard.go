// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"net/netip"
	"slices"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/slab"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// shard is one loop with its sessions and its table of who is where. Everything
// but the exported-by-interface Deliver happens on the loop.
type shard struct {
	// Static.
	server *Server
	loop   *loop.Loop

	// Owned by the loop.
	table    *hub.Table
	sessions slab.Slab[session] // by slot
}

// session is one client's attachment to one channel. What the table knows (id,
// user, rooms) is not kept twice.
type session struct {
	channel   *channel // nil: none
	client    auth.Client
	remote    address
	connected uint32 // Unix time in seconds
}

// address is an IP address and a port in half the room of a netip.AddrPort, and
// without its pointer. IPv4 is mapped into IPv6. A zone is not kept.
type address struct {
	ip   [16]byte
	port uint16
}

func addressOf(a netip.AddrPort) address { return address{a.Addr().As16(), a.Port()} }

func (a address) String() string {
	return netip.AddrPortFrom(netip.AddrFrom16(a.ip).Unmap(), a.port).String()
}

// at returns the session of a slot.
func (sh *shard) at(s loop.Slot) *session { return sh.sessions.At(uint32(s)) }

// hello is what the clients listener knows of a connection that it hands over.
type hello struct {
	channel *channel // nil when refused
	client  auth.Client
	rooms   []string
	remote  netip.AddrPort
	refusal refusal
}

// refusal closes a connection as soon as it is open, because a browser cannot
// see why a handshake failed.
type refusal struct {
	code   wire.CloseCode
	reason string
}

// Deliver hands an event to the loop.
func (sh *shard) Deliver(d *hub.Delivery) { sh.loop.Post(&delivery{sh, d}) }

type delivery struct {
	shard *shard
	*hub.Delivery
}

// Size is that of the frame.
func (d *delivery) Size() int { return len(d.Plain) }

// Run queues the event for every member that it is addressed to.
func (d *delivery) Run() {
	l := d.shard.loop
	frame := &loop.Frame{Bytes: d.Plain, Event: true}
	d.shard.table.Each(d.Channel, d.Delivery, func(s hub.Slot) { l.Send(loop.Slot(s), frame) })
	l.Stamp(d.Published)
}

// Open makes a session of a new connection, or refuses it.
func (sh *shard) Open(s loop.Slot, h any) {
	he, ok := h.(*hello)
	if !ok {
		panic("pusher: a connection without a hello")
	}
	sh.sessions.Grow(uint32(s))
	if he.channel == nil {
		sh.loop.Close(s, he.refusal.code, he.refusal.reason)
		return
	}
	ses := sh.at(s)
	cur := sh.server.current.Load()
	*ses = session{channel: he.channel, client: he.client, remote: addressOf(he.remote), connected: uint32(time.Now().Unix())} //nolint:gosec // until 2106
	now := cur.channels[he.channel.Name]
	switch {
	case sh.server.draining.Load():
		sh.loop.Close(s, wire.CloseRestart, wire.CloseRestart.Reason())
		return
	case now == nil || !sh.table.Add(now.Name, uint32(s), he.client.User()):
		sh.loop.Close(s, wire.CloseChannelGone, wire.CloseChannelGone.Reason())
		return
	case now.Revision != he.channel.Revision || now.counters != he.channel.counters:
		// Changed since the handshake: what was decided there may not hold.
		sh.loop.Close(s, wire.CloseTryLater, "the channel has just changed, try again")
		return
	}
	ses.channel = now
	sh.loop.SetBuffer(s, he.channel.SlowClients.BufferBytes, he.channel.SlowClients.Policy)
	sh.loop.SetDeadline(s, he.client.Expires())
	failure := sh.join(s, he.rooms)
	sh.send(s, plain.EncodeWelcome(plain.Welcome{
		Session: sh.table.ID(uint32(s)).String(), Channel: ses.channel.Name, User: ses.client.User(), Rooms: sh.rooms(s),
		Offset:    sh.offset(ses),
		Heartbeat: cur.settings.Pusher.Heartbeat.Interval.Std().Milliseconds(),
	}))
	if failure != nil {
		sh.send(s, plain.EncodeFailure(*failure))
	}
}

// Closed ends the session, if there was one.
func (sh *shard) Closed(s loop.Slot) {
	ses := sh.at(s)
	if ses.channel != nil {
		ses.channel.counters.connections.Add(-1)
		sh.table.Remove(uint32(s))
	}
	*ses = session{}
}

// Expired ends a session whose token has.
func (sh *shard) Expired(s loop.Slot) {
	sh.loop.Close(s, wire.CloseUnauthorized, "token expired")
}

// Gap encodes the marker for dropped events.
func (sh *shard) Gap(n uint32) []byte { return plain.EncodeGap(n) }

// Text takes a client's message.
func (sh *shard) Text(s loop.Slot, msg []byte) {
	ses := sh.at(s)
	r, err := plain.Decode(msg)
	if err != nil {
		sh.failure(s, r, plain.CodeBadMessage, err.Error())
		return
	}
	switch r.Type {
	case plain.Join:
		failure := sh.join(s, r.Rooms)
		sh.send(s, plain.EncodeAnswer(plain.Answer{Type: "joined", Ref: r.Ref, Rooms: sh.rooms(s), Offset: sh.offset(ses)}))
		if failure != nil {
			failure.Ref = r.Ref
			sh.send(s, plain.EncodeFailure(*failure))
		}
	case plain.Leave:
		for _, room := range r.Rooms {
			sh.table.Leave(uint32(s), room)
		}
		sh.send(s, plain.EncodeAnswer(plain.Answer{Type: "left", Ref: r.Ref, Rooms: sh.rooms(s), Offset: sh.offset(ses)}))
	case plain.Auth:
		sh.authenticate(s, ses, r)
	case plain.Ping:
		sh.send(s, plain.EncodeAnswer(plain.Answer{Type: "pong", Ref: r.Ref, Offset: sh.offset(ses)}))
	}
}

// join adds the session to the rooms that it may join and says which were refused.
func (sh *shard) join(s loop.Slot, rooms []string) *plain.Failure {
	ses := sh.at(s)
	verifier := sh.server.current.Load().verifier
	var forbidden []string
	for i, room := range rooms {
		if !verifier.MayJoin(&ses.client, room) {
			forbidden = append(forbidden, room)
			continue
		}
		if sh.table.Join(uint32(s), room) != nil {
			return &plain.Failure{
				Code: plain.CodeTooMany, Rooms: append(forbidden, rooms[i:]...),
				Message: "a session is in at most 100 rooms: leave some first",
			}
		}
	}
	if forbidden == nil {
		return nil
	}
	return &plain.Failure{Code: plain.CodeForbidden, Rooms: forbidden, Message: "these rooms are not among the rooms of your token"}
}

// authenticate gives the session a fresh token.
func (sh *shard) authenticate(s loop.Slot, ses *session, r plain.Request) {
	client, err := sh.server.current.Load().verifier.Client(ses.channel.Name, r.Token)
	switch {
	case err != nil:
		sh.failure(s, r, plain.CodeToken, err.Error())
		return
	case client.User() != ses.client.User():
		sh.failure(s, r, plain.CodeToken, "the token is another user's: connect anew to become another user")
		return
	}
	ses.client = client
	sh.loop.SetDeadline(s, client.Expires())
	verifier := sh.server.current.Load().verifier
	for _, room := range sh.table.Rooms(uint32(s)) {
		if !verifier.MayJoin(&client, room) {
			sh.table.Leave(uint32(s), room)
		}
	}
	sh.send(s, plain.EncodeAnswer(plain.Answer{Type: "authenticated", Ref: r.Ref, Rooms: sh.rooms(s), Offset: sh.offset(ses)}))
}

func (sh *shard) failure(s loop.Slot, r plain.Request, code, message string) {
	sh.send(s, plain.EncodeFailure(plain.Failure{Ref: r.Ref, Code: code, Message: message}))
}

func (sh *shard) send(s loop.Slot, frame []byte) { sh.loop.Send(s, &loop.Frame{Bytes: frame}) }

func (sh *shard) offset(ses *session) string { return sh.table.Position(ses.channel.Name).String() }

// rooms is never nil, so that JSON shows an empty list.
func (sh *shard) rooms(s loop.Slot) []string {
	rooms := sh.table.Rooms(uint32(s))
	if rooms == nil {
		return []string{}
	}
	slices.Sort(rooms)
	return rooms
}

// prepare makes added Channels known, before anybody can name them.
func (sh *shard) prepare(c *change) {
	for i, name := range c.added {
		sh.table.AddChannel(name, c.positions[i])
	}
}

// apply carries out on this loop what a reload has changed.
func (sh *shard) apply(next *snapshot, c *change) {
	sh.loop.SetConfig(loopConfig(next.settings))
	for _, name := range c.removed {
		for _, s := range slices.Clone(sh.table.RemoveChannel(name)) {
			sh.loop.Close(loop.Slot(s), wire.CloseChannelGone, wire.CloseChannelGone.Reason())
		}
	}
	for _, name := range c.changed {
		ch := next.channels[name]
		for _, s := range slices.Clone(sh.table.Members(name)) {
			ses := sh.at(loop.Slot(s))
			if was := ses.channel.Clients.Anonymous; was && !ch.Clients.Anonymous {
				ses.channel = ch
				sh.loop.Close(loop.Slot(s), wire.CloseUnauthorized, "this channel needs a token now")
				continue
			}
			ses.channel = ch
			sh.loop.SetBuffer(loop.Slot(s), ch.SlowClients.BufferBytes, ch.SlowClients.Policy)
		}
	}
}
