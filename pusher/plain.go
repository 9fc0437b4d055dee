// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// hello is what the clients listener knows of a plain WebSocket or an event
// stream that it hands over.
type hello struct {
	channel *channel // nil when refused
	client  auth.Client
	rooms   []string
	watch   []string
	remote  netip.AddrPort
	refusal refusal
	form    hub.Form
	resumes *resumption // nil: it has not said where it was
	// late is what the client has said that sends its token as its first message; nil: it
	// has sent it.
	late *attempt
	// greeting is what the channel's handler has decided; nil: there is none.
	greeting *greeting
}

// subject is who the client's token names.
func (h *hello) subject() string {
	if h.greeting != nil {
		return h.greeting.subject
	}
	return h.client.User()
}

// refusal closes a connection as soon as it is open, because a browser cannot
// see why a handshake failed.
type refusal struct {
	code   wire.CloseCode
	reason string
	data   json.RawMessage // a handler's own words; nil: there are none
	said   bool            // by a handler
}

// openClient makes a session of a new connection, or refuses it.
func (sh *shard) openClient(c loop.Slot, h *hello) {
	if h.late != nil {
		sh.peers.At(uint32(c)).late = h
		sh.loop.SetDeadline(c, time.Now().Add(handshakeTimeout))
		return
	}
	if h.channel == nil {
		sh.turnAway(c, &h.refusal)
		return
	}
	now := sh.server.current.Load().channels[h.channel.Name]
	ses := session{channel: now, client: h.client, remote: addressOf(h.remote), conn: c, form: h.form}
	if sh.loop.Deflate(c) {
		ses.form = hub.PlainDeflate
	}
	s, ok := noSession, false
	if now != nil && !sh.server.draining.Load() {
		s, ok = sh.begin(ses)
	}
	if !ok {
		h.release()
		sh.server.forgo(h.channel, h.greeting)
		code := wire.CloseChannelGone
		if sh.server.draining.Load() {
			code = wire.CloseRestart
		}
		sh.loop.Close(c, code, code.Reason())
		return
	}
	sh.peers.At(uint32(c)).session = s
	if why := sh.unfit(s, h); why != "" {
		sh.sessions.At(s).told = true // as one that has not begun
		sh.server.forgo(h.channel, h.greeting)
		sh.loop.Close(c, wire.CloseTryLater, why)
		return
	}
	var from *claim
	var was resumeToken
	if h.resumes != nil {
		var since wire.Position
		since, was = h.resumes.of(h.subject())
		from = &claim{since: since, before: was.session}
	}
	failed := sh.settleIn(s, h.greeting)
	if failed == nil {
		failed = sh.joinAgain(s, slices.Concat(h.rooms, was.rooms), was.granted)
	}
	if g := h.greeting; g != nil && from == nil && g.at != nowhere {
		from = &claim{since: g.at, quiet: true}
	}
	sh.enter(s, from, func(r resumed) {
		sh.welcomeClient(s, r, failed)
		sh.keep(s, func() {})
		sh.introduce(s, h.greeting)
		if sh.sessions.At(s).channel == nil {
			return
		}
		if len(h.watch) > 0 {
			sh.tellFailure(s, sh.watch(s, h.watch))
		}
	})
}

// turnAway closes the connection of a client that has not been admitted.
func (sh *shard) turnAway(c loop.Slot, no *refusal) {
	if no.said {
		sh.send(c, plain.EncodeFailure(plain.Failure{Code: plain.CodeRefused, Message: no.reason, Data: no.data}))
	}
	sh.loop.Close(c, no.code, no.reason)
}

// firstMessage takes a client's token.
func (sh *shard) firstMessage(c loop.Slot, h *hello, msg []byte) {
	sh.peers.At(uint32(c)).late = nil
	sh.loop.SetDeadline(c, time.Time{})
	r, err := plain.Decode(msg)
	if err != nil || r.Type != plain.Auth {
		sh.loop.Close(c, wire.CloseUnauthorized, `the first message must be {"type":"auth","token":"…"}`)
		return
	}
	h.late.token = r.Token
	admitted := sh.server.admit(sh.server.current.Load(), h.late)
	admitted.rooms, admitted.watch, admitted.remote, admitted.resumes = h.rooms, h.watch, h.remote, h.resumes
	sh.openClient(c, admitted)
}

// unfit says why a plain client or an event stream that has been let in cannot stay.
func (sh *shard) unfit(s uint32, h *hello) string {
	ses, g := sh.sessions.At(s), h.greeting
	if now := ses.channel; now.Revision != h.channel.Revision || now.counters != h.channel.counters {
		// Changed since the handshake: what was decided there may not hold.
		ses.channel = h.channel // whose counters have it
		return "the channel has just changed, try again"
	}
	counted, ok := sh.server.crowd.enter(ses.remote, sh.server.current.Load().settings.Pusher.Limits)
	if counted {
		ses.counted |= countedAddress
	}
	if !ok {
		sh.server.refusedByPod(podAddress)
		return tooManyOfAddress
	}
	if g != nil && g.answer.User != "" {
		t := sh.talkOf(s)
		t.named, t.subject = true, g.subject // who is counted is the token's
	}
	if sh.crowded(s) {
		return tooManyOfUser
	}
	return ""
}

// Why clients must try later.
const (
	tooManyOfAddress = "too many connections from your address"
	tooManyOfUser    = "too many connections of this user"
)

// welcomeClient says the first words to a plain client or on an event stream.
func (sh *shard) welcomeClient(s uint32, r resumed, failed *failure) {
	ses := sh.sessions.At(s)
	if ses.form == hub.EventStream {
		sh.welcomeStream(s, r, failed)
		return
	}
	sh.loop.SetDeadline(ses.conn, ses.client.Expires())
	w := plain.Welcome{
		Session: sh.table.ID(s).String(), Channel: ses.channel.Name, User: ses.client.User(), Rooms: sh.rooms(s),
		Offset: sh.offset(s), Heartbeat: sh.heartbeat().Milliseconds(), Resume: sh.resumeToken(s),
	}
	w.Recovered, w.Oldest = r.said()
	sh.send(ses.conn, plain.EncodeWelcome(w))
	sh.fail(ses.conn, plain.Request{}, failed)
}

// request takes a plain client's message.
func (sh *shard) request(c loop.Slot, s uint32, msg []byte) {
	if sh.sessions.At(s).replaying && sh.replays[s].welcome != nil {
		sh.replays[s].later(msg)
		return
	}
	r, err := plain.Decode(msg)
	if err != nil {
		sh.fail(c, r, &failure{Code: plain.CodeBadMessage, Message: err.Error()})
		return
	}
	if r.Type != plain.Emit && r.Type != plain.Publish && r.Type != plain.Ack {
		if refused := sh.asks(s, max(1, len(r.Rooms))); refused != nil {
			sh.fail(c, r, refused)
			return
		}
	}
	switch r.Type {
	case plain.Join:
		refused := sh.join(s, r.Rooms)
		sh.answer(c, s, "joined", r)
		sh.fail(c, r, refused)
	case plain.Leave:
		sh.leave(s, r.Rooms)
		sh.answer(c, s, "left", r)
	case plain.Auth:
		if refused := sh.renew(s, r.Token); refused != nil {
			sh.fail(c, r, refused)
			return
		}
		sh.loop.SetDeadline(c, sh.sessions.At(s).client.Expires())
		sh.answer(c, s, "authenticated", r)
	case plain.Watch:
		refused := sh.watch(s, orChannel(r.Rooms))
		sh.send(c, plain.EncodeAnswer(plain.Answer{Type: "watching", Ref: r.Ref}))
		sh.fail(c, r, refused)
	case plain.Unwatch:
		sh.unwatch(s, orChannel(r.Rooms))
		sh.send(c, plain.EncodeAnswer(plain.Answer{Type: "unwatched", Ref: r.Ref}))
	case plain.Emit:
		sh.emit(s, &emission{name: r.Event, args: r.Args(), waits: r.Ref != nil, reply: sh.plainReply(c, r)})
	case plain.Publish:
		sh.publish(s, &publication{Event: r.Event, Rooms: r.Rooms, Data: r.Data}, sh.plainReply(c, r))
	case plain.Ack:
		args := r.Args()
		sh.acked(s, r.Ack, &args)
	case plain.Ping:
		sh.send(c, plain.EncodeAnswer(plain.Answer{Type: "pong", Ref: r.Ref, Offset: sh.offset(s)}))
	}
}

// plainReply acknowledges an event that a client has emitted or published.
func (sh *shard) plainReply(c loop.Slot, r plain.Request) func(*wire.Args, *failure) {
	return func(answer *wire.Args, f *failure) {
		sh.fail(c, r, f)
		if f == nil && r.Ref != nil {
			sh.send(c, plain.EncodeAck(r.Ref, answer))
		}
	}
}

func (sh *shard) answer(c loop.Slot, s uint32, what string, r plain.Request) {
	sh.send(c, plain.EncodeAnswer(plain.Answer{Type: what, Ref: r.Ref, Rooms: sh.rooms(s), Offset: sh.offset(s), Resume: sh.resumeToken(s)}))
}

// fail tells a plain client of a failure, if there is one.
func (sh *shard) fail(c loop.Slot, r plain.Request, f *failure) {
	if f != nil {
		sh.send(c, plain.EncodeFailure(plain.Failure{Ref: r.Ref, Code: f.Code, Message: f.Message, Rooms: f.Rooms}))
	}
}

func (sh *shard) send(c loop.Slot, frame []byte) { sh.loop.Send(c, &loop.Frame{Bytes: frame}) }
