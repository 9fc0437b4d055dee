// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"net/netip"
	"slices"

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
}

// refusal closes a connection as soon as it is open, because a browser cannot
// see why a handshake failed.
type refusal struct {
	code   wire.CloseCode
	reason string
}

// openClient makes a session of a new connection, or refuses it.
func (sh *shard) openClient(c loop.Slot, h *hello) {
	if h.channel == nil {
		sh.loop.Close(c, h.refusal.code, h.refusal.reason)
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
		code := wire.CloseChannelGone
		if sh.server.draining.Load() {
			code = wire.CloseRestart
		}
		sh.loop.Close(c, code, code.Reason())
		return
	}
	sh.peers.At(uint32(c)).session = s
	if now.Revision != h.channel.Revision || now.counters != h.channel.counters {
		// Changed since the handshake: what was decided there may not hold.
		sh.sessions.At(s).channel = h.channel // whose counters have it
		sh.loop.Close(c, wire.CloseTryLater, "the channel has just changed, try again")
		return
	}
	var from *claim
	var was resumeToken
	if h.resumes != nil {
		var since wire.Position
		since, was = h.resumes.of(h.client.User())
		from = &claim{since: since, before: was.session}
	}
	failed := sh.joinAgain(s, slices.Concat(h.rooms, was.rooms), was.granted)
	sh.enter(s, from, func(r resumed) {
		sh.welcomeClient(s, r, failed)
		if len(h.watch) > 0 {
			sh.tellFailure(s, sh.watch(s, h.watch))
		}
	})
}

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
	case plain.Ping:
		sh.send(c, plain.EncodeAnswer(plain.Answer{Type: "pong", Ref: r.Ref, Offset: sh.offset(s)}))
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
