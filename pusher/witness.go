// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// That a session has ended is told by the replica that had it. When that was killed
// before it could, another one does: records of the roster say which sessions there were,
// and whose.

const (
	// witnessTTL is how long records of sessions without recovery are needed by others.
	witnessTTL = 5 * time.Minute
	// lookAround is how often the others are counted.
	lookAround = 2 * time.Second
	// sure is for how long NATS must have been there before the absence of others means
	// anything.
	sure = 12 * time.Second
	// turnOf is how long one replica has for the sessions of a dead one, before the next
	// one looks after them.
	turnOf = 5 * time.Second
	// lookAgain is how often all records are looked at, whatever happens.
	lookAgain = 5 * time.Minute
	// keepStale is how often sessions are looked for whose records get old.
	keepStale = time.Minute
)

// witnessed reports whether handlers are to know of sessions that end.
func (c *channel) witnessed() bool {
	return c.handler(settings.OnDisconnect) != nil || c.streams(settings.OnDisconnect)
}

// departure is what is to be done about the record of a session that has ended, once that
// is told.
type departure struct {
	id     wire.SessionID
	drop   bool
	record sessionRecord
}

// departed is called when it has been told that a session has ended.
func (srv *Server) departed(d *departure) {
	r := srv.roster()
	if r == nil || d == nil {
		return
	}
	var again atomic.Bool
	srv.onLoops(func(sh *shard) {
		if _, ok := sh.table.Session(d.id); ok {
			again.Store(true)
		}
	})
	switch {
	case again.Load(): // its client is back: the record is that of the new session
	case d.drop:
		r.Drop(d.id.String())
	default:
		d.record.Told = true
		r.Put(d.id.String(), encode(d.record), func() {})
		r.Release(d.id.String())
	}
}

// witness looks for sessions of replicas that are gone, until the Server ends.
func (srv *Server) witness() {
	r := srv.roster()
	if r == nil || srv.peers() == nil {
		return
	}
	w := &watchman{srv: srv, roster: r, due: time.Now().Add(2 * sure), stale: time.Now().Add(keepStale)}
	tick := time.NewTicker(lookAround)
	defer tick.Stop()
	for {
		select {
		case <-srv.replays.ctx.Done():
			return
		case now := <-tick.C:
			w.look(now)
		}
	}
}

// watchman is one replica's view of the others.
type watchman struct {
	srv     *Server
	roster  Roster
	present map[uint32]bool
	healthy time.Time // since then; zero: NATS is away
	due     time.Time // of the next look at all records
	stale   time.Time
}

// look notes who has gone, and looks after their sessions when it is this replica's turn.
func (w *watchman) look(now time.Time) {
	present := w.srv.peers().Present()
	if w.srv.broker.Healthy() != nil {
		w.healthy = time.Time{}
	} else if w.healthy.IsZero() {
		w.healthy = now
	}
	for id := range w.present {
		if !present[id] {
			w.due = sooner(w.due, now.Add(time.Duration(w.rank(present))*turnOf))
		}
	}
	w.present = present
	if now.After(w.stale) {
		w.stale = now.Add(keepStale)
		for _, sh := range w.srv.shards {
			sh.post(sh.keepStale)
		}
		w.srv.rooms.refresh()
	}
	if w.healthy.IsZero() || now.Sub(w.healthy) < sure || now.Before(w.due) || w.srv.draining.Load() {
		return
	}
	w.due = now.Add(lookAgain + time.Duration(w.rank(present))*turnOf)
	if !w.needed() {
		return
	}
	if err := w.sweep(present); err != nil {
		w.srv.log.Warn("the sessions of replicas that are gone could not be looked at", "error", err)
		w.due = now.Add(turnOf)
	}
}

// rank is this replica's place among all.
func (w *watchman) rank(present map[uint32]bool) (n int) {
	for id := range present {
		if id < w.srv.config.Replica.ID {
			n++
		}
	}
	return n
}

func (w *watchman) needed() bool {
	for _, ch := range w.srv.current.Load().channels {
		if ch.witnessed() || ch.housed() {
			return true
		}
	}
	return false
}

// sweep tells handlers of sessions whose replica is gone and has not told.
func (w *watchman) sweep(present map[uint32]bool) error {
	ctx, cancel := context.WithTimeout(w.srv.replays.ctx, time.Minute)
	defer cancel()
	left := map[string]uint32{}
	err := w.roster.Each(ctx, func(id string, owner uint32, record []byte) {
		var r sessionRecord
		if !present[owner] && owner != w.srv.config.Replica.ID && json.Unmarshal(record, &r) == nil && w.untold(&r) != nil {
			left[id] = owner
		}
	})
	for id, owner := range left {
		if err != nil {
			break
		}
		err = w.claim(ctx, id, owner)
	}
	if err != nil {
		return err
	}
	return w.srv.rooms.evict(ctx, present)
}

// untold returns the channel whose handlers are to know that a session has ended; nil:
// they do, or need not.
func (w *watchman) untold(r *sessionRecord) *channel {
	ch := w.srv.current.Load().channels[r.Channel]
	if ch == nil || ch.UID != r.UID || r.Told || r.Begun == "" || !ch.witnessed() {
		return nil
	}
	return ch
}

// claim makes a session this replica's, and tells that it has ended. Of several that try
// one does.
func (w *watchman) claim(ctx context.Context, id string, owner uint32) error {
	found, err := w.roster.TakeFrom(ctx, id, owner)
	if err != nil || found == nil {
		return err
	}
	var r sessionRecord
	if err := json.Unmarshal(found, &r); err != nil {
		return fmt.Errorf("the record of session %s: %w", id, err)
	}
	ch := w.untold(&r)
	parsed, valid := wire.ParseSessionID(id)
	if ch == nil || !valid {
		return nil
	}
	c := w.srv.about(ch, parsed, r.User)
	c.ID, c.Type, c.Time = id+"."+r.Begun+".disconnected", handlers.TypeDisconnected, time.Now()
	c.Rooms, c.Data = append(c.Rooms, r.Rooms...), r.Data
	c.What = &handlers.Disconnected{Code: uint16(wire.CloseAbnormal), Reason: "the push server was killed"}
	n := &turn{target: ch.handler(settings.OnDisconnect), stream: ch.streams(settings.OnDisconnect)}
	n.departure = &departure{id: parsed, drop: !ch.recovers(), record: r}
	w.srv.depart(ch, n, &c)
	return nil
}

// keepStale has sessions stored anew whose records get old.
func (sh *shard) keepStale() {
	for _, name := range sh.table.Channels() {
		members := sh.table.Members(name)
		if len(members) == 0 || !sh.sessions.At(members[0]).channel.witnessed() {
			continue
		}
		for _, s := range members {
			sh.keepAgain(s)
		}
	}
}
