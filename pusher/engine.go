// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"iter"
	"net/netip"
	"net/url"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/engineio"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
)

const (
	// connectTimeout is how long a client may take over its first CONNECT.
	connectTimeout = 45 * time.Second
	// upgradeTimeout is how long a probe may take to become the transport.
	upgradeTimeout = 10 * time.Second
)

// engine is one Engine.IO session. It has a connection of the loop for as long as
// it lives: a detached one, whose queue polls empty, until a WebSocket takes over.
type engine struct {
	home    home
	state   engineio.Session
	said    *said // nil: nothing
	remote  address
	decoder *socketio.Decoder // nil: no binary packet is under way
	first   uint32            // of its sessions; the others follow
	refused uint8             // CONNECTs that came to nothing
	poll    *poll             // the GET that waits; nil: none
	probe   loop.Slot         // a WebSocket that wants to take over
	begun   time.Duration     // since the shard's start

	elsewhere bool // a WebSocket of another replica probes
	counted   bool // by the server's crowd
	// pending are clients of namespaces about which handlers are asked, by namespace.
	pending map[string]*admission
}

// noProbe is no connection's slot.
const noProbe = ^loop.Slot(0)

// engineHello is what the clients listener knows of an Engine.IO client.
type engineHello struct {
	said   said
	remote netip.AddrPort
	poll   *poll // that the handshake is the first of; nil: a WebSocket
}

// said is what a handshake says that each CONNECT is checked by, because the
// handshake names no channel.
type said struct {
	origin string
	host   string // means nothing without an origin
	token  string // a CONNECT may carry another
	// cookies are tokens by channel; nil: there are none.
	cookies map[string]string

	// For handlers, where there are any.
	query   url.Values
	headers map[string]string
}

// probe is a WebSocket that names a session.
type probe struct{ home home }

func (sh *shard) now() time.Duration { return time.Since(sh.start) }

// openEngine begins an Engine.IO session.
func (sh *shard) openEngine(c loop.Slot, h *engineHello) {
	transport, upgrades := engineio.WebSocket, []string{}
	if h.poll != nil {
		transport, upgrades = engineio.Polling, []string{"websocket"}
	}
	cur := sh.server.current.Load()
	heartbeat := cur.settings.Pusher.Heartbeat
	now := sh.now()
	e := &engine{
		state:  engineio.NewSession(transport, now, heartbeat.Interval.Std(), heartbeat.Timeout.Std()),
		remote: addressOf(h.remote), first: noSession, probe: noProbe, begun: now,
	}
	if h.said.origin != "" || h.said.token != "" || h.said.headers != nil || h.said.cookies != nil {
		kept := h.said
		e.said = &kept
	}
	var sid string
	e.home, sid = sh.server.sids.assign(sh.number, c)
	sh.peers.At(uint32(c)).engine = e
	var ok bool
	if e.counted, ok = sh.server.crowd.enter(e.remote, cur.settings.Pusher.Limits); !ok {
		sh.server.refusedByPod(podAddress)
		e.poll = h.poll
		sh.loop.Close(c, wire.CloseTryLater, tooManyOfAddress)
		return
	}
	if h.poll != nil {
		_ = e.state.Poll() // the first
		e.poll = h.poll
	}
	sh.send(c, frames.Encode(frames.Text, engineio.EncodeOpen(engineio.Handshake{
		SID: sid, Upgrades: upgrades, MaxPayload: int64(cur.maxPayload),
		PingInterval: heartbeat.Interval.Std().Milliseconds(), PingTimeout: heartbeat.Timeout.Std().Milliseconds(),
	})))
	sh.schedule(e)
}

// engineAt returns the session of an id, if it lives.
func (sh *shard) engineAt(h home) *engine {
	if uint32(h.slot) >= sh.peers.Len() {
		return nil
	}
	e := sh.peers.At(uint32(h.slot)).engine
	if e == nil || e.home != h {
		return nil
	}
	if !e.state.Alive(sh.now()) {
		sh.loop.Close(h.slot, wire.CloseHeartbeat, wire.CloseHeartbeat.Reason())
		return nil
	}
	return e
}

// openProbe begins the upgrade of a session that polls.
func (sh *shard) openProbe(c loop.Slot, p *probe) {
	e := sh.engineAt(p.home)
	if e == nil || e.state.Probe() != engineio.Done {
		sh.loop.Close(c, wire.CloseNormal, "")
		return
	}
	e.probe = c
	sh.peers.At(uint32(c)).engine = e
	sh.loop.SetDeadline(c, time.Now().Add(upgradeTimeout))
}

// probed takes a packet that came on a probe.
func (sh *shard) probed(e *engine, p engineio.Packet) {
	switch e.state.Probed(p) {
	case engineio.Answer:
		sh.send(e.probe, frames.Encode(frames.Text, []byte("3probe")))
		sh.answerPoll(e)
	case engineio.Switch:
		c := e.probe
		e.probe = noProbe
		sh.peers.At(uint32(c)).engine = nil
		sh.answerPoll(e)
		sh.loop.Move(c, e.home.slot)
		for s := range sh.sessionsOf(e) {
			sh.sessions.At(s).form = sh.engineForm(e)
		}
	default:
		sh.loop.Close(e.probe, wire.CloseProtocol, wire.CloseProtocol.Reason())
	}
}

// engineForm is how events are encoded for a session's transport.
func (sh *shard) engineForm(e *engine) hub.Form {
	if sh.loop.Deflate(e.home.slot) {
		return hub.SocketIODeflate
	}
	return hub.SocketIO
}

// text takes a text message of a connection that speaks Engine.IO.
func (sh *shard) text(c loop.Slot, e *engine, msg []byte) {
	p, err := engineio.Parse(msg)
	switch {
	case c == e.probe && err == nil:
		sh.probed(e, p)
	case err != nil:
		sh.loop.Close(c, wire.CloseProtocol, err.Error())
	default:
		sh.receive(e, p)
	}
}

// binary takes a binary message of a connection that speaks Engine.IO.
func (sh *shard) binary(c loop.Slot, e *engine, msg []byte) {
	if c == e.probe {
		sh.loop.Close(c, wire.CloseProtocol, wire.CloseProtocol.Reason())
		return
	}
	sh.receive(e, engineio.Packet{Type: engineio.Message, Data: msg, Binary: true})
}

// receive takes a packet. The session may be closed then.
func (sh *shard) receive(e *engine, p engineio.Packet) {
	switch e.state.Receive(sh.now(), p) {
	case engineio.Deliver:
		sh.message(e, p)
	case engineio.Hangup:
		sh.answerPoll(e)
		sh.loop.Close(e.home.slot, wire.CloseNormal, "")
	case engineio.Violation:
		sh.loop.Close(e.home.slot, wire.CloseProtocol, wire.CloseProtocol.Reason())
	default:
		sh.schedule(e)
	}
}

// sessionsOf yields an Engine.IO session's sessions, one for each namespace. Each
// may be ended meanwhile.
func (sh *shard) sessionsOf(e *engine) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for s := e.first; s != noSession; {
			next := sh.sessions.At(s).next
			if !yield(s) {
				return
			}
			s = next
		}
	}
}

// schedule asks for the time of what is next: a heartbeat, the end of a token, the
// end of patience with a client that connects to nothing.
func (sh *shard) schedule(e *engine) {
	due := sh.start.Add(e.state.Due())
	if e.first == noSession {
		due = sooner(due, sh.start.Add(e.begun+connectTimeout))
	}
	for s := range sh.sessionsOf(e) {
		due = sooner(due, sh.sessions.At(s).client.Expires())
	}
	sh.loop.SetDeadline(e.home.slot, due)
}

// tick does what is due. It reports whether the session still lives.
func (sh *shard) tick(e *engine) {
	now := sh.now()
	beat := e.state.Tick(now)
	if beat == engineio.Dead {
		// The pong may be there, unread because the loop was busy.
		sh.loop.Read(e.home.slot)
		if sh.peers.At(uint32(e.home.slot)).engine != e {
			return
		}
		beat = e.state.Tick(now)
	}
	if beat == engineio.Dead || e.first == noSession && now >= e.begun+connectTimeout {
		sh.loop.Close(e.home.slot, wire.CloseHeartbeat, wire.CloseHeartbeat.Reason())
		return
	}
	if beat == engineio.SayPing {
		sh.loop.Send(e.home.slot, enginePing)
	}
	for s := range sh.sessionsOf(e) {
		if beat == engineio.SayPing {
			sh.tellOffset(s)
			sh.keepAgain(s)
		}
		if end := sh.sessions.At(s).client.Expires(); !end.IsZero() && !time.Now().Before(end) {
			sh.expel(s, wire.CloseUnauthorized, "token expired")
		}
	}
	sh.schedule(e)
}

var enginePing = &loop.Frame{Bytes: frames.Encode(frames.Text, []byte{byte(engineio.Ping)})}

// closedEngine ends what a connection was part of.
func (sh *shard) closedEngine(c loop.Slot, e *engine) {
	if c == e.probe {
		e.probe = noProbe
		e.state.ProbeGone()
		return
	}
	for s := range sh.sessionsOf(e) {
		sh.park(s)
		sh.finish(s)
	}
	e.first, e.pending = noSession, nil
	if e.counted {
		sh.server.crowd.leave(e.remote)
	}
	if e.poll != nil {
		sh.reply(e, []byte{byte(engineio.Close)})
	}
	if e.probe != noProbe {
		sh.loop.Close(e.probe, wire.CloseNormal, "")
	}
}
