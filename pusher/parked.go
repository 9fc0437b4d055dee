// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// maxParkedBytes bounds the memory for sessions whose clients may come back.
	// When it is not enough, the oldest are forgotten.
	maxParkedBytes = 64 << 20
	// parkedCost is what one takes besides its strings.
	parkedCost = 256
)

// parked is what is remembered of a Socket.IO session whose connection has gone:
// the client does not know its rooms.
type parked struct {
	channel *channelCounters // also a channel of the same name that was created anew is another
	user    string
	rooms   []string // granted ones too
	granted []string
	data    json.RawMessage // see talk
	until   time.Time
}

func (p *parked) cost() int {
	n := parkedCost + len(p.user) + len(p.data)
	for _, room := range p.rooms {
		n += len(room) + 16
	}
	return n
}

// parking remembers sessions until their clients come back, or for as long as
// what they miss is kept.
type parking struct {
	mu    sync.Mutex
	byID  map[wire.SessionID]*parked
	order []wire.SessionID // the oldest first; some have gone
	bytes int
}

// put remembers a session.
func (p *parking) put(id wire.SessionID, s *parked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(id)
	if p.byID == nil {
		p.byID = map[wire.SessionID]*parked{}
	}
	p.byID[id] = s
	p.bytes += s.cost()
	p.order = append(p.order, id)
	for p.bytes > maxParkedBytes {
		p.drop(p.order[0])
		p.order = p.order[1:]
	}
	if len(p.order) > 2*len(p.byID)+64 {
		p.compact()
	}
}

// take returns a session, which is not remembered any more; nil: there is none of
// that channel and user.
func (p *parking) take(id wire.SessionID, channel *channelCounters, user string) *parked {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.byID[id]
	if s == nil || s.channel != channel || s.user != user || time.Now().After(s.until) {
		return nil
	}
	p.drop(id)
	return s
}

// tidy forgets those whose time is over.
func (p *parking) tidy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for id, s := range p.byID {
		if now.After(s.until) {
			p.drop(id)
		}
	}
	p.compact()
}

func (p *parking) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byID)
}

func (p *parking) drop(id wire.SessionID) {
	if s := p.byID[id]; s != nil {
		p.bytes -= s.cost()
		delete(p.byID, id)
	}
}

// compact takes those that have gone out of the order, and gives memory back.
func (p *parking) compact() {
	var left []wire.SessionID
	seen := make(map[wire.SessionID]*parked, len(p.byID))
	for _, id := range p.order {
		if s := p.byID[id]; s != nil && seen[id] == nil {
			left = append(left, id)
			seen[id] = s
		}
	}
	p.order, p.byID = left, seen
}

// recovers reports whether the channel's Socket.IO clients can have their session
// back.
func (c *channel) recovers() bool { return c.SocketIO.Recovery && c.History.Size > 0 }

// park remembers a session whose client may come back, unless the roster does.
func (sh *shard) park(s uint32) {
	ses := sh.sessions.At(s)
	ch := ses.channel
	if !ch.recovers() || sh.server.ending() || sh.server.roster() != nil {
		return
	}
	p := &parked{
		channel: ch.counters, user: ses.subject(),
		rooms: sh.table.Rooms(s), granted: sh.table.Granted(s), until: time.Now().Add(ch.History.TTL.Std()),
	}
	if ses.talk != nil {
		p.data = ses.talk.data
	}
	sh.server.parked.put(sh.table.ID(s), p)
}
