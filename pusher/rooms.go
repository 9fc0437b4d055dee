// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
	"github.com/klaxon-dev/klaxon/pusher/wire/sse"
)

// roomsChange is what became of a session's rooms.
type roomsChange struct {
	Rooms  []string `json:"rooms"`
	Offset string   `json:"offset"`
	// Refused is set when the session would be in too many rooms: nothing was done.
	Refused bool `json:"refused,omitempty"`
}

// codedError is an error with a stable word for whoever asked.
type codedError struct{ code, text string }

func (e *codedError) Error() string { return e.text }

// Code is the stable word.
func (e *codedError) Code() string { return e.code }

var (
	errUnknownSession = &codedError{"unknown_session", "there is no such session"}
	errUnreachable    = &codedError{"unreachable", "not all replicas could be asked for the session: try again"}
	errTooManyRooms   = &codedError{plain.CodeTooMany, "the session may not be in that many rooms (the Channel's limits.roomsPerSession): nothing was changed"}
)

// ChangeRooms has a session join and leave rooms, on whichever replica it is. No
// rule is asked: who publishes decides.
func (d directory) ChangeRooms(ctx context.Context, channel, id string, join, leave []string) (rooms []string, offset string, err error) {
	q := question{Op: opRooms, Channel: channel, Session: id, Join: join, Leave: leave}
	c, all := d.srv.changeRoomsLocal(q), true
	if c == nil {
		var parts [][]byte
		parts, all = d.srv.ask(ctx, q)
		for _, part := range parts {
			var theirs roomsChange
			if json.Unmarshal(part, &theirs) == nil {
				c = &theirs
			}
		}
	}
	switch {
	case c == nil && !all:
		return nil, "", errUnreachable
	case c == nil:
		return nil, "", errUnknownSession
	case c.Refused:
		return nil, "", errTooManyRooms
	}
	return c.Rooms, c.Offset, nil
}

// changeRoomsLocal does so for a session of this replica; nil: it is not here.
func (srv *Server) changeRoomsLocal(q question) *roomsChange {
	var mu sync.Mutex
	var c *roomsChange
	kept := make(chan struct{})
	srv.onLoops(func(sh *shard) {
		if s, ok := sh.table.Find(q.Channel, q.Session); ok {
			mu.Lock()
			defer mu.Unlock()
			c = sh.changeRooms(s, q.Join, q.Leave)
			sh.keep(s, func() { close(kept) })
		}
	})
	if c != nil {
		select {
		case <-kept:
		case <-time.After(keepWait):
		}
	}
	return c
}

// changeRooms changes a session's rooms, all of them or none, and tells its client.
func (sh *shard) changeRooms(s uint32, join, leave []string) *roomsChange {
	after := map[string]bool{}
	for _, room := range sh.table.Rooms(s) {
		after[room] = true
	}
	for _, room := range leave {
		delete(after, room)
	}
	for _, room := range join {
		after[room] = true
	}
	if ch := sh.sessions.At(s).channel; len(after) > ch.maxRooms() {
		ch.counters.refuse(refusedRooms)
		return &roomsChange{Refused: true}
	}
	sh.leave(s, leave)
	for _, room := range join {
		if err := sh.grantRoom(s, room); err != nil {
			panic("pusher: there was room for a room: " + err.Error())
		}
	}
	ses := sh.sessions.At(s)
	if !ses.replaying || sh.replays[s].welcome == nil { // otherwise the welcome will say it
		sh.tellRooms(s)
	}
	return &roomsChange{Rooms: sh.rooms(s), Offset: sh.offset(s)}
}

// tellRooms tells a client of a change of its rooms that it did not ask for.
func (sh *shard) tellRooms(s uint32) {
	ses := sh.sessions.At(s)
	switch {
	case ses.form == hub.EventStream:
		sh.send(ses.conn, sse.EncodeRooms(sh.rooms(s), sh.position(s)))
	case ses.overSocketIO():
		sh.send(ses.conn, socketio.EncodeMessage(ses.channel.SocketIO.Namespace, eventRooms, map[string][]string{"rooms": sh.rooms(s)}))
		sh.tellOffset(s)
	default:
		sh.send(ses.conn, plain.EncodeAnswer(plain.Answer{Type: "rooms", Rooms: sh.rooms(s), Offset: sh.offset(s), Resume: sh.resumeToken(s)}))
	}
}
