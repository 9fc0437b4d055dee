// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"bytes"
	"cmp"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/acceptor"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/sse"
)

// describeStream sets what the answer to an event stream's request begins with.
// The body ends with the connection, so that one frame serves all. Proxies neither
// keep nor gather it.
func describeStream(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Connection", "close")
}

// serveEventStream admits an EventSource. What it may not have for good is refused
// with a status, after which an EventSource never comes back; what may pass is
// answered 200 and a time to come back.
func (srv *Server) serveEventStream(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	a := attempt{
		channel: r.PathValue("channel"), host: r.Host, origin: r.Header.Get("Origin"), rooms: query["room"], watch: query["watch"],
		token: token(r.Header.Get("Authorization"), nil, query),
	}
	if a.since = cmp.Or(r.Header.Get("Last-Event-Id"), query.Get("lastEventId")); a.since != "" {
		// Another server's id is not the client's fault: it is told what it has missed.
		if _, err := wire.ParsePosition(a.since); err != nil {
			a.since = nowhere.String()
		}
	}
	srv.visit(&a, r)
	snap := srv.current.Load()
	allowed := a.origin != "" && snap.verifier.Origin(a.channel, a.origin, a.host) == nil
	w.Header().Set("Vary", "Origin")
	if allowed {
		allow(w.Header(), a.origin)
	}
	h, no := srv.decide(a)
	if no == nil && r.Method != http.MethodHead {
		h.form = hub.EventStream
		srv.greetClient(w, r, h, a.token)
	}
	switch {
	case no != nil && no.status == http.StatusServiceUnavailable:
		srv.comeBack(w)
		return
	case no != nil:
		problem(w, no.status, no.detail)
		return
	case h.channel == nil && h.refusal.code == wire.CloseTryLater:
		srv.comeBack(w)
		return
	case h.channel == nil:
		problem(w, streamStatus(h.refusal.code), h.refusal.reason)
		return
	}
	describeStream(w.Header())
	h.form = hub.EventStream
	if r.Method == http.MethodHead || !srv.handOverStream(w, h) {
		h.release()
		srv.forgo(h.channel, h.greeting)
	}
}

// streamStatus is the status for a client that is refused for good.
func streamStatus(code wire.CloseCode) int {
	switch code {
	case wire.CloseChannelGone:
		return http.StatusNotFound
	case wire.CloseForbidden:
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

// comeBack ends the stream of a client that should try again later.
func (srv *Server) comeBack(w http.ResponseWriter) {
	describeStream(w.Header())
	_, _ = w.Write(sse.EncodeRetry(srv.jitter())) // the client may be gone; there is nobody else to tell
}

// streamPath is where an EventSource looks for a channel.
const streamPath = "/sse/"

// Busy is what a connection hears that nobody has time for: an EventSource that it is
// to come back, which it does after no other status than 200, all else 503.
func (srv *Server) Busy(said []byte) string {
	if !bytes.HasPrefix(said, []byte("GET "+streamPath)) {
		return acceptor.Busy
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(said)))
	if err != nil {
		return acceptor.Busy
	}
	h := http.Header{"Vary": {"Origin"}}
	describeStream(h)
	origin, channel := r.Header.Get("Origin"), strings.TrimPrefix(r.URL.Path, streamPath)
	if origin != "" && srv.current.Load().verifier.Origin(channel, origin, r.Host) == nil {
		allow(h, origin)
	}
	return streamHead(h) + string(sse.EncodeRetry(srv.jitter()))
}

// streamHead is the head of an answer that is a stream.
func streamHead(h http.Header) string {
	var head strings.Builder
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&head) // it takes all
	head.WriteString("\r\n")
	return head.String()
}

// jitter is a time after which one client should come back.
func (srv *Server) jitter() time.Duration {
	return time.Second + rand.N(srv.spread(srv.connections())) //nolint:gosec // jitter, no secret
}

// handOverStream answers the request and gives its socket to a loop. It reports
// whether a loop has taken it.
func (srv *Server) handOverStream(w http.ResponseWriter, h *hello) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		srv.log.Error("taking over a client's connection", "error", err)
		return false
	}
	fd, err := loop.Detach(conn)
	if err != nil {
		srv.log.Error("taking over a client's socket", "error", err)
		return false
	}
	return srv.leastLoaded().loop.Adopt(loop.Socket{FD: fd, Kind: loop.EventStream, Answer: []byte(streamHead(w.Header()))}, h)
}

// welcomeStream says the first words on an event stream.
func (sh *shard) welcomeStream(s uint32, r resumed, refused *failure) {
	ses := sh.sessions.At(s)
	w := sse.Welcome{
		Session: sh.table.ID(s).String(), Channel: ses.channel.Name, User: ses.client.User(), Rooms: sh.rooms(s),
		Offset:    sh.offset(s),
		Heartbeat: sh.heartbeat().Milliseconds(),
	}
	w.Recovered, w.Oldest = r.said()
	sh.send(ses.conn, sse.EncodeWelcome(w))
	if refused != nil {
		sh.send(ses.conn, sse.EncodeFailure(sse.Failure{Code: refused.Code, Message: refused.Message, Rooms: refused.Rooms}))
	}
	sh.awaitBeat(ses)
}

func (sh *shard) heartbeat() time.Duration {
	return sh.server.current.Load().settings.Pusher.Heartbeat.Interval.Std()
}

func (sh *shard) awaitBeat(ses *session) {
	sh.loop.SetDeadline(ses.conn, sooner(time.Now().Add(sh.heartbeat()), ses.client.Expires()))
}

// beat is the heartbeat of one channel's streams at one position.
type beat struct {
	channel  *channel
	position wire.Position
	frame    *loop.Frame
}

// pulse ends an event stream whose token has expired, and sends others a heartbeat.
func (sh *shard) pulse(s uint32) {
	ses := sh.sessions.At(s)
	if end := ses.client.Expires(); !end.IsZero() && !time.Now().Before(end) {
		sh.end(s, wire.CloseUnauthorized, "token expired")
		return
	}
	at := sh.position(s)
	if b := &sh.beat; b.channel != ses.channel || b.position != at {
		*b = beat{ses.channel, at, &loop.Frame{Bytes: sse.EncodeHeartbeat(at)}}
	}
	sh.loop.Send(ses.conn, sh.beat.frame)
	sh.awaitBeat(ses)
}
