// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/acceptor"
	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/deflate"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/upgrade"
)

// bearerProtocol is the prefix of a pseudo subprotocol that carries a token, for
// browsers, which can set no header. It is never selected.
const bearerProtocol = "bearer."

// maxParameters is how many parameters a query may have on the fast path, which
// serves one client at a time: a query of 32 KiB takes milliseconds to read.
const maxParameters = 2 * wire.MaxRooms

func (srv *Server) clientsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/{channel}", srv.serveWebSocket)
	mux.HandleFunc("GET "+streamPath+"{channel}", srv.serveEventStream)
	mux.HandleFunc(enginePath, srv.serveEngine)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "connect a WebSocket to /ws/{channel}, an EventSource to /sse/{channel}, or Socket.IO to "+enginePath)
	})
	return mux
}

// problem answers with problem details (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client may be gone; there is nobody else to tell
		"title": http.StatusText(status), "status": status, "detail": detail,
	})
}

// attempt is what a client says when it wants to connect, however it says it.
type attempt struct {
	channel      string
	host, origin string
	token        string
	rooms        []string
	watch        []string // rooms; an empty one: the channel
	since        string   // an offset
	resume       string   // a resume token
	remote       netip.AddrPort
	headers      map[string]string // for the channel's rule; nil: it does not ask
	late         bool              // the token comes as the first message
}

// refused is an answer in HTTP to an attempt.
type refused struct {
	status int
	detail string
}

// decide says who the client is and what it may do, or why it gets no WebSocket
// at all. A client that may not connect for a reason that its program can do
// something about is let in and closed with a code, because a browser cannot see
// why a handshake failed.
func (srv *Server) decide(a attempt) (*hello, *refused) {
	if err := errors.Join(checkRooms(a.rooms), checkRooms(slices.DeleteFunc(slices.Clone(a.watch), isEmpty))); err != nil {
		return nil, &refused{http.StatusBadRequest, err.Error()}
	}
	snap := srv.current.Load()
	if snap.channels[a.channel] != nil {
		if err := snap.verifier.Origin(a.channel, a.origin, a.host); err != nil {
			snap.channels[a.channel].refuseClient(err)
			return nil, &refused{http.StatusForbidden, err.Error()}
		}
	}
	resumes, err := srv.resumption(a.channel, a.since, a.resume)
	if err != nil {
		return nil, &refused{http.StatusBadRequest, err.Error()}
	}
	if why := srv.full(); why != "" {
		return nil, &refused{http.StatusServiceUnavailable, why}
	}
	if ch := snap.channels[a.channel]; a.late && ch != nil {
		if ch.greets() {
			return nil, &refused{http.StatusBadRequest, "auth=message cannot be had where a handler decides who connects: send the token with the handshake"}
		}
		return &hello{late: &a, rooms: a.rooms, watch: a.watch, remote: a.remote, resumes: resumes}, nil
	}
	h := srv.admit(snap, &a)
	h.rooms, h.watch, h.remote, h.resumes = a.rooms, a.watch, a.remote, resumes
	return h, nil
}

// Upgrade is the fast path: it completes a handshake that the acceptor has read,
// and hands the socket to a loop. What must be answered in HTTP it leaves alone.
func (srv *Server) Upgrade(c *acceptor.Conn) bool {
	r := c.Request
	if string(r.Path) == enginePath && bytes.Count(r.Query, []byte("&")) <= maxParameters {
		return srv.upgradeEngine(c)
	}
	name, ok := bytes.CutPrefix(r.Path, []byte("/ws/"))
	if !ok || bytes.IndexByte(name, '/') >= 0 || bytes.Count(r.Query, []byte("&")) > maxParameters {
		return false
	}
	if snap := srv.current.Load(); snap.asksHeaders(string(name)) {
		return false
	}
	a := attempt{channel: string(name), host: string(r.Host), origin: string(r.Origin), remote: srv.remoteOf(c)}
	var query url.Values
	if len(r.Query) > 0 {
		query, _ = url.ParseQuery(string(r.Query)) // what is malformed is left out, as net/http does
	}
	a.rooms, a.watch, a.since, a.resume = query["room"], query["watch"], query.Get("since"), query.Get("resume")
	a.token = token(string(r.Authorization), []string{string(r.Protocols)}, query)
	a.late = late(&a, query)
	h, no := srv.decide(a)
	if no != nil {
		return false
	}
	if !srv.adopt(c, offer{hello: h, deflate: h.deflates(), shard: srv.leastLoaded()}) {
		h.release()
	}
	return true
}

// remoteOf is who a handshake of the fast path is from.
func (srv *Server) remoteOf(c *acceptor.Conn) netip.AddrPort {
	if len(c.Request.Forwarded) == 0 {
		return c.Remote
	}
	return srv.current.Load().proxies.client(c.Remote, []string{string(c.Request.Forwarded)})
}

// offer is a client's connection and what is known of it, for a loop.
type offer struct {
	hello   any
	kind    loop.Kind
	deflate bool // if the client wants it, too
	shard   *shard
}

// adopt completes a handshake of the fast path and hands the socket to a loop. It
// reports whether the loop has taken it.
func (srv *Server) adopt(c *acceptor.Conn, o offer) bool {
	s := loop.Socket{FD: c.FD, Kind: o.kind, Early: bytes.Clone(c.Early)}
	a := upgrade.Answer{Key: c.Request.Key}
	if o.kind == loop.WebSocket && c.Request.Selects(plain.Subprotocol) {
		a.Protocol = plain.Subprotocol
	}
	if o.deflate && len(c.Request.Extensions) > 0 {
		a.Extensions, s.Deflate = deflate.Negotiate(string(c.Request.Extensions))
	}
	s.Answer = a.Append(make([]byte, 0, 256))
	return o.shard.loop.Adopt(s, o.hello)
}

// Room is how many more clients there are descriptors for.
func (srv *Server) Room() int {
	return int(srv.maxConns - srv.connections() - srv.handshakes.count.Load())
}

// serveWebSocket is the general path: handshakes that came in pieces, on a
// connection that was used before, or with anything in them that is unusual.
func (srv *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		problem(w, http.StatusUpgradeRequired, "this URL speaks WebSocket: connect with new WebSocket(url)")
		return
	}
	query := r.URL.Query()
	a := attempt{
		channel: r.PathValue("channel"), host: r.Host, origin: r.Header.Get("Origin"), rooms: query["room"], watch: query["watch"],
		since: query.Get("since"), resume: query.Get("resume"),
		token: token(r.Header.Get("Authorization"), r.Header.Values("Sec-Websocket-Protocol"), query),
	}
	srv.visit(&a, r)
	a.late = late(&a, query)
	h, no := srv.decide(a)
	if no != nil {
		if no.status == http.StatusServiceUnavailable {
			refuseFull(w, no.detail)
			return
		}
		problem(w, no.status, no.detail)
		return
	}
	srv.greetClient(w, r, h, a.token)
	if !srv.handOver(w, r, offer{hello: h, deflate: h.deflates(), shard: srv.leastLoaded()}) {
		h.release()
		srv.forgo(h.channel, h.greeting)
	}
}

// deflates reports whether the client may compress, and gets compressed messages.
func (h *hello) deflates() bool { return h.channel != nil && h.channel.Compression != nil }

func isEmpty(s string) bool { return s == "" }

func checkRooms(rooms []string) error {
	if len(rooms) > wire.MaxRooms {
		return errors.New("a session is in at most 100 rooms")
	}
	for _, room := range rooms {
		if err := wire.CheckRoom(room); err != nil {
			return err
		}
	}
	return nil
}

// visit notes where a request comes from and, if that matters, what else it says.
func (srv *Server) visit(a *attempt, r *http.Request) {
	a.remote = srv.clientOf(r)
	a.token = cmp.Or(a.token, srv.current.Load().channels[a.channel].cookieToken(r))
	if srv.current.Load().verifier.WantsHeaders(a.channel) {
		_, a.headers = describe(r)
	}
}

// admit decides whether a client may have a session, and counts it if so.
func (srv *Server) admit(snap *snapshot, a *attempt) *hello {
	ch := snap.channels[a.channel]
	client, err := snap.verifier.Client(a.channel, a.token)
	if err == nil {
		err = snap.verifier.MayConnect(a.channel, &client, auth.Visit{Remote: a.remote.Addr(), Headers: a.headers})
	}
	ch.refuseClient(err)
	var refused *auth.Error
	if errors.As(err, &refused) {
		return &hello{refusal: refusal{code: closeCode(refused.Code()), reason: refused.Error()}}
	}
	if err != nil {
		return &hello{refusal: refusal{code: wire.CloseUnauthorized, reason: wire.CloseUnauthorized.Reason()}}
	}
	if !ch.counters.take(ch.Limits.Connections) {
		ch.counters.refuse(refusedFull)
		return &hello{refusal: refusal{code: wire.CloseTryLater, reason: wire.CloseTryLater.Reason()}}
	}
	return &hello{channel: ch, client: client}
}

// release undoes admit for a connection that no loop has taken.
func (h *hello) release() {
	if h.channel != nil {
		h.channel.counters.connections.Add(-1)
	}
}

func closeCode(code string) wire.CloseCode {
	switch code {
	case auth.CodeUnknownChannel:
		return wire.CloseChannelGone
	case auth.CodeNotAllowed:
		return wire.CloseForbidden
	}
	return wire.CloseUnauthorized
}

// token finds the client's token: in the Authorization header, in a pseudo
// subprotocol, or in the query.
func token(authorization string, protocols []string, query url.Values) string {
	if scheme, t, ok := strings.Cut(authorization, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(t)
	}
	for _, h := range protocols {
		for p := range strings.SplitSeq(h, ",") {
			if t, ok := strings.CutPrefix(strings.TrimSpace(p), bearerProtocol); ok {
				return t
			}
		}
	}
	return query.Get("token")
}

// late reports whether the client will send its token as its first message.
func late(a *attempt, query url.Values) bool { return a.token == "" && query.Get("auth") == "message" }

// handOver completes the handshake and gives the socket to a loop. It reports
// whether a loop has taken it.
func (srv *Server) handOver(w http.ResponseWriter, r *http.Request, o offer) bool {
	s := loop.Socket{Kind: o.kind}
	up := ws.HTTPUpgrader{Timeout: handshakeTimeout, Header: http.Header{}}
	if o.kind == loop.WebSocket {
		up.Protocol = func(p string) bool { return p == plain.Subprotocol }
	}
	if o.deflate {
		var answer string
		if answer, s.Deflate = deflate.Negotiate(strings.Join(r.Header.Values("Sec-Websocket-Extensions"), ",")); s.Deflate {
			up.Header.Set("Sec-WebSocket-Extensions", answer)
		}
	}
	conn, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		// It has answered the request, where it could.
		if conn != nil {
			_ = conn.Close()
		}
		return false
	}
	if s.Early, err = unread(rw.Reader, conn); err != nil {
		_ = conn.Close()
		return false
	}
	if s.FD, err = loop.Detach(conn); err != nil {
		srv.log.Error("taking over a client's socket", "error", err)
		return false
	}
	return o.shard.loop.Adopt(s, o.hello)
}

// unread returns what the client sent behind its request and somebody has read
// already: they are the connection's first bytes.
func unread(buffer *bufio.Reader, conn net.Conn) ([]byte, error) {
	n := buffer.Buffered()
	if c, ok := conn.(interface{ Buffered() int }); ok {
		n += c.Buffered()
	}
	early := make([]byte, n)
	_, err := io.ReadFull(buffer, early)
	return early, err
}

// leastLoaded returns the shard with the fewest connections.
func (srv *Server) leastLoaded() *shard {
	best := srv.shards[0]
	for _, sh := range srv.shards[1:] {
		if sh.loop.Stats().Connections() < best.loop.Stats().Connections() {
			best = sh
		}
	}
	return best
}
