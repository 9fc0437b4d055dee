// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// A channel's handler may decide who connects. Until it has, the client has no session;
// where its channel was before the handler was asked is remembered, and the session goes
// on from there, so that what the handler has not seen any more is not missed.

// guest is a client that wants to connect, as its handler is told of it.
type guest struct {
	id     wire.SessionID
	client auth.Client
	said   handlers.Connected
	rooms  []string        // of a session that it goes on with
	data   json.RawMessage // as above
}

// greeting is what came of it.
type greeting struct {
	guest   *guest
	at      wire.Position // of the channel before; nowhere: not known
	target  *handlers.Target
	answer  *handlers.Answer
	subject string // of the token
}

// rejection is why a client may not connect.
type rejection struct {
	code    wire.CloseCode
	message string
	data    json.RawMessage // the handler's own words; nil: there are none
}

// newSessionID returns the id of a session that has no place in a table yet.
func newSessionID() (id wire.SessionID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// greets reports whether somebody is to know of clients that connect.
func (c *channel) greets() bool {
	return c.handler(settings.OnConnect) != nil || c.streams(settings.OnConnect)
}

// greet asks the channel's handler about a client that may connect otherwise.
func (srv *Server) greet(ctx context.Context, ch *channel, g *guest) (*greeting, *rejection) {
	out := &greeting{guest: g, at: nowhere, target: ch.handler(settings.OnConnect), answer: &handlers.Answer{}, subject: g.client.User()}
	if srv.attach(ctx, ch) == nil { // otherwise the session waits for that
		if at, ok := srv.broker.Position(ch.Name); ok {
			out.at = at
		}
	}
	call := srv.about(ch, g.id, g.client.User())
	now := time.Now()
	call.ID, call.Type, call.Time = call.Session+"."+strconv.FormatInt(now.UnixMilli(), 36)+".connected", handlers.TypeConnected, now
	call.What, call.Data = &g.said, g.data
	if g.rooms != nil {
		call.Rooms = g.rooms
	}
	if out.target != nil {
		answer, err := srv.caller.Do(ctx, out.target, &call)
		switch {
		case err != nil:
			return nil, &rejection{code: wire.CloseTryLater, message: failed(err).Message}
		case answer.Refuse != nil:
			return nil, &rejection{code: wire.CloseForbidden, message: answer.Refuse.Message, data: answer.Refuse.Data}
		}
		out.answer = answer
	}
	if answer := out.answer; answer.User != "" {
		g.client = g.client.As(answer.User)
		call.User = answer.User
	}
	if ch.streams(settings.OnConnect) {
		if f := srv.stream(ch, &call); f != nil {
			return nil, &rejection{code: wire.CloseTryLater, message: f.Message}
		}
	}
	return out, nil
}

// settleIn makes a session that has just begun what its handler wants it to be.
func (sh *shard) settleIn(s uint32, g *greeting) *failure {
	if g == nil {
		return nil
	}
	sh.table.Rename(s, g.guest.id)
	if a := g.answer; a.Data != nil || g.guest.data != nil || a.User != "" {
		t := sh.talkOf(s)
		t.data, t.named, t.subject = g.guest.data, a.User != "", g.subject
		_ = t.apply(&handlers.Answer{Data: a.Data}) // the rooms follow
	}
	for i, room := range g.answer.Join {
		if sh.grantRoom(s, room) != nil {
			return &failure{Code: errTooManyRooms.code, Message: sh.sessions.At(s).channel.tooManyRooms(), Rooms: g.answer.Join[i:]}
		}
	}
	return nil
}

// introduce sends a handler's first events, when the client has been welcomed.
func (sh *shard) introduce(s uint32, g *greeting) {
	if g == nil {
		return
	}
	ses := sh.sessions.At(s)
	ch, id := ses.channel, g.guest.id.String()
	if len(g.answer.Emit) > 0 {
		sh.talkOf(s).sayDirectly(g.target, g.answer.Emit)
		sh.server.talks.Add(1)
		go func() {
			defer sh.server.talks.Add(-1)
			sh.server.publishAll(ch, id, g.answer.Emit)
		}()
	}
	if g.answer.Disconnect && sh.sessions.At(s).channel != nil {
		sh.end(s, wire.CloseByPublisher, "disconnected by a handler")
	}
}

// forgo tells handlers that a client that they have let in has gone before it had a
// session.
func (srv *Server) forgo(ch *channel, g *greeting) {
	if g == nil {
		return
	}
	n := &turn{target: ch.handler(settings.OnDisconnect), stream: ch.streams(settings.OnDisconnect)}
	if n.target == nil && !n.stream {
		return
	}
	call := srv.about(ch, g.guest.id, g.guest.client.User())
	call.ID, call.Type, call.Time = call.Session+"."+strconv.FormatInt(time.Now().UnixMilli(), 36)+".disconnected", handlers.TypeDisconnected, time.Now()
	call.What, call.Data = &handlers.Disconnected{Code: uint16(wire.CloseAbnormal), Reason: "the connection ended"}, g.answer.Data
	srv.depart(ch, n, &call)
}

// safeHeaders are what handlers are told of a handshake. Others may be secrets.
var safeHeaders = []string{
	"Accept-Language", "Forwarded", "Origin", "Referer", "Traceparent", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
	"X-Real-Ip", "X-Request-Id",
}

// ownParameters are of the query, and mean nothing to handlers.
var ownParameters = []string{"token", "resume", "since", "lastEventId", "EIO", "transport", "sid", "t", "b64"}

// describe is what handlers are told of a client's request.
func describe(r *http.Request) (query url.Values, headers map[string]string) {
	query, headers = r.URL.Query(), map[string]string{}
	for _, name := range ownParameters {
		delete(query, name)
	}
	for _, name := range safeHeaders {
		if v := r.Header.Get(name); v != "" {
			headers[strings.ToLower(name)] = v
		}
	}
	return query, headers
}

// greetClient asks about a plain client or an event stream that has been admitted, before
// it is answered. A client that may not connect is refused with h.
func (srv *Server) greetClient(w http.ResponseWriter, r *http.Request, h *hello, token string) {
	ch := h.channel
	if ch == nil || !ch.greets() {
		return
	}
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Time{}) != nil || control.SetWriteDeadline(time.Now().Add(settings.MaxHandlerTimeout+handshakeTimeout)) != nil {
		h.reject(&rejection{code: wire.CloseTryLater, message: "the connection has gone"})
		return
	}
	srv.handshakes.entertain(r) // others need not wait for this one's handler
	g := &guest{id: newSessionID(), client: h.client}
	g.said = handlers.Connected{Protocol: h.form.Protocol(), Remote: h.remote.String(), Claims: auth.Claims(token)}
	g.said.Query, g.said.Headers = describe(r)
	g.said.Trace = g.said.Headers["traceparent"]
	if h.resumes != nil {
		if _, was := h.resumes.of(h.client.User()); was.session != (wire.SessionID{}) {
			g.said.Previous = was.session.String()
		}
	}
	// A client that hangs up meanwhile is no failure of the handler's.
	greeted, no := srv.greet(srv.replays.ctx, ch, g)
	if no != nil {
		h.reject(no)
		return
	}
	h.client, h.greeting = g.client, greeted
}

// reject undoes an admission.
func (h *hello) reject(no *rejection) {
	h.release()
	*h = hello{form: h.form, refusal: refusal{code: no.code, reason: no.message, data: no.data, said: no.code == wire.CloseForbidden}}
}

// available reports whether what a client has missed is still there.
func (srv *Server) available(ctx context.Context, ch *channel, since wire.Position) (bool, error) {
	_, err := srv.broker.Read(ctx, ch.Name, wire.Range{After: since, Limit: 1})
	var lost *wire.LostError
	if errors.As(err, &lost) {
		return false, nil
	}
	return err == nil, err
}
