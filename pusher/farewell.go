// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// farewell has handlers told that a session has ended, when everything else that it has
// said is told. The session is about to be forgotten.
func (sh *shard) farewell(s uint32) {
	ses := sh.sessions.At(s)
	target, stream := ses.channel.handler(settings.OnDisconnect), ses.channel.streams(settings.OnDisconnect)
	if ses.told || ses.talk == nil && target == nil && !stream {
		return
	}
	ses.told = true
	t := sh.talkOf(s)
	t.look()
	d := &departure{id: sh.table.ID(s), drop: ses.ended || !ses.channel.recovers() || !ses.overSocketIO(), record: sh.record(s)}
	for _, a := range t.asked {
		a.patience.Stop()
	}
	t.slot, t.asked = noSession, nil
	if ses.moved || target == nil && !stream {
		return
	}
	if ses.kept == 0 {
		d = nil
	}
	why := sh.why
	if why == (handlers.Disconnected{}) {
		why = handlers.Disconnected{Code: uint16(wire.CloseAbnormal), Reason: "the connection ended"}
	}
	t.add(turn{target: target, stream: stream, kind: handlers.TypeDisconnected, what: &why, last: true, departure: d})
}

// sayFarewell makes the last call of a talk.
func (srv *Server) sayFarewell(t *talk, n *turn, c *handlers.Call) {
	c.ID = c.Session + "." + t.begun + ".disconnected" // whoever tells it
	srv.depart(t.channel, n, c)
}

// depart tells that a client has gone, for which nobody waits.
func (srv *Server) depart(ch *channel, n *turn, c *handlers.Call) {
	srv.talks.Add(1)
	over := func(a *handlers.Answer, err error) {
		defer srv.talks.Add(-1)
		srv.publishAll(ch, c.Session, a.Emit)
		if err != nil {
			srv.log.Warn("a handler could not be told that a client has gone", "channel", ch.Name, "error", err)
		}
		srv.departed(n.departure)
	}
	tell := func() {
		if n.target == nil {
			over(&handlers.Answer{}, nil)
			return
		}
		srv.caller.Tell(n.target, c, over)
	}
	if !n.stream {
		tell()
		return
	}
	go func() {
		if f := srv.stream(ch, c); f != nil {
			srv.log.Warn("a stream of what clients do has a gap", "channel", ch.Name, "error", f.Message)
		}
		tell()
	}()
}
