// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"encoding/json"
	"time"

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
	if len(c.PID) == 0 || json.Unmarshal(c.PID, &pid) != nil || pid == "" {
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

// recover welcomes a session that has just begun as what its client had before, if
// that is remembered, or if the client's last connection is not known to be gone.
func (sh *shard) recover(s uint32, r *recovery, welcome func(resumed)) {
	ch, user := sh.sessions.At(s).channel, sh.sessions.At(s).client.User()
	if r.since == nowhere {
		sh.enter(s, &claim{since: nowhere}, welcome)
		return
	}
	if sh.server.roster() == nil {
		if was := sh.server.parked.take(r.id, ch.counters, user); was != nil {
			sh.enter(s, sh.claimOf(s, r, was), welcome)
			return
		}
	}
	p := sh.hold(s, nowhere, welcome)
	p.had = r.since
	sh.server.taking(func() { sh.server.find(p, r, user) })
}

// find looks for a client's earlier session, and has its replay begin. When it cannot
// be known whether there is one, the client is sent away to ask again.
func (srv *Server) find(p *replay, r *recovery, user string) {
	sh, ch := p.shard, p.shard.server.current.Load().channels[p.channel]
	for ch != nil {
		was, err := srv.take(r.id, ch, user)
		var n next
		lives := sh.do(func() {
			switch {
			case sh.replays[p.session] != p:
				n.done = true
			case err != nil:
				n = p.failed()
			case was != nil:
				c := sh.claimOf(p.session, r, was)
				p.at, p.restore = c.since, c.restore
			}
		})
		switch {
		case !lives || n.done:
			if was != nil {
				srv.unclaimed(r.id)
			}
			return
		case err == nil:
			srv.replays.add(func() { srv.replays.attach(p, ch) })
			return
		}
		select {
		case <-time.After(n.after):
		case <-srv.replays.ctx.Done():
			return
		}
	}
}

// unclaimed lets go of a session whose client has gone again meanwhile.
func (srv *Server) unclaimed(id wire.SessionID) {
	if r := srv.roster(); r != nil {
		r.Release(id.String())
	}
}

// taking runs fn, which may wait for other replicas, on a goroutine of its own. A
// few hundred run at a time.
func (srv *Server) taking(fn func()) {
	srv.running.Go(func() {
		select {
		case srv.takers <- struct{}{}:
			defer func() { <-srv.takers }()
			fn()
		case <-srv.replays.ctx.Done():
		}
	})
}

// claimOf is what a session goes on from that was remembered. Without its rooms it
// cannot be known what it has missed.
func (sh *shard) claimOf(s uint32, r *recovery, was *parked) *claim {
	return &claim{since: r.since, restore: func() {
		sh.table.Rename(s, r.id)
		sh.joinAgain(s, was.rooms, was.granted)
		if was.data != nil {
			sh.talkOf(s).data = was.data
		}
	}}
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
