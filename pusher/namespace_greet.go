// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
)

// admission is a Socket.IO client that may have a session of a namespace.
type admission struct {
	channel *channel
	client  auth.Client
	said    credentials
	payload []byte // of the CONNECT

	// What follows is of a client that a handler is asked about.
	recovery *recovery
	was      *parked // the session that it goes on with; nil: none
	greeting *greeting
}

// greetLater asks a channel's handler about a client, which has no session meanwhile.
func (sh *shard) greetLater(e *engine, a *admission) {
	a.payload = bytes.Clone(a.payload)
	a.recovery = a.said.recovery(sh.server.sids)
	g := &guest{id: newSessionID(), client: a.client}
	token := a.said.Token
	g.said = handlers.Connected{Protocol: "socket.io", Remote: e.remote.String(), Claims: auth.Claims(token), Auth: without(a.payload, "token", "rooms", "pid", "offset")}
	g.said.Query, g.said.Headers = url.Values{}, map[string]string{}
	if e.said != nil && e.said.headers != nil {
		g.said.Query, g.said.Headers = e.said.query, e.said.headers
		g.said.Trace = e.said.headers["traceparent"]
	}
	if e.pending == nil {
		e.pending = map[string]*admission{}
	}
	namespace := a.channel.SocketIO.Namespace
	e.pending[namespace] = a
	srv := sh.server
	srv.talks.Add(1)
	go func() { // as many as there are connections, most of which wait for a place
		defer srv.talks.Add(-1)
		ctx, cancel := context.WithTimeout(srv.replays.ctx, settings.MaxHandlerTimeout+takeTimeout)
		defer cancel()
		no := srv.findBefore(ctx, a, g)
		if no == nil {
			a.greeting, no = srv.greet(ctx, a.channel, g)
		}
		if !sh.do(func() { sh.greeted(e, a, no) }) {
			a.channel.counters.connections.Add(-1)
		}
	}()
}

// findBefore finds the session that a client says it had.
func (srv *Server) findBefore(ctx context.Context, a *admission, g *guest) *rejection {
	r := a.recovery
	if r == nil || !a.channel.recovers() || r.since == nowhere {
		return nil
	}
	there, err := srv.available(ctx, a.channel, r.since)
	if err == nil && there {
		a.was, err = srv.take(r.id, a.channel, a.client.User())
	}
	if err != nil {
		return &rejection{code: wire.CloseTryLater, message: "it is not known what you have missed: try again later"}
	}
	if a.was != nil {
		g.id, g.rooms, g.data, g.said.Recovered = r.id, a.was.rooms, a.was.data, true
	} else if r.id != (wire.SessionID{}) {
		g.said.Previous = r.id.String()
	}
	return nil
}

// greeted goes on with a client when its handler has answered.
func (sh *shard) greeted(e *engine, a *admission, no *rejection) {
	namespace := a.channel.SocketIO.Namespace
	now := sh.server.current.Load().channels[a.channel.Name]
	gone := sh.peers.At(uint32(e.home.slot)).engine != e || e.pending[namespace] != a
	changed := now == nil || now.counters != a.channel.counters || now.Revision != a.channel.Revision
	if !gone {
		delete(e.pending, namespace)
	}
	if no == nil && (gone || changed || sh.server.draining.Load()) {
		sh.server.forgo(a.channel, a.greeting)
		no = &rejection{code: wire.CloseTryLater, message: "the channel has just changed: try again"}
	}
	if no == nil {
		a.client = a.greeting.guest.client
		if sh.seat(e, a) {
			return
		}
		sh.server.forgo(a.channel, a.greeting)
		no = &rejection{code: wire.CloseForbidden, message: "Invalid namespace"}
	}
	a.channel.counters.connections.Add(-1)
	if a.was != nil {
		sh.server.unclaimed(a.recovery.id)
	}
	switch {
	case gone:
	case no.code == wire.CloseTryLater && e.first == noSession && len(e.pending) == 0:
		sh.loop.Close(e.home.slot, no.code, no.message) // whose client comes back by itself
	default:
		refusal := socketio.ConnectError{Message: no.message}
		switch {
		case no.data != nil:
			refusal.Data = no.data
		case no.code == wire.CloseTryLater:
			refusal.Data = map[string]string{"code": "unavailable"}
		}
		sh.refuse(e, namespace, refusal)
	}
}

// seat begins the session of a client that has been admitted, and counted. It reports
// false when its channel is gone.
func (sh *shard) seat(e *engine, a *admission) bool {
	ch, g := a.channel, a.greeting
	s, ok := sh.begin(session{channel: ch, client: a.client, remote: e.remote, conn: e.home.slot, form: sh.engineForm(e), next: e.first})
	if !ok {
		return false
	}
	e.first = s
	failed := sh.settleIn(s, g)
	if sh.crowded(s) {
		sh.unlink(e, s)
		sh.sessions.At(s).told = true // as one that has not begun
		sh.server.forgo(ch, g)
		sh.finish(s)
		sh.refuse(e, ch.SocketIO.Namespace, socketio.ConnectError{Message: tooManyOfUser, Data: map[string]string{"code": codeFull}})
		return true
	}
	if failed == nil {
		failed = sh.join(s, a.said.Rooms)
	}
	welcome := func(r resumed) {
		sh.welcome(s, r, failed)
		sh.introduce(s, g)
	}
	r := a.said.recovery(sh.server.sids)
	switch {
	case r != nil && ch.recovers() && g == nil:
		sh.recover(s, r, welcome)
	case a.was != nil:
		sh.joinAgain(s, a.was.rooms, a.was.granted)
		sh.enter(s, &claim{since: r.since, must: true}, welcome)
	case r != nil && ch.recovers():
		sh.enter(s, &claim{since: nowhere}, welcome)
	case g != nil && g.at != nowhere:
		sh.enter(s, &claim{since: g.at, quiet: true}, welcome)
	default:
		sh.enter(s, nil, welcome)
	}
	sh.schedule(e)
	return true
}

// refuse answers a CONNECT that comes to nothing.
func (sh *shard) refuse(e *engine, namespace string, why socketio.ConnectError) {
	sh.send(e.home.slot, socketio.EncodeConnectError(namespace, why))
	if e.refused++; e.refused == maxRefused {
		sh.loop.Close(e.home.slot, wire.CloseForbidden, "too many namespaces that may not be connected to")
		return
	}
	sh.schedule(e)
}

// without returns a JSON object without some of its members; nil when none are left. The
// others are as they were written.
func without(object []byte, names ...string) json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	out := []byte{'{'}
	for d.More() {
		start := d.InputOffset()
		key, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return nil
		}
		named := false
		for _, name := range names {
			named = named || key == name
		}
		if named {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, bytes.TrimLeft(object[start:d.InputOffset()], ", \t\r\n")...)
	}
	if len(out) == 1 {
		return nil
	}
	return append(out, '}')
}

// departureGrace is how long a Server that drains waits for handlers to be told.
const departureGrace = 5 * time.Second
