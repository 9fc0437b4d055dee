// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"slices"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/presence"
	"github.com/klaxon-dev/klaxon/pusher/slab"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/deflate"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
	"github.com/klaxon-dev/klaxon/pusher/wire/sse"
)

// shard is one loop with its sessions and its table of who is where. Everything
// but the exported-by-interface Deliver happens on the loop.
type shard struct {
	// Static.
	server *Server
	loop   *loop.Loop
	number uint8 // among the server's
	start  time.Time

	// Owned by the loop.
	table      *hub.Table
	sessions   slab.Slab[session]
	free       []uint32           // numbers of sessions that are nobody's
	peers      slab.Slab[peer]    // by connection
	compressor deflate.Compressor // for events
	beat       beat               // of event streams
	replays    map[uint32]*replay // by session
	recent     []*recent          // by sequence, while there are replays
	offsets    offsets
	why        handlers.Disconnected // of what ends now
	watches    map[uint32][]*watch   // by session
	watchers   map[presence.Scope]map[uint32]struct{}
}

// peer is who is behind a connection.
type peer struct {
	// session is the only one of a plain WebSocket or an event stream; noSession
	// before it begins and after it has ended.
	session uint32
	// engine is the Engine.IO session of a connection, or that which it probes.
	engine *engine
	// late is a client whose token has not come yet.
	late *hello
	// moving is set for as long as the engine is another replica's.
	moving *moving
}

// Deliver hands an event to the loop.
func (sh *shard) Deliver(d *hub.Delivery) { sh.loop.Post(&delivery{sh, d}) }

type delivery struct {
	shard *shard
	*hub.Delivery
}

// Size is about that of a frame.
func (d *delivery) Size() int { return d.Event.Size() }

// Run queues the event for every member that it is addressed to.
func (d *delivery) Run() {
	sh := d.shard
	var made [hub.Forms]*loop.Frame
	sh.table.Each(d.Channel, d.Delivery, func(s hub.Slot) {
		ses := sh.sessions.At(s)
		if ses.replaying {
			sh.replays[s].hold(d.Delivery)
			return
		}
		f := made[ses.form]
		if f == nil {
			f = &loop.Frame{Bytes: sh.encode(d.Delivery, ses), Event: true, Topic: ses.channel.counters.number}
			made[ses.form] = f
		}
		sh.loop.Send(ses.conn, f)
	})
	sh.loop.Stamp(d.Published)
}

// encode returns the event as the session's client gets it.
func (sh *shard) encode(d *hub.Delivery, ses *session) []byte {
	ch := ses.channel
	switch ses.form {
	case hub.EventStream:
		return d.In(hub.EventStream, func() []byte { return sse.EncodeEvent(d.Event, d.Position) })
	case hub.PlainDeflate:
		return d.In(hub.PlainDeflate, func() []byte { return sh.compress(encodePlain(d), ch) })
	case hub.SocketIO:
		return encodeSocketIO(d, ch)
	case hub.SocketIODeflate:
		return d.In(hub.SocketIODeflate, func() []byte { return sh.compress(encodeSocketIO(d, ch), ch) })
	}
	return encodePlain(d)
}

func encodePlain(d *hub.Delivery) []byte {
	return d.In(hub.Plain, func() []byte { return plain.EncodeEvent(d.Event, d.Position) })
}

func encodeSocketIO(d *hub.Delivery, ch *channel) []byte {
	return d.In(hub.SocketIO, func() []byte {
		offset := ""
		if ch.recovers() {
			offset = d.Position.String()
		}
		return socketio.EncodeEvent(ch.SocketIO.Namespace, d.Event, offset)
	})
}

// compress returns frames with every message compressed that is large enough and
// becomes smaller.
func (sh *shard) compress(b []byte, ch *channel) []byte {
	if ch.Compression == nil {
		return b // not any more
	}
	var out []byte
	for len(b) > 0 {
		op, payload, n := frames.First(b)
		each := b[:n]
		if int64(len(payload)) >= ch.Compression.MinBytes {
			if c := sh.compressor.Frame(op, payload); c != nil {
				each = c
			}
		}
		if out == nil && n == len(b) {
			return each
		}
		out, b = append(out, each...), b[n:]
	}
	return out
}

// prepare makes added Channels known, before anybody can name them.
func (sh *shard) prepare(c *change) {
	for _, name := range c.added {
		sh.table.AddChannel(name)
	}
}

// apply carries out on this loop what a reload has changed.
func (sh *shard) apply(next *snapshot, c *change) {
	sh.loop.SetConfig(loopConfig(next.settings, next.maxPayload))
	for _, name := range c.removed {
		for _, s := range sh.table.Members(name) { // while the table still knows who they are
			if sh.sessions.At(s).present {
				sh.disappear(s)
			}
			if sh.sessions.At(s).housed {
				sh.moveOut(s)
			}
			sh.dismiss(s)
			sh.why = handlers.Disconnected{Code: uint16(wire.CloseChannelGone), Reason: wire.CloseChannelGone.Reason()}
			sh.farewell(s)
		}
		for _, s := range slices.Clone(sh.table.RemoveChannel(name)) {
			sh.end(s, wire.CloseChannelGone, wire.CloseChannelGone.Reason())
		}
	}
	sh.prepare(c) // those that have taken the place of a removed one
	for _, name := range c.changed {
		ch := next.channels[name]
		for _, s := range slices.Clone(sh.table.Members(name)) {
			sh.adapt(s, ch)
		}
	}
}

// adapt holds a session to its Channel's new settings.
func (sh *shard) adapt(s uint32, ch *channel) {
	ses := sh.sessions.At(s)
	was := ses.channel
	switch {
	case was.Clients.Anonymous && !ch.Clients.Anonymous:
		sh.end(s, wire.CloseUnauthorized, "this channel needs a token now")
		return
	case sh.server.current.Load().verifier.Revoked(ch.Name, ses.subject(), &ses.client):
		sh.end(s, wire.CloseUnauthorized, "the token, or its user, has been revoked")
		return
	case ses.overSocketIO() && was.SocketIO != ch.SocketIO:
		sh.end(s, wire.CloseChannelGone, "the channel has another namespace now")
		return
	}
	if ses.housed {
		sh.moveOut(s) // by the earlier settings
	}
	ses.channel = ch
	if ch.housed() {
		sh.moveIn(s)
	}
	if ch.witnessed() && !was.witnessed() {
		sh.keep(s, func() {})
	}
	sh.setBuffer(ses)
	switch {
	case ch.Presence && !ses.present:
		sh.appear(s)
	case !ch.Presence && ses.present:
		watched := len(sh.watches[s]) > 0
		sh.disappear(s)
		if watched {
			sh.tellFailure(s, errPresenceOff)
		}
	}
}
