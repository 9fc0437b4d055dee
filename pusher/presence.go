// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"slices"

	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/presence"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
	"github.com/klaxon-dev/klaxon/pusher/wire/sse"
)

var errPresenceOff = &failure{Code: plain.CodePresence, Message: "nobody can watch who is here: the Channel has no presence: true"}

// newPresence joins the registry of who is there to the loops and the other
// replicas.
func (srv *Server) newPresence() *presence.Registry {
	c := presence.Config{Notify: func(s presence.Scope, change wire.PresenceChange) {
		for _, sh := range srv.shards {
			sh.post(func() { sh.tellWatchers(s, change) })
		}
	}}
	if p := srv.peers(); p != nil {
		c.Self, c.Others = srv.config.Replica.ID, others{p}
	}
	return presence.New(c)
}

// others are the other replicas as the registry needs them.
type others struct{ peers Peers }

func (o others) Present() map[uint32]bool { return o.peers.Present() }

func (o others) Tell(topic string, what []byte) { o.peers.Publish("presence "+topic, what) }

func (o others) Listen(topic string, take func([]byte)) func() {
	return o.peers.Listen("presence "+topic, take)
}

func (o others) Ask(ctx context.Context, questions []presence.Question) ([][]byte, bool) {
	return o.peers.Ask(ctx, encode(question{Op: opPresence, Presence: questions}))
}

// Who returns who is in a channel or room.
func (d directory) Who(ctx context.Context, channel, room string) (who wire.Presence, all bool, err error) {
	if ch := d.srv.current.Load().channels[channel]; ch == nil || !ch.Presence {
		return who, false, &codedError{errPresenceOff.Code, errPresenceOff.Message}
	}
	who, all = d.srv.presence.Who(ctx, presence.Scope{Channel: channel, Room: room})
	return who, all, nil
}

// watch is what a session watches.
type watch struct {
	scope presence.Scope
}

// appear counts a session, in its channel and in the rooms that it is in.
func (sh *shard) appear(s uint32) {
	ses := sh.sessions.At(s)
	ses.present = true
	sh.server.presence.Enter(presence.Scope{Channel: ses.channel.Name}, ses.client.User())
	for _, room := range sh.table.Rooms(s) {
		sh.server.presence.Enter(presence.Scope{Channel: ses.channel.Name, Room: room}, ses.client.User())
	}
}

// disappear ends what appear has begun, and what the session watches.
func (sh *shard) disappear(s uint32) {
	ses := sh.sessions.At(s)
	ses.present = false
	sh.server.presence.Leave(presence.Scope{Channel: ses.channel.Name}, ses.client.User())
	for _, room := range sh.table.Rooms(s) {
		sh.server.presence.Leave(presence.Scope{Channel: ses.channel.Name, Room: room}, ses.client.User())
	}
	for _, w := range slices.Clone(sh.watches[s]) {
		sh.unwatch(s, []string{w.scope.Room})
	}
}

// joinRoom, grantRoom and leaveRoom change what room a session is in.
func (sh *shard) joinRoom(s uint32, room string) error {
	return sh.intoRoom(s, room, sh.table.Join)
}

func (sh *shard) grantRoom(s uint32, room string) error {
	return sh.intoRoom(s, room, sh.table.Grant)
}

func (sh *shard) intoRoom(s uint32, room string, put func(uint32, string) error) error {
	was := sh.table.In(s, room)
	if ch := sh.sessions.At(s).channel; !was && sh.table.RoomCount(s) >= ch.maxRooms() {
		ch.counters.refuse(refusedRooms)
		return hub.ErrTooManyRooms
	}
	if err := put(s, room); err != nil {
		return err
	}
	if ses := sh.sessions.At(s); ses.present && !was {
		sh.server.presence.Enter(presence.Scope{Channel: ses.channel.Name, Room: room}, ses.client.User())
	}
	if ses := sh.sessions.At(s); ses.housed && !was {
		sh.server.rooms.count(ses.channel, room, 1)
	}
	return nil
}

func (sh *shard) leaveRoom(s uint32, room string) {
	if ses := sh.sessions.At(s); ses.present && sh.table.In(s, room) {
		sh.server.presence.Leave(presence.Scope{Channel: ses.channel.Name, Room: room}, ses.client.User())
		sh.unwatch(s, []string{room})
	}
	if ses := sh.sessions.At(s); ses.housed && sh.table.In(s, room) {
		sh.server.rooms.count(ses.channel, room, -1)
	}
	sh.table.Leave(s, room)
}

// orChannel is what to watch: no room is the whole channel.
func orChannel(rooms []string) []string {
	if len(rooms) == 0 {
		return []string{""}
	}
	return rooms
}

// watch has the session's client told who is in rooms that it is in or, for an empty
// name, in the channel. To watch again is to be told anew.
func (sh *shard) watch(s uint32, rooms []string) *failure {
	ses := sh.sessions.At(s)
	if !ses.channel.Presence {
		return errPresenceOff
	}
	var forbidden []string
	for _, room := range rooms {
		if room != "" && !sh.table.In(s, room) {
			forbidden = append(forbidden, room)
			continue
		}
		sh.unwatch(s, []string{room})
		w := &watch{presence.Scope{Channel: ses.channel.Name, Room: room}}
		sh.watches[s] = append(sh.watches[s], w)
		sh.server.presence.Watch(w.scope, func(p wire.Presence) {
			sh.post(func() { sh.begins(s, w, p) })
		})
	}
	if forbidden == nil {
		return nil
	}
	return &failure{plain.CodeForbidden, "you can watch rooms that you are in", forbidden}
}

// begins tells a session's client who is there. From now on it is told of changes.
func (sh *shard) begins(s uint32, w *watch, p wire.Presence) {
	if !slices.Contains(sh.watches[s], w) {
		return // it watches no more, or has ended
	}
	of := sh.watchers[w.scope]
	if of == nil {
		of = map[uint32]struct{}{}
		sh.watchers[w.scope] = of
	}
	of[s] = struct{}{}
	switch ses := sh.sessions.At(s); {
	case ses.form == hub.EventStream:
		sh.send(ses.conn, sse.EncodePresence(p))
	case ses.overSocketIO():
		sh.send(ses.conn, socketio.EncodeMessage(ses.channel.SocketIO.Namespace, eventPresence, p))
	default:
		sh.send(ses.conn, plain.EncodePresence(p))
	}
}

// unwatch ends what watch has begun.
func (sh *shard) unwatch(s uint32, rooms []string) {
	for _, room := range rooms {
		at := slices.IndexFunc(sh.watches[s], func(w *watch) bool { return w.scope.Room == room })
		if at < 0 {
			continue
		}
		scope := sh.watches[s][at].scope
		if sh.watches[s] = slices.Delete(sh.watches[s], at, at+1); len(sh.watches[s]) == 0 {
			delete(sh.watches, s)
		}
		if of := sh.watchers[scope]; of != nil {
			if delete(of, s); len(of) == 0 {
				delete(sh.watchers, scope)
			}
		}
		sh.server.presence.Unwatch(scope)
	}
}

// tellWatchers tells those who watch of a change.
func (sh *shard) tellWatchers(scope presence.Scope, c wire.PresenceChange) {
	var stream, packet, message *loop.Frame // one of each for all
	for s := range sh.watchers[scope] {
		ses := sh.sessions.At(s)
		frame, encode := &message, func() []byte { return plain.EncodePresenceChange(c) }
		switch {
		case ses.form == hub.EventStream:
			frame, encode = &stream, func() []byte { return sse.EncodePresenceChange(c) }
		case ses.overSocketIO():
			frame, encode = &packet, func() []byte {
				return socketio.EncodeMessage(ses.channel.SocketIO.Namespace, eventPresence, c)
			}
		}
		if *frame == nil {
			*frame = &loop.Frame{Bytes: encode()}
		}
		sh.loop.Send(ses.conn, *frame)
	}
}

// tellFailure tells a client of a failure, if there is one, that answers nothing.
func (sh *shard) tellFailure(s uint32, f *failure) {
	if f == nil {
		return
	}
	switch ses := sh.sessions.At(s); {
	case ses.form == hub.EventStream:
		sh.send(ses.conn, sse.EncodeFailure(sse.Failure{Code: f.Code, Message: f.Message, Rooms: f.Rooms}))
	case ses.overSocketIO():
		sh.send(ses.conn, socketio.EncodeMessage(ses.channel.SocketIO.Namespace, eventError, f))
	default:
		sh.fail(ses.conn, plain.Request{}, f)
	}
}

// post has fn run on the loop, unless that has ended.
func (sh *shard) post(fn func()) { sh.loop.Post(&call{fn: fn, done: func() {}}) }
