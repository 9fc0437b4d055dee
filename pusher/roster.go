// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Roster keeps what must be known of a Socket.IO session when its push server is gone,
// for all replicas: its client does not know its rooms. A plain client does, and an
// event stream says them in its URL.
type Roster interface {
	// Keep says for how long records are needed after their sessions have ended.
	Keep(ttl time.Duration)
	// Put has a session's record stored, over an earlier one. It waits for nobody.
	Put(id string, record []byte, stored func())
	// Take makes a session this replica's, if accept likes its record. It returns nil
	// when there is none to take; an error says that this is not known.
	Take(ctx context.Context, id string, accept func(record []byte) bool) ([]byte, error)
	// TakeFrom is Take of what is still owned by a replica that is gone.
	TakeFrom(ctx context.Context, id string, gone uint32) ([]byte, error)
	// Each calls fn for every record that is stored, and who owns it.
	Each(ctx context.Context, fn func(id string, owner uint32, record []byte)) error
	// Release says that a session has ended, and that its client may come back; Drop
	// that it has ended for good.
	Release(id string)
	Drop(id string)
	// Settle waits until nothing is being written for a session that has ended here.
	Settle(ctx context.Context, id string) error
	// Serve says what is done when another replica has taken a session over, and when
	// everything must be Put again.
	Serve(taken func(id string), renew func())
}

const (
	// takeTimeout is how long one attempt to find a session may take.
	takeTimeout = 2 * time.Second
	// maxTaking is how many clients may wait for that at a time.
	maxTaking = 256
	// keepAgain is how often a session that does not change is kept anew.
	keepAgain = 10 * time.Minute
	// keepWait is how long a backend waits for its change to be kept.
	keepWait = 2 * time.Second
)

// sessionRecord is what is kept of a session.
type sessionRecord struct {
	Channel string   `json:"channel"`
	UID     string   `json:"uid,omitempty"`
	User    string   `json:"user,omitempty"`
	Rooms   []string `json:"rooms,omitempty"` // granted ones too
	Granted []string `json:"granted,omitempty"`
	// What follows is for handlers.
	Data  json.RawMessage `json:"data,omitempty"`
	Begun string          `json:"begun,omitempty"`
	Told  bool            `json:"told,omitempty"` // that it has ended
	// Named says that User is a handler's name for Subject.
	Named   bool   `json:"named,omitempty"`
	Subject string `json:"subject,omitempty"`
}

// subject is who the session's token names.
func (r *sessionRecord) subject() string {
	if r.Named {
		return r.Subject
	}
	return r.User
}

// roster is where sessions are kept; nil: in this process's memory, see parking.
func (srv *Server) roster() Roster {
	if srv.config.Replica == nil {
		return nil
	}
	return srv.config.Replica.Roster
}

// serveRoster answers the roster.
func (srv *Server) serveRoster() {
	if r := srv.roster(); r != nil {
		r.Serve(srv.lostTo, func() {
			for _, sh := range srv.shards {
				sh.post(sh.keepAll)
			}
		})
	}
}

// keepFor has the roster keep sessions for as long as a channel keeps what their
// clients miss.
func (srv *Server) keepFor(snap *snapshot) {
	r := srv.roster()
	if r == nil {
		return
	}
	var longest time.Duration
	for _, ch := range snap.channels {
		if ch.witnessed() || ch.housed() {
			longest = max(longest, witnessTTL)
		}
		if ch.recovers() {
			longest = max(longest, ch.History.TTL.Std())
		}
	}
	if longest > 0 {
		r.Keep(longest)
	}
}

// keep has what is to be known of a session stored where other replicas find it. Then
// is called on the loop when it is, or need not be, unless the session has ended.
func (sh *shard) keep(s uint32, then func()) {
	ses := sh.sessions.At(s)
	roster := sh.server.roster()
	if roster == nil || !ses.keeps() {
		then()
		return
	}
	ses.kept = uint32(time.Now().Unix()) //nolint:gosec // until 2106
	id := sh.table.ID(s)
	roster.Put(id.String(), encode(sh.record(s)), func() {
		sh.post(func() {
			if now, ok := sh.table.Session(id); ok && now == s {
				then()
			}
		})
	})
}

// keeps reports whether the session is to be known to other replicas.
func (ses *session) keeps() bool {
	return ses.channel.witnessed() || ses.overSocketIO() && ses.channel.recovers()
}

// record is what is kept of a session.
func (sh *shard) record(s uint32) sessionRecord {
	ses := sh.sessions.At(s)
	r := sessionRecord{
		Channel: ses.channel.Name, UID: ses.channel.UID, User: ses.client.User(), Rooms: sh.rooms(s), Granted: sh.table.Granted(s),
	}
	if ses.channel.witnessed() {
		r.Begun = ses.begun()
	}
	if t := ses.talk; t != nil {
		r.Data, r.Named, r.Subject = t.data, t.named, t.subject
	}
	return r
}

// keepAgain has a session stored anew that has not changed for long.
func (sh *shard) keepAgain(s uint32) {
	if kept := sh.sessions.At(s).kept; kept != 0 && time.Since(time.Unix(int64(kept), 0)) >= keepAgain {
		sh.keep(s, func() {})
	}
}

func (sh *shard) keepAll() {
	for _, name := range sh.table.Channels() {
		for _, s := range sh.table.Members(name) {
			if sh.sessions.At(s).kept != 0 {
				sh.keep(s, func() {})
			}
		}
	}
}

// dismiss forgets a session that ends for good.
func (sh *shard) dismiss(s uint32) {
	if ses := sh.sessions.At(s); ses.channel.witnessed() {
		ses.ended = true // which is told first
	} else if ses.kept != 0 {
		id := sh.table.ID(s)
		sh.server.roster().Drop(id.String())
		ses.kept = 0
	}
}

// lostTo ends a session that another replica's client has taken over.
func (srv *Server) lostTo(id string) {
	parsed, ok := wire.ParseSessionID(id)
	if !ok {
		return
	}
	for _, sh := range srv.shards {
		sh.post(func() {
			if s, ok := sh.table.Session(parsed); ok {
				sh.loop.Close(sh.sessions.At(s).conn, wire.CloseNormal, "")
			}
		})
	}
}

// takeLocal returns a session that is remembered here, or whose connection, which
// its client has given up, is not known to be gone; nil: there is none.
func (srv *Server) takeLocal(id wire.SessionID, ch *channel, user string) *parked {
	if was := srv.parked.take(id, ch.counters, user); was != nil {
		return was
	}
	srv.onLoops(func(sh *shard) {
		s, ok := sh.table.Find(ch.Name, id.String())
		if ok && sh.sessions.At(s).subject() == user {
			sh.loop.Close(sh.sessions.At(s).conn, wire.CloseNormal, "") // which parks it
		}
	})
	return srv.parked.take(id, ch.counters, user)
}

// take is takeLocal of all replicas. An error says that it is not known whether there
// is such a session.
func (srv *Server) take(id wire.SessionID, ch *channel, user string) (*parked, error) {
	was := srv.takeLocal(id, ch, user)
	roster := srv.roster()
	if was != nil || roster == nil {
		return was, nil
	}
	ctx, cancel := context.WithTimeout(srv.replays.ctx, takeTimeout)
	defer cancel()
	var r sessionRecord
	found, err := roster.Take(ctx, id.String(), func(record []byte) bool {
		r = sessionRecord{}
		return json.Unmarshal(record, &r) == nil && r.Channel == ch.Name && r.UID == ch.UID && r.subject() == user
	})
	if err != nil || found == nil {
		return nil, err
	}
	srv.tell(question{Op: opTaken, Session: id.String()})
	return &parked{channel: ch.counters, user: r.subject(), rooms: r.Rooms, granted: r.Granted, data: r.Data}, nil
}
