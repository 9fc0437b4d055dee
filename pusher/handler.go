// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bytes"

	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
	"github.com/klaxon-dev/klaxon/pusher/wire/sse"
)

// A shard is told by its loop what happens to connections. What the methods below
// have in common is that they find out whose affair it is.

// Open takes a new connection.
func (sh *shard) Open(c loop.Slot, h any) {
	sh.peers.Grow(uint32(c))
	*sh.peers.At(uint32(c)) = peer{session: noSession}
	switch h := h.(type) {
	case *hello:
		sh.openClient(c, h)
	case *engineHello:
		sh.openEngine(c, h)
	case *probe:
		sh.openProbe(c, h)
	case *moving:
		sh.openMoving(c, h)
	default:
		panic("pusher: a connection without a hello")
	}
}

// Closed ends what a connection was for.
func (sh *shard) Closed(c loop.Slot, code wire.CloseCode, reason string) {
	sh.why = handlers.Disconnected{Code: uint16(code), Reason: reason}
	p := sh.peers.At(uint32(c))
	was := *p
	*p = peer{session: noSession}
	if was.session != noSession {
		sh.finish(was.session)
	}
	if was.engine != nil {
		sh.closedEngine(c, was.engine)
	}
	if was.moving != nil {
		sh.movingGone(was.moving)
	}
}

// Text takes a client's message.
func (sh *shard) Text(c loop.Slot, msg []byte) {
	p := sh.peers.At(uint32(c))
	if p.engine != nil {
		sh.text(c, p.engine, msg)
		return
	}
	if p.moving != nil {
		sh.movingText(c, p.moving, msg)
		return
	}
	if p.late != nil {
		sh.firstMessage(c, p.late, msg)
		return
	}
	sh.request(c, p.session, msg)
}

// Binary takes a client's binary message, which only Engine.IO has.
func (sh *shard) Binary(c loop.Slot, msg []byte) {
	p := sh.peers.At(uint32(c))
	if p.engine != nil {
		sh.binary(c, p.engine, msg)
		return
	}
	if p.moving != nil {
		sh.stash(c, p.moving, stashed{bytes.Clone(msg), true})
		return
	}
	sh.loop.Close(c, wire.CloseUnsupported, wire.CloseUnsupported.Reason())
}

// Expired does what a connection's time has come for.
func (sh *shard) Expired(c loop.Slot) {
	p := sh.peers.At(uint32(c))
	switch {
	case p.late != nil:
		sh.loop.Close(c, wire.CloseUnauthorized, "no token came")
	case p.engine != nil && c == p.engine.probe, p.moving != nil:
		sh.loop.Close(c, wire.CloseProtocol, "the upgrade took too long")
	case p.engine != nil:
		sh.tick(p.engine)
	case sh.sessions.At(p.session).form == hub.EventStream:
		sh.pulse(p.session)
	default:
		sh.end(p.session, wire.CloseUnauthorized, "token expired")
	}
}

// Gap encodes the marker for dropped events of a channel.
func (sh *shard) Gap(c loop.Slot, topic, n uint32) []byte {
	p := sh.peers.At(uint32(c))
	if p.engine == nil {
		if sh.sessions.At(p.session).form == hub.EventStream {
			return sse.EncodeGap(n)
		}
		return plain.EncodeGap(n)
	}
	for s := range sh.sessionsOf(p.engine) {
		if ch := sh.sessions.At(s).channel; ch.counters.number == topic {
			return socketio.EncodeMessage(ch.SocketIO.Namespace, eventGap, map[string]uint32{"dropped": n})
		}
	}
	return nil // the client has left the namespace meanwhile
}
