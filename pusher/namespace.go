// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"cmp"
	"encoding/json"
	"errors"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/engineio"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
)

// Events of ours that a Socket.IO client may listen to. Publishers cannot use the
// prefix.
const (
	eventError      = "klaxon.error"
	eventGap        = "klaxon.gap"
	eventDisconnect = "klaxon.disconnect"
	eventOffset     = "klaxon.offset"
	eventLost       = "klaxon.lost"
	eventRooms      = "klaxon.rooms"
	eventPresence   = "klaxon.presence"
)

// Codes of connect errors and of failures that plain clients do not know.
const (
	codeToken      = "token"
	codeForbidden  = "forbidden"
	codeFull       = "full"
	codeBadRequest = "bad_request"
)

// maxRefused is how many CONNECTs of one client may come to nothing.
const maxRefused = 16

// message takes an Engine.IO message: a packet of Socket.IO, or a part of one. The
// session may be closed then.
func (sh *shard) message(e *engine, m engineio.Packet) {
	maxBytes := sh.server.current.Load().maxPayload
	d := e.decoder
	if d == nil {
		d = &socketio.Decoder{}
	}
	decode := d.Text
	if m.Binary {
		decode = d.Binary
	}
	p, whole, err := decode(m.Data, maxBytes)
	switch e.decoder = nil; {
	case err != nil:
		sh.loop.Close(e.home.slot, wire.CloseProtocol, err.Error())
	case whole:
		sh.packet(e, &p)
	default:
		e.decoder = d // until its attachments are there
	}
}

// packet takes a packet of Socket.IO.
func (sh *shard) packet(e *engine, p *socketio.Packet) {
	s := sh.inNamespace(e, p.Namespace)
	switch {
	case p.Type == socketio.Connect && s == noSession && e.pending[p.Namespace] == nil:
		sh.connect(e, p)
	case p.Type == socketio.Disconnect && s != noSession:
		sh.unlink(e, s)
		sh.dismiss(s)
		sh.why = handlers.Disconnected{Code: uint16(wire.CloseNormal), Reason: "the client has left the namespace"}
		sh.finish(s)
		sh.schedule(e)
	case p.Type == socketio.Event && s != noSession, p.Type == socketio.BinaryEvent && s != noSession:
		sh.emitted(e, s, p)
	case p.Type == socketio.Ack && s != noSession, p.Type == socketio.BinaryAck && s != noSession:
		args := p.Args()
		sh.acked(s, p.ID, &args)
	case p.Type == socketio.Disconnect:
		delete(e.pending, p.Namespace) // or it has crossed ours
	default:
		sh.loop.Close(e.home.slot, wire.CloseProtocol, "a packet that does not belong here")
	}
}

// inNamespace returns the client's session of a namespace, if it has one.
func (sh *shard) inNamespace(e *engine, namespace string) uint32 {
	for s := range sh.sessionsOf(e) {
		if sh.sessions.At(s).channel.SocketIO.Namespace == namespace {
			return s
		}
	}
	return noSession
}

// credentials are what a CONNECT may carry. Other members are the application's,
// or those of the recovery of a connection.
type credentials struct {
	Token string   `json:"token"`
	Rooms []string `json:"rooms"`

	PID    json.RawMessage `json:"pid"`
	Offset json.RawMessage `json:"offset"`
}

// connect answers a CONNECT.
func (sh *shard) connect(e *engine, p *socketio.Packet) {
	a, no := sh.admit(e, p)
	switch {
	case no != nil:
		sh.refuse(e, p.Namespace, *no)
	case a.channel.greets():
		sh.greetLater(e, a)
	case !sh.seat(e, a):
		a.channel.counters.connections.Add(-1)
		sh.refuse(e, p.Namespace, socketio.ConnectError{Message: "Invalid namespace"})
	}
}

// welcome answers the CONNECT of a session.
func (sh *shard) welcome(s uint32, r resumed, failed *failure) {
	ses := sh.sessions.At(s)
	namespace, recovers := ses.channel.SocketIO.Namespace, ses.channel.recovers()
	id, pid := sh.table.ID(s), ""
	if recovers {
		pid = sh.server.sids.pid(id)
	}
	sh.send(ses.conn, socketio.EncodeConnect(namespace, id.String(), pid))
	if failed != nil {
		sh.send(ses.conn, socketio.EncodeMessage(namespace, eventError, failed))
	}
	if _, oldest := r.said(); oldest != "" {
		sh.send(ses.conn, socketio.EncodeMessage(namespace, eventLost, map[string]string{"oldest": oldest}))
	}
	if !r.recovered {
		sh.tellOffset(s)
	}
	sh.keep(s, func() {})
}

// admit decides whether the client may have a session, and counts it if so.
func (sh *shard) admit(e *engine, p *socketio.Packet) (*admission, *socketio.ConnectError) {
	snap := sh.server.current.Load()
	a := &admission{channel: snap.namespaces[p.Namespace], payload: p.Data}
	if a.channel == nil {
		return nil, &socketio.ConnectError{Message: "Invalid namespace"}
	}
	name := a.channel.Name
	refuse := func(code, message string) (*admission, *socketio.ConnectError) {
		return nil, &socketio.ConnectError{Message: message, Data: map[string]string{"code": code}}
	}
	var err error
	if a.said, err = readCredentials(p.Data); err != nil {
		return refuse(codeBadRequest, err.Error())
	}
	if e.said != nil {
		a.said.Token = cmp.Or(a.said.Token, e.said.token, e.said.cookies[name])
		if err := snap.verifier.Origin(name, e.said.origin, e.said.host); err != nil {
			a.channel.refuseClient(err)
			return refuse(codeForbidden, err.Error())
		}
	}
	a.client, err = snap.verifier.Client(name, a.said.Token)
	if err == nil {
		from := auth.Visit{Remote: e.remote.addr()}
		if e.said != nil {
			from.Headers = e.said.headers
		}
		err = snap.verifier.MayConnect(name, &a.client, from)
	}
	if err != nil {
		a.channel.refuseClient(err)
		var refused *auth.Error
		if errors.As(err, &refused) && refused.Code() == auth.CodeNotAllowed {
			return refuse(codeForbidden, err.Error())
		}
		return refuse(codeToken, err.Error())
	}
	if sh.server.draining.Load() {
		return refuse(codeFull, wire.CloseTryLater.Reason())
	}
	if !a.channel.counters.take(a.channel.Limits.Connections) {
		a.channel.counters.refuse(refusedFull)
		return refuse(codeFull, wire.CloseTryLater.Reason())
	}
	return a, nil
}

// readCredentials reads the payload of a CONNECT.
func readCredentials(payload []byte) (c credentials, err error) {
	if len(payload) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return credentials{}, errors.New(`auth is an object such as {"token":"…","rooms":["order:42"]}`)
	}
	return c, checkRooms(c.Rooms)
}

// result is what the reserved emits are answered with.
type result struct {
	Rooms  []string `json:"rooms,omitzero"`
	Offset string   `json:"offset,omitempty"`
	Error  *failure `json:"error,omitempty"`
}

// emitted takes an event of the client's.
func (sh *shard) emitted(e *engine, s uint32, p *socketio.Packet) {
	name, args := p.Event()
	if ch := sh.sessions.At(s).channel; name == "publish" && ch.letsPublish() && !ch.takesOver(name) {
		sh.publishSocketIO(s, p)
		return
	}
	if !reservedEmit(name) || sh.sessions.At(s).channel.takesOver(name) {
		sh.handOn(s, name, p)
		return
	}
	var r result
	asked, _ := roomsOf(args) // what is wrong is said below
	if r.Error = sh.asks(s, max(1, len(asked))); r.Error != nil {
		sh.answerEmit(s, p, name, r)
		return
	}
	switch name {
	case "join", "leave":
		rooms, err := roomsOf(args)
		switch {
		case err != nil:
			r.Error = &failure{Code: plain.CodeBadMessage, Message: err.Error()}
		case name == "join":
			r.Error = sh.join(s, rooms)
		default:
			sh.leave(s, rooms)
		}
		r.Rooms, r.Offset = sh.rooms(s), sh.offset(s)
	case "watch", "unwatch":
		var rooms []string
		var err error
		if len(args) > 0 {
			rooms, err = roomsOf(args)
		}
		switch rooms = orChannel(rooms); {
		case err != nil:
			r.Error = &failure{Code: plain.CodeBadMessage, Message: err.Error()}
		case name == "watch":
			r.Error = sh.watch(s, rooms)
		default:
			sh.unwatch(s, rooms)
		}
	case "auth":
		var c credentials
		if len(args) != 1 || json.Unmarshal(args[0], &c) != nil || c.Token == "" {
			r.Error = &failure{Code: plain.CodeBadMessage, Message: `auth takes {"token":"…"}`}
		} else {
			r.Error = sh.renew(s, c.Token)
			sh.schedule(e)
		}
		r.Rooms, r.Offset = sh.rooms(s), sh.offset(s)
	}
	answer := func() { sh.answerEmit(s, p, name, r) }
	switch name {
	case "join", "leave", "auth":
		sh.keep(s, answer) // what is acknowledged outlives this push server
	default:
		answer()
	}
}

// reservedEmit reports whether push servers answer an event themselves, unless a handler
// names it.
func reservedEmit(name string) bool {
	switch name {
	case "join", "leave", "watch", "unwatch", "auth":
		return true
	}
	return false
}

// handOn hands an event on to the channel's handlers.
func (sh *shard) handOn(s uint32, name string, p *socketio.Packet) {
	sh.emit(s, &emission{name: name, args: p.Args(), waits: p.HasID, reply: sh.emitReply(s, p)})
}

// emitReply acknowledges an emit that is answered later.
func (sh *shard) emitReply(s uint32, p *socketio.Packet) func(*wire.Args, *failure) {
	namespace, id, waits := sh.sessions.At(s).channel.SocketIO.Namespace, p.ID, p.HasID
	return func(answer *wire.Args, f *failure) {
		conn := sh.sessions.At(s).conn
		switch {
		case f != nil && waits:
			sh.send(conn, socketio.EncodeAck(namespace, id, result{Error: f}))
		case f != nil:
			sh.send(conn, socketio.EncodeMessage(namespace, eventError, f))
		case waits:
			sh.send(conn, socketio.EncodeArgsAck(namespace, id, answer))
		}
	}
}

// answerEmit acknowledges an emit or, if its client has asked for no acknowledgement,
// says what went wrong.
func (sh *shard) answerEmit(s uint32, p *socketio.Packet, name string, r result) {
	ses := sh.sessions.At(s)
	switch namespace := ses.channel.SocketIO.Namespace; {
	case p.HasID:
		sh.send(ses.conn, socketio.EncodeAck(namespace, p.ID, r))
	case r.Error != nil:
		sh.send(ses.conn, socketio.EncodeMessage(namespace, eventError, r.Error))
	}
	if name == "join" {
		sh.tellOffset(s) // nothing from before the join is made up for
	}
}

// roomsOf reads the argument of join and leave: a name, or a list of names.
func roomsOf(args []json.RawMessage) ([]string, error) {
	if len(args) == 1 {
		var one string
		if json.Unmarshal(args[0], &one) == nil {
			return []string{one}, checkRooms([]string{one})
		}
		var many []string
		if json.Unmarshal(args[0], &many) == nil && len(many) > 0 {
			return many, checkRooms(many)
		}
	}
	return nil, errors.New(`say which rooms, for example socket.emit("join", "order:42", ack) or a list of them`)
}

// expel ends a session whose client must not come back by itself. Its connection
// stays: it may have others.
func (sh *shard) expel(s uint32, code wire.CloseCode, reason string) {
	ses := sh.sessions.At(s)
	conn, namespace := ses.conn, ses.channel.SocketIO.Namespace
	sh.why = handlers.Disconnected{Code: uint16(code), Reason: reason}
	if e := sh.peers.At(uint32(conn)).engine; e != nil {
		sh.unlink(e, s)
	}
	sh.dismiss(s)
	sh.finish(s)
	sh.send(conn, socketio.EncodeMessage(namespace, eventDisconnect, map[string]any{"code": code, "reason": reason}))
	sh.send(conn, socketio.EncodeDisconnect(namespace))
}

// unlink takes a session off its connection's list.
func (sh *shard) unlink(e *engine, s uint32) {
	at := &e.first
	for *at != s {
		at = &sh.sessions.At(*at).next
	}
	*at = sh.sessions.At(s).next
}
