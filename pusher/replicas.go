// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/presence"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Replica is one of several push servers that clients reach by one address.
type Replica struct {
	// ID tells the replicas apart.
	ID uint32
	// Key is theirs alone and the same for all.
	Key [32]byte
	// Peers are the others.
	Peers Peers
	// Roster keeps what must be known of sessions when a replica is gone.
	Roster Roster
	// Housing knows which replicas have somebody in a room.
	Housing Housing
}

// Peers reach the other replicas.
type Peers interface {
	// Forward passes a client's request on to the replica that has its session, and
	// the answer back. It reports false, and nothing is answered, when there is none.
	Forward(w http.ResponseWriter, r *http.Request, owner uint32) bool
	// Ask asks all others and returns the parts of their answers, and whether all
	// have answered.
	Ask(ctx context.Context, question []byte) (parts [][]byte, all bool)
	// Tell tells all others something.
	Tell(what []byte)
	// AskOne asks one of the others. It reports false when it has no answer.
	AskOne(ctx context.Context, id uint32, question []byte) (answer []byte, ok bool)
	// Present are the others that are there.
	Present() map[uint32]bool
	// Publish tells those who Listen for a topic something.
	Publish(topic string, what []byte)
	// Listen has take called, for one at a time, with what is published.
	Listen(topic string, take func(what []byte)) (stop func())
	// Serve has others' questions answered.
	Serve(answer func(question []byte) [][]byte)
}

// sessionsPart is how many sessions a part of an answer has.
const sessionsPart = 256

// question is what replicas ask and tell each other.
type question struct {
	Op      string   `json:"op"`
	Channel string   `json:"channel,omitempty"`
	Session string   `json:"session,omitempty"`
	User    string   `json:"user,omitempty"`
	Join    []string `json:"join,omitempty"`
	Leave   []string `json:"leave,omitempty"`
	To      *target  `json:"to,omitempty"`

	SID string `json:"sid,omitempty"`

	Presence []presence.Question `json:"presence,omitempty"`
}

// What can be asked and told.
const (
	opList           = "list"           // all sessions of a channel
	opDisconnect     = "disconnect"     // end a session; an answer if there was one
	opDisconnectUser = "disconnectUser" // end all sessions of a user; how many there were
	opRooms          = "rooms"          // have a session join and leave rooms; an answer if there was one
	opTaken          = "taken"          // a session lives elsewhere now
	opPresence       = "presence"       // who is there
	opReached        = "reached"        // how many sessions an event is addressed to

	// Of the owner of an Engine.IO session, by the replica that has a WebSocket for it.
	opProbe   = "probe"   // it probes
	opProbed  = "probed"  // it has said so
	opUnprobe = "unprobe" // it has gone
	opMove    = "move"    // it takes over: give the session away
)

// peers are the other replicas; nil: there are none.
func (srv *Server) peers() Peers {
	if srv.config.Replica == nil {
		return nil
	}
	return srv.config.Replica.Peers
}

// ask asks all other replicas.
func (srv *Server) ask(ctx context.Context, q question) (parts [][]byte, all bool) {
	if p := srv.peers(); p != nil {
		return p.Ask(ctx, encode(q))
	}
	return nil, true
}

// tell tells all other replicas.
func (srv *Server) tell(q question) {
	if p := srv.peers(); p != nil {
		p.Tell(encode(q))
	}
}

// answer answers another replica.
func (srv *Server) answer(asked []byte) [][]byte {
	var q question
	if json.Unmarshal(asked, &q) != nil {
		return nil // of a version to come
	}
	switch q.Op {
	case opList:
		return encodeParts(srv.localSessions(q.Channel))
	case opDisconnect:
		if srv.disconnectLocal(q.Channel, q.Session) {
			return [][]byte{[]byte("true")}
		}
	case opDisconnectUser:
		return [][]byte{encode(srv.disconnectUserLocal(q.Channel, q.User))}
	case opRooms:
		if c := srv.changeRoomsLocal(q); c != nil {
			return [][]byte{encode(c)}
		}
	case opTaken:
		srv.lostTo(q.Session)
	case opProbe, opProbed, opUnprobe, opMove:
		return srv.partWith(q)
	case opPresence:
		return srv.presence.Answer(q.Presence)
	case opReached:
		if q.To != nil {
			return [][]byte{encode(srv.reachedLocal(q.Channel, q.To))}
		}
	}
	return nil
}

func encodeParts(sessions []wire.Session) (parts [][]byte) {
	for part := range slices.Chunk(sessions, sessionsPart) {
		parts = append(parts, encode(part))
	}
	return parts
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("pusher: what replicas tell each other cannot be marshalled: " + err.Error())
	}
	return b
}

// localSessions returns this replica's sessions of a channel.
func (srv *Server) localSessions(name string) []wire.Session {
	var mu sync.Mutex
	var all []wire.Session
	srv.onLoops(func(sh *shard) {
		part := make([]wire.Session, 0, len(sh.table.Members(name)))
		for _, s := range sh.table.Members(name) {
			ses := sh.sessions.At(s)
			part = append(part, wire.Session{
				ID: sh.table.ID(s).String(), User: ses.client.User(), Rooms: sh.table.Rooms(s), Protocol: ses.form.Protocol(),
				Remote: ses.remote.String(), ConnectedAt: time.Unix(int64(ses.connected), 0),
			})
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, part...)
	})
	return all
}

// disconnectLocal ends a session of this replica.
func (srv *Server) disconnectLocal(name, id string) bool {
	var mu sync.Mutex
	found := false
	srv.onLoops(func(sh *shard) {
		if s, ok := sh.table.Find(name, id); ok {
			sh.end(s, wire.CloseByPublisher, wire.CloseByPublisher.Reason())
			mu.Lock()
			defer mu.Unlock()
			found = true
		}
	})
	return found
}

// disconnectUserLocal ends all sessions of a user on this replica, and counts them.
func (srv *Server) disconnectUserLocal(name, user string) (n int) {
	var mu sync.Mutex
	srv.onLoops(func(sh *shard) {
		for _, s := range slices.Clone(sh.table.Members(name)) {
			if sh.sessions.At(s).client.User() != user || user == "" {
				continue
			}
			sh.end(s, wire.CloseByPublisher, wire.CloseByPublisher.Reason())
			mu.Lock()
			n++
			mu.Unlock()
		}
	})
	return n
}
