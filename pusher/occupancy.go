// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/handlers"
)

// Handlers may want to know of rooms that somebody comes to or everybody has left. Each
// replica knows of its own sessions; the roster of all replicas, where there are several.

const (
	// vacancy is how long nobody must be in a room, of this replica's sessions, until it
	// is empty: a client that reconnects has not left.
	vacancy = 3 * time.Second
	// housekeepers is how many rooms' changes are under way at a time.
	housekeepers = 64
	// houseRetry is between two attempts at recording a change.
	houseRetry = 500 * time.Millisecond
	// houseAgain is how often a record that does not change is written anew.
	houseAgain = 8 * time.Minute
)

// HousedRoom is a room in which somebody is, on whichever replica, and the number of its
// last change from nobody to somebody or back.
type HousedRoom struct {
	Channel, UID, Name string
	Occupied           bool
	Begun              int64
	Number             uint64
}

// Housing knows which replicas have somebody in a room.
type Housing interface {
	// House records whether this replica has, and returns the room as it is then, and
	// whether it changed by that.
	House(ctx context.Context, room HousedRoom, here bool) (HousedRoom, bool, error)
	// Told records that the room's change has been told.
	Told(ctx context.Context, room HousedRoom) error
	// Evict takes replicas that are gone out of all rooms, and returns those of which a
	// change is to be told then.
	Evict(ctx context.Context, present map[uint32]bool) ([]HousedRoom, error)
}

// occupancy is what this replica knows of rooms that handlers want to know of.
type occupancy struct {
	// Static.
	srv *Server

	// Guarded by mu.
	mu      sync.Mutex
	rooms   map[roomName]*houseState
	queue   []roomName // that somebody must look after
	keepers int
}

type roomName struct{ channel, uid, name string }

// houseState is one room.
type houseState struct {
	sessions int       // here
	said     bool      // what is recorded: that there are any
	busy     bool      // somebody records, or tells
	since    time.Time // of the last change of sessions from or to none
	recorded time.Time
	begun    int64 // without a Housing: as in HousedRoom
	number   uint64
}

// houses returns who wants to know of a room; nil and false: nobody.
func (c *channel) houses(room string) (target *handlers.Target, stream bool) {
	for i := range c.Handlers {
		switch h := &c.Handlers[i]; {
		case !h.WantsRoom(room):
		case h.URL == "":
			stream = true
		case target == nil:
			target = c.targets[i]
		}
	}
	return target, stream
}

// housed reports whether anybody wants to know of any rooms.
func (c *channel) housed() bool {
	for i := range c.Handlers {
		if len(c.Handlers[i].Rooms) > 0 {
			return true
		}
	}
	return false
}

// count counts a session into a room, or out of it.
func (o *occupancy) count(ch *channel, room string, by int) {
	if target, stream := ch.houses(room); target == nil && !stream {
		return
	}
	key := roomName{ch.Name, ch.UID, room}
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.rooms[key]
	if h == nil {
		if by < 0 {
			return // it was not wanted when the session came
		}
		h = &houseState{}
		if o.rooms == nil {
			o.rooms = map[roomName]*houseState{}
		}
		o.rooms[key] = h
	}
	was := h.sessions > 0
	if h.sessions = max(h.sessions+by, 0); h.sessions > 0 == was {
		return
	}
	h.since = time.Now()
	if h.sessions > 0 {
		o.begin(key, h)
		return
	}
	time.AfterFunc(vacancy, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.rooms[key] == h && h.sessions == 0 && time.Since(h.since) >= vacancy {
			o.begin(key, h)
		}
	})
}

// begin has a room looked after, if nobody does. The caller holds mu.
func (o *occupancy) begin(key roomName, h *houseState) {
	if h.busy {
		return
	}
	h.busy = true
	o.queue = append(o.queue, key)
	if o.keepers < housekeepers {
		o.keepers++
		o.srv.talks.Add(1)
		go o.keep()
	}
}

// keep looks after rooms until there is nothing left.
func (o *occupancy) keep() {
	defer o.srv.talks.Add(-1)
	for {
		o.mu.Lock()
		if len(o.queue) == 0 || o.srv.replays.ctx.Err() != nil {
			o.keepers--
			o.queue = nil
			o.mu.Unlock()
			return
		}
		key := o.queue[0]
		o.queue = o.queue[1:]
		h := o.rooms[key]
		o.mu.Unlock()
		for o.step(key, h) {
		}
	}
}

// step records and tells what has changed. It reports false when there is nothing.
func (o *occupancy) step(key roomName, h *houseState) bool {
	o.mu.Lock()
	here := h.sessions > 0
	if !here && h.said && time.Since(h.since) < vacancy {
		here = true // the timer comes again
	}
	if here == h.said && (!here || time.Since(h.recorded) < houseAgain) {
		h.busy = false
		if !here && h.sessions == 0 {
			delete(o.rooms, key)
		}
		o.mu.Unlock()
		return false
	}
	o.mu.Unlock()
	room, changed, err := o.record(key, h, here)
	if err != nil {
		select {
		case <-time.After(houseRetry):
			return true
		case <-o.srv.replays.ctx.Done():
			return false
		}
	}
	o.mu.Lock()
	h.said, h.recorded = here, time.Now()
	o.mu.Unlock()
	if changed {
		o.tell(room)
	}
	return true
}

// record records whether there is anybody here.
func (o *occupancy) record(key roomName, h *houseState, here bool) (HousedRoom, bool, error) {
	room := HousedRoom{Channel: key.channel, UID: key.uid, Name: key.name}
	if housing := o.srv.housing(); housing != nil {
		ctx, cancel := context.WithTimeout(o.srv.replays.ctx, takeTimeout)
		defer cancel()
		return housing.House(ctx, room, here)
	}
	if h.begun == 0 {
		h.begun = time.Now().UnixMilli()
	}
	changed := here != h.said
	if changed {
		h.number++
	}
	room.Occupied, room.Begun, room.Number = here, h.begun, h.number
	return room, changed, nil
}

// housing is that of all replicas; nil: there is one.
func (srv *Server) housing() Housing {
	if srv.config.Replica == nil {
		return nil
	}
	return srv.config.Replica.Housing
}

// tell tells handlers of a room's change, until they know or cannot be told.
func (o *occupancy) tell(room HousedRoom) {
	srv := o.srv
	ch := srv.current.Load().channels[room.Channel]
	if ch == nil || ch.UID != room.UID {
		return
	}
	target, stream := ch.houses(room.Name)
	c := &handlers.Call{
		Source: "/namespaces/" + srv.current.Load().settings.Pusher.Namespace + "/channels/" + ch.Name, Channel: ch.Name,
		Type: handlers.TypeVacated, Time: time.Now(), What: &handlers.Room{Room: room.Name, Number: room.Number},
	}
	if room.Occupied {
		c.Type = handlers.TypeOccupied
	}
	sum := sha256.Sum256([]byte(room.Name))
	c.ID = ch.Name + "." + base32.StdEncoding.EncodeToString(sum[:10]) + "." + strconv.FormatInt(room.Begun, 36) + "." + strconv.FormatUint(room.Number, 36)
	var err error
	if stream {
		if f := srv.stream(ch, c); f != nil {
			err = errors.New(f.Message)
		}
	}
	if target != nil {
		over := make(chan error, 1)
		srv.caller.Tell(target, c, func(a *handlers.Answer, err error) {
			srv.publishAll(ch, "", a.Emit)
			over <- err
		})
		err = errors.Join(err, <-over)
	}
	if err != nil {
		srv.log.Warn("a handler could not be told of a room", "channel", ch.Name, "error", err)
	}
	if housing := srv.housing(); housing != nil {
		ctx, cancel := context.WithTimeout(srv.replays.ctx, takeTimeout)
		defer cancel()
		if err := housing.Told(ctx, room); err != nil {
			srv.log.Warn("it is not on record that a handler was told of a room", "channel", ch.Name, "error", err)
		}
	}
}

// refresh has records written anew that get old.
func (o *occupancy) refresh() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, h := range o.rooms {
		if h.said && time.Since(h.recorded) >= houseAgain {
			o.begin(key, h)
		}
	}
}

// evict takes replicas that are gone out of rooms.
func (o *occupancy) evict(ctx context.Context, present map[uint32]bool) error {
	housing := o.srv.housing()
	if housing == nil {
		return nil
	}
	rooms, err := housing.Evict(ctx, present)
	for _, room := range rooms {
		o.srv.talks.Add(1)
		go func() {
			defer o.srv.talks.Add(-1)
			o.tell(room)
		}()
	}
	return err
}

// moveIn counts a session in the rooms that it is in; moveOut ends that.
func (sh *shard) moveIn(s uint32) {
	ses := sh.sessions.At(s)
	ses.housed = true
	for _, room := range sh.table.Rooms(s) {
		sh.server.rooms.count(ses.channel, room, 1)
	}
}

func (sh *shard) moveOut(s uint32) {
	ses := sh.sessions.At(s)
	ses.housed = false
	for _, room := range sh.table.Rooms(s) {
		sh.server.rooms.count(ses.channel, room, -1)
	}
}
