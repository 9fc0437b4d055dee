// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/engineio"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// A client that begins by polling has its session on one replica, and its WebSocket
// may come to another. So that no session crosses two of them for life, it moves to the
// WebSocket when that takes over. The probe is answered here, with the owner's consent;
// at the packet that ends the upgrade the owner gives the session away.

const (
	// moveTimeout is how long the owner may take over each step.
	moveTimeout = 2 * time.Second
	// moveStep is how often it is looked whether a session can go.
	moveStep = 5 * time.Millisecond
	// maxMoved bounds what may wait for a client whose session moves, in bytes. One
	// for which there is more is served through this replica.
	maxMoved = 512 << 10
	// maxStashed bounds what a client may send while its session is under way.
	maxStashed = 64 << 10
)

// moving is a WebSocket to which a session of another replica is to move.
type moving struct {
	sid       string
	owner     uint32
	confirmed bool // the client has been answered its probe
	under     bool // the session is under way
	stash     []stashed
	stashed   int
}

// stashed is a message that came before its session.
type stashed struct {
	data   []byte
	binary bool
}

// movedEngine is an Engine.IO session as its owner gives it away.
type movedEngine struct {
	Origin   string         `json:"origin,omitempty"`
	Host     string         `json:"host,omitempty"`
	Token    string         `json:"token,omitempty"`
	Refused  uint8          `json:"refused,omitempty"`
	Remote   []byte         `json:"remote"`
	Port     uint16         `json:"port"`
	Frames   [][]byte       `json:"frames,omitempty"` // that wait for the client
	Sessions []movedSession `json:"sessions,omitempty"`

	Query   map[string][]string `json:"query,omitempty"`
	Headers map[string]string   `json:"headers,omitempty"`
	Cookies map[string]string   `json:"cookies,omitempty"`
}

// movedSession is one of its sessions.
type movedSession struct {
	ID        string     `json:"id"`
	Channel   string     `json:"channel"`
	UID       string     `json:"uid,omitempty"`
	Client    []byte     `json:"client"`
	Rooms     []string   `json:"rooms,omitempty"`
	Granted   []string   `json:"granted,omitempty"`
	Watched   []string   `json:"watched,omitempty"`
	Offset    string     `json:"offset"`
	Connected uint32     `json:"connected"`
	Talk      *movedTalk `json:"talk,omitempty"`
	Serial    uint16     `json:"serial,omitempty"`
}

// movedTalk is what handlers have left with it.
type movedTalk struct {
	Data    json.RawMessage `json:"data,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Named   bool            `json:"named,omitempty"`
	Calls   uint64          `json:"calls"`
}

// moveHere takes a WebSocket that names a session of another replica, if that is ready
// to part with it. It reports false, and nothing is answered, otherwise.
func (srv *Server) moveHere(w http.ResponseWriter, r *http.Request, sid string, owner uint32) bool {
	if srv.peers() == nil || srv.draining.Load() || srv.Room() <= 0 {
		return false
	}
	if _, ok := srv.askOwner(owner, question{Op: opProbe, SID: sid}); !ok {
		return false
	}
	m := &moving{sid: sid, owner: owner}
	if !srv.handOver(w, r, offer{hello: m, deflate: srv.current.Load().deflate, kind: loop.Packets, shard: srv.leastLoaded()}) {
		srv.running.Go(func() { srv.askOwner(owner, question{Op: opUnprobe, SID: sid}) })
	}
	return true
}

func (srv *Server) askOwner(owner uint32, q question) ([]byte, bool) {
	ctx, cancel := context.WithTimeout(srv.replays.ctx, moveTimeout)
	defer cancel()
	return srv.peers().AskOne(ctx, owner, encode(q))
}

// openMoving waits for the client's first packet.
func (sh *shard) openMoving(c loop.Slot, m *moving) {
	sh.peers.At(uint32(c)).moving = m
	sh.loop.SetDeadline(c, time.Now().Add(upgradeTimeout))
}

// movingText takes a message on a WebSocket that waits for its session.
func (sh *shard) movingText(c loop.Slot, m *moving, msg []byte) {
	switch p, err := engineio.Parse(msg); {
	case m.under:
		sh.stash(c, m, stashed{data: bytes.Clone(msg)})
	case err == nil && p.Type == engineio.Ping && !m.confirmed:
		m.confirmed = true
		sh.step(c, m, opProbed, func([]byte) { sh.send(c, frames.Encode(frames.Text, []byte("3probe"))) })
	case err == nil && p.Type == engineio.Upgrade && m.confirmed:
		m.under = true
		sh.step(c, m, opMove, func(part []byte) { sh.settle(c, m, part) })
	default:
		sh.loop.Close(c, wire.CloseProtocol, wire.CloseProtocol.Reason())
	}
}

// stash keeps a message of a client whose session is under way.
func (sh *shard) stash(c loop.Slot, m *moving, s stashed) {
	if m.stashed += len(s.data); !m.under || m.stashed > maxStashed {
		sh.loop.Close(c, wire.CloseTryLater, wire.CloseTryLater.Reason())
		return
	}
	m.stash = append(m.stash, s)
}

// step asks the owner, and has then called on the loop with its answer if the client
// is still there. Without an answer the WebSocket is closed: the client goes on
// polling, or begins anew.
func (sh *shard) step(c loop.Slot, m *moving, op string, then func(part []byte)) {
	sh.server.running.Go(func() {
		part, ok := sh.server.askOwner(m.owner, question{Op: op, SID: m.sid})
		if ok && op == opMove {
			ok = sh.server.takeMoved(part)
		}
		sh.do(func() {
			switch {
			case sh.peers.At(uint32(c)).moving != m:
			case !ok:
				sh.loop.Close(c, wire.CloseTryLater, wire.CloseTryLater.Reason())
			default:
				then(part)
			}
		})
	})
}

// takeMoved makes what is kept of moved sessions this replica's.
func (srv *Server) takeMoved(part []byte) bool {
	var e movedEngine
	if json.Unmarshal(part, &e) != nil {
		return false
	}
	roster, channels := srv.roster(), srv.current.Load().channels
	for i := range e.Sessions {
		s := &e.Sessions[i]
		if ch := channels[s.Channel]; roster != nil && ch != nil && (ch.recovers() || ch.witnessed()) {
			ctx, cancel := context.WithTimeout(srv.replays.ctx, moveTimeout)
			_, err := roster.Take(ctx, s.ID, func([]byte) bool { return true })
			cancel()
			if err != nil {
				return false
			}
		}
	}
	return true
}

// settle makes a WebSocket the home of a session that has arrived.
func (sh *shard) settle(c loop.Slot, m *moving, part []byte) {
	var moved movedEngine
	if json.Unmarshal(part, &moved) != nil || len(moved.Remote) != len(address{}.ip) {
		sh.loop.Close(c, wire.CloseTryLater, wire.CloseTryLater.Reason())
		return
	}
	now := sh.now()
	heartbeat := sh.server.current.Load().settings.Pusher.Heartbeat
	e := &engine{
		state:  engineio.NewSession(engineio.WebSocket, now, heartbeat.Interval.Std(), heartbeat.Timeout.Std()),
		remote: address{port: moved.Port}, first: noSession, probe: noProbe, begun: now, refused: moved.Refused,
	}
	copy(e.remote.ip[:], moved.Remote)
	if moved.Origin != "" || moved.Token != "" || moved.Headers != nil || moved.Cookies != nil {
		e.said = &said{moved.Origin, moved.Host, moved.Token, moved.Cookies, moved.Query, moved.Headers}
	}
	e.home, _ = sh.server.sids.assign(sh.number, c)
	*sh.peers.At(uint32(c)) = peer{session: noSession, engine: e}
	for _, b := range moved.Frames {
		sh.send(c, b)
	}
	for i := range moved.Sessions {
		if !sh.arrive(e, &moved.Sessions[i]) {
			sh.loop.Close(c, wire.CloseTryLater, wire.CloseTryLater.Reason())
			return
		}
	}
	sh.schedule(e)
	for _, s := range m.stash {
		if sh.peers.At(uint32(c)).engine != e {
			return
		}
		if s.binary {
			sh.binary(c, e, s.data)
		} else {
			sh.text(c, e, s.data)
		}
	}
}

// arrive begins a moved session where it left off. It reports false when it cannot be.
func (sh *shard) arrive(e *engine, m *movedSession) bool {
	ch := sh.server.current.Load().channels[m.Channel]
	id, valid := wire.ParseSessionID(m.ID)
	at, err := wire.ParsePosition(m.Offset)
	var client auth.Client
	if ch == nil || ch.UID != m.UID || !valid || err != nil || client.UnmarshalBinary(m.Client) != nil || !ch.counters.take(ch.Limits.Connections) {
		return false
	}
	s, ok := sh.begin(session{channel: ch, client: client, remote: e.remote, conn: e.home.slot, form: sh.engineForm(e), next: e.first})
	if !ok {
		ch.counters.connections.Add(-1)
		return false
	}
	e.first = s
	sh.sessions.At(s).connected, sh.sessions.At(s).serial = m.Connected, m.Serial
	if m.Talk != nil {
		t := sh.talkOf(s)
		t.data, t.subject, t.named, t.calls = m.Talk.Data, m.Talk.Subject, m.Talk.Named, m.Talk.Calls
	}
	sh.table.Rename(s, id)
	sh.joinAgain(s, m.Rooms, m.Granted)
	sh.enter(s, &claim{since: at}, func(r resumed) {
		if !r.recovered {
			sh.loop.Close(e.home.slot, wire.CloseTryLater, wire.CloseTryLater.Reason())
			return
		}
		sh.keep(s, func() {})
		sh.tellOffset(s)
		if len(m.Watched) > 0 {
			sh.tellFailure(s, sh.watch(s, m.Watched))
		}
	})
	return true
}

// partWith answers a replica to which a WebSocket has come for a session of this one.
func (srv *Server) partWith(q question) (answer [][]byte) {
	h, ok := srv.sids.find(q.SID)
	if !ok || h.owner != srv.sids.owner || int(h.shard) >= len(srv.shards) {
		return nil
	}
	sh := srv.shards[h.shard]
	var moved movedEngine
	for end := time.Now().Add(moveTimeout / 2); ; time.Sleep(moveStep) {
		again := false
		sh.do(func() { answer, again = sh.part(h, q, &moved) })
		if !again || time.Now().After(end) {
			break
		}
	}
	for i := range moved.Sessions { // before another replica takes what is written here
		if roster := srv.roster(); roster != nil {
			ctx, cancel := context.WithTimeout(srv.replays.ctx, moveTimeout/2)
			_ = roster.Settle(ctx, moved.Sessions[i].ID) // otherwise the other replica finds out
			cancel()
		}
	}
	return answer
}

// part answers on the loop. It reports true for again when the session must end
// something first.
func (sh *shard) part(h home, q question, moved *movedEngine) (answer [][]byte, again bool) {
	e := sh.engineAt(h)
	switch {
	case e == nil:
	case q.Op == opProbe && sh.movable(e) && e.state.Probe() == engineio.Done:
		e.elsewhere = true
		srv := sh.server
		time.AfterFunc(upgradeTimeout+moveTimeout, func() { srv.partWith(question{Op: opUnprobe, SID: q.SID}) })
		answer = [][]byte{{}}
	case !e.elsewhere:
	case q.Op == opUnprobe:
		e.elsewhere = false
		e.state.ProbeGone()
		answer = [][]byte{{}}
	case q.Op == opProbed:
		_ = e.state.Probed(engineio.Packet{Type: engineio.Ping, Data: []byte("probe")})
		sh.answerPoll(e)
		answer = [][]byte{{}}
	case q.Op == opMove && sh.movable(e):
		sh.answerPoll(e)
		*moved = sh.pack(e)
		answer = [][]byte{encode(*moved)}
	case q.Op == opMove:
		again = true
	}
	return answer, again
}

// movable reports whether a session can be given away as it is: what its clients miss
// on the way is kept, and it is not in the middle of something.
func (sh *shard) movable(e *engine) bool {
	if e.decoder != nil || len(e.pending) > 0 || sh.loop.QueuedBytes(e.home.slot) > maxMoved {
		return false
	}
	for s := range sh.sessionsOf(e) {
		ses := sh.sessions.At(s)
		if t := ses.talk; t != nil && (t.under || len(t.queue) > 0 || len(t.asked) > 0) {
			return false
		}
		if ses.channel.History.Size == 0 || ses.replaying && sh.replays[s].welcome != nil {
			return false
		}
	}
	return true
}

// pack ends a session here, for it to go on elsewhere.
func (sh *shard) pack(e *engine) movedEngine {
	m := movedEngine{Refused: e.refused, Remote: e.remote.ip[:], Port: e.remote.port}
	if e.said != nil {
		m.Origin, m.Host, m.Token, m.Query, m.Headers = e.said.origin, e.said.host, e.said.token, e.said.query, e.said.headers
		m.Cookies = e.said.cookies
	}
	sh.loop.Take(e.home.slot, func(f *loop.Frame) bool {
		m.Frames = append(m.Frames, f.Bytes)
		return true
	})
	for s := range sh.sessionsOf(e) {
		ses := sh.sessions.At(s)
		id := sh.table.ID(s)
		var watched []string
		for _, w := range sh.watches[s] {
			watched = append(watched, w.scope.Room)
		}
		// The last of the list is the first to arrive, so that the list is the same.
		m.Sessions = append([]movedSession{{
			ID: id.String(), Channel: ses.channel.Name, UID: ses.channel.UID, Client: ses.client.Bytes(),
			Rooms: sh.table.Rooms(s), Granted: sh.table.Granted(s), Watched: watched, Offset: sh.offset(s), Connected: ses.connected, Serial: ses.serial, Talk: ses.talk.pack(),
		}}, m.Sessions...)
		ses.moved = true
		sh.finish(s)
	}
	e.first = noSession
	sh.loop.Close(e.home.slot, wire.CloseNormal, "")
	return m
}

// movingGone tells the owner that the client goes on polling.
func (sh *shard) movingGone(m *moving) {
	if !m.under {
		sh.server.running.Go(func() { sh.server.askOwner(m.owner, question{Op: opUnprobe, SID: m.sid}) })
	}
}

// pack is what moves of a talk in which nothing is under way.
func (t *talk) pack() *movedTalk {
	if t == nil {
		return nil
	}
	return &movedTalk{t.data, t.subject, t.named, t.calls}
}
