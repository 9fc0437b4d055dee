// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// target is whom an event is addressed to, as replicas tell each other.
type target struct {
	Rooms    []string `json:"rooms,omitempty"`
	Users    []string `json:"users,omitempty"`
	Sessions []string `json:"sessions,omitempty"`
	Except   []string `json:"except,omitempty"`
}

// Reached counts the sessions that an event is addressed to now, on all replicas.
func (d directory) Reached(ctx context.Context, name string, ev *wire.Event) (sessions int, all bool) {
	to := &target{Rooms: ev.Rooms, Users: ev.Users, Sessions: ev.Sessions, Except: ev.Except}
	sessions = d.srv.reachedLocal(name, to)
	parts, all := d.srv.ask(ctx, question{Op: opReached, Channel: name, To: to})
	for _, part := range parts {
		var theirs int
		if json.Unmarshal(part, &theirs) == nil {
			sessions += theirs
		}
	}
	return sessions, all
}

// reachedLocal counts those of this replica.
func (srv *Server) reachedLocal(name string, to *target) int {
	ev := &wire.Event{Rooms: to.Rooms, Users: to.Users, Sessions: to.Sessions, Except: to.Except}
	var n atomic.Int64
	srv.onLoops(func(sh *shard) { n.Add(int64(sh.table.Count(name, ev))) })
	return int(n.Load())
}
