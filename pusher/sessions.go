// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/events"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// publishing joins the events listener to the broker, the sessions and the
// settings of the moment.
func (srv *Server) publishing() events.Config {
	return events.Config{
		Publisher: publisher{srv}, Sessions: directory{srv}, History: srv.broker,
		Rules: func() *events.Rules { return srv.current.Load().rules },
	}
}

var errDraining = errors.New("this push server ends")

// publisher counts what goes into the broker.
type publisher struct{ srv *Server }

// Publish stores events and delivers them.
func (p publisher) Publish(ctx context.Context, name string, evs []*wire.Event) ([]wire.Receipt, error) {
	if p.srv.draining.Load() {
		return nil, errDraining // an event that were taken now would reach nobody
	}
	receipts, err := p.srv.broker.Publish(ctx, name, evs)
	if ch := p.srv.current.Load().channels[name]; ch != nil {
		for _, r := range receipts {
			if !r.Duplicate {
				ch.counters.published.Add(1)
			}
		}
	}
	return receipts, err
}

// directory finds sessions on all loops.
type directory struct{ srv *Server }

// List returns a channel's sessions, by id.
func (d directory) List(name string) []wire.Session {
	var mu sync.Mutex
	var all []wire.Session
	d.srv.onLoops(func(sh *shard) {
		part := make([]wire.Session, 0, len(sh.table.Members(name)))
		for _, s := range sh.table.Members(name) {
			ses := sh.sessions.At(s)
			part = append(part, wire.Session{
				ID: sh.table.ID(s).String(), User: ses.client.User(), Rooms: sh.table.Rooms(s), Protocol: ses.protocol(),
				Remote: ses.remote.String(), ConnectedAt: time.Unix(int64(ses.connected), 0),
			})
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, part...)
	})
	slices.SortFunc(all, func(a, b wire.Session) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Disconnect ends a session for good. It reports whether there was one.
func (d directory) Disconnect(name, id string) bool {
	var mu sync.Mutex
	found := false
	d.srv.onLoops(func(sh *shard) {
		if s, ok := sh.table.Find(name, id); ok {
			sh.end(s, wire.CloseByPublisher, wire.CloseByPublisher.Reason())
			mu.Lock()
			defer mu.Unlock()
			found = true
		}
	})
	return found
}
