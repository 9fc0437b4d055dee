// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"encoding/json"

	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
)

// Socket.IO's connection state recovery: a client that has lost its connection
// names its session by the private id (pid) that it was given, and its place by the
// offset of the last event it had. It takes itself for recovered when the answer
// has the same pid.

// recovery is what a CONNECT says of an earlier session. Whatever else it holds is
// no recovery.
type recovery struct {
	id    wire.SessionID
	since wire.Position
}

// recovery reads what a CONNECT says; nil: nothing.
func (c *credentials) recovery(k *sids) *recovery {
	var pid, offset string
	if len(c.PID) == 0 || json.Unmarshal(c.PID, &pid) != nil {
		return nil
	}
	r := &recovery{since: nowhere}
	if json.Unmarshal(c.Offset, &offset) == nil {
		if at, err := wire.ParsePosition(offset); err == nil {
			r.since = at
		}
	}
	var ok bool
	if r.id, ok = k.readPID(pid); !ok {
		r.since = nowhere
	}
	return r
}

// recover gives a session that has just begun what its client had before, if that
// is remembered, or if the client's last connection is not known to be gone.
func (sh *shard) recover(s uint32, r *recovery, welcome func(resumed)) {
	ses := sh.sessions.At(s)
	if r.since == nowhere {
		sh.resume(s, nowhere, wire.SessionID{}, welcome)
		return
	}
	p := sh.hold(s, r.since, welcome)
	if was := sh.server.parked.take(r.id, ses.channel.counters, ses.client.User()); was != nil {
		sh.restore(p, r.id, was)
		return
	}
	channel, user := ses.channel, ses.client.User()
	sh.server.replays.add(func() {
		sh.server.onLoops(func(other *shard) {
			if old, ok := other.table.Find(channel.Name, r.id.String()); ok {
				other.loop.Close(other.sessions.At(old).conn, wire.CloseNormal, "") // which parks it
			}
		})
		was := sh.server.parked.take(r.id, channel.counters, user)
		sh.do(func() { sh.restore(p, r.id, was) })
	})
}

// restore has a replay go on for the session that its client had before; nil: that
// is not known.
func (sh *shard) restore(p *replay, id wire.SessionID, was *parked) {
	if sh.replays[p.session] != p {
		return
	}
	if was == nil {
		p.at = nowhere // what it has missed depends on the rooms it was in
	} else {
		p.restore = func() {
			sh.table.Rename(p.session, id)
			sh.join(p.session, was.rooms)
		}
	}
	sh.server.replays.follow(p, next{ask: p.ask()})
}

// offsets is the event that tells Socket.IO clients of one channel where they are.
type offsets struct {
	channel  *channel
	position wire.Position
	frame    *loop.Frame
}

// tellOffset tells a Socket.IO client where it is, so that it can go on from there
// although there was no event for it.
func (sh *shard) tellOffset(s uint32) {
	ses := sh.sessions.At(s)
	if !ses.channel.recovers() || ses.replaying && sh.replays[s].welcome != nil {
		return
	}
	at := sh.position(s)
	if o := &sh.offsets; o.channel != ses.channel || o.position != at {
		*o = offsets{ses.channel, at, &loop.Frame{Bytes: socketio.EncodeMessage(ses.channel.SocketIO.Namespace, eventOffset, at.String())}}
	}
	sh.loop.Send(ses.conn, sh.offsets.frame)
}
