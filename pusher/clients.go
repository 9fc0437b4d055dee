// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// bearerProtocol is the prefix of a pseudo subprotocol that carries a token, for
// browsers, which can set no header. It is never selected.
const bearerProtocol = "bearer."

func (srv *Server) clientsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/{channel}", srv.serveWebSocket)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "connect a WebSocket to /ws/{channel}")
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

// serveWebSocket does the handshake and hands the socket over to a loop. A
// client that may not connect for a reason that its program can do something
// about is let in and closed with a code, because a browser cannot see why a
// handshake failed.
func (srv *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	snap := srv.current.Load()
	name := r.PathValue("channel")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		problem(w, http.StatusUpgradeRequired, "this URL speaks WebSocket: connect with new WebSocket(url)")
		return
	}
	rooms := r.URL.Query()["room"]
	if err := checkRooms(rooms); err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if snap.channels[name] != nil {
		if err := snap.verifier.Origin(name, r.Header.Get("Origin"), r.Host); err != nil {
			problem(w, http.StatusForbidden, err.Error())
			return
		}
	}
	if srv.draining.Load() || srv.connections() >= srv.maxConns {
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusServiceUnavailable, "this push server takes no more connections now")
		return
	}
	h := srv.admit(snap, name, token(r))
	h.rooms = rooms
	h.remote, _ = netip.ParseAddrPort(r.RemoteAddr) // as net/http writes it
	if !srv.handOver(w, r, h) {
		h.release()
	}
}

func checkRooms(rooms []string) error {
	if len(rooms) > wire.MaxRooms {
		return errors.New("a session is in at most 100 rooms")
	}
	for _, room := range rooms {
		if err := plain.CheckRoom(room); err != nil {
			return err
		}
	}
	return nil
}

// admit decides whether a client may have a session, and counts it if so.
func (srv *Server) admit(snap *snapshot, name, token string) *hello {
	ch := snap.channels[name]
	client, err := snap.client(ch, name, token)
	var refused *auth.Error
	if errors.As(err, &refused) {
		return &hello{refusal: refusal{closeCode(refused.Code()), refused.Error()}}
	}
	if err != nil {
		return &hello{refusal: refusal{wire.CloseUnauthorized, wire.CloseUnauthorized.Reason()}}
	}
	if ch.counters.connections.Add(1) > ch.Limits.Connections {
		ch.counters.connections.Add(-1)
		return &hello{refusal: refusal{wire.CloseTryLater, wire.CloseTryLater.Reason()}}
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
func token(r *http.Request) string {
	if scheme, t, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(t)
	}
	for _, h := range r.Header.Values("Sec-Websocket-Protocol") {
		for p := range strings.SplitSeq(h, ",") {
			if t, ok := strings.CutPrefix(strings.TrimSpace(p), bearerProtocol); ok {
				return t
			}
		}
	}
	return r.URL.Query().Get("token")
}

// handOver completes the handshake and gives the socket to the loop with the
// fewest connections. It reports whether a loop has taken it.
func (srv *Server) handOver(w http.ResponseWriter, r *http.Request, h *hello) bool {
	up := ws.HTTPUpgrader{Timeout: handshakeTimeout, Protocol: func(p string) bool { return p == plain.Subprotocol }}
	conn, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		// It has answered the request, where it could.
		if conn != nil {
			_ = conn.Close()
		}
		return false
	}
	// Bytes that came in the same segment as the request are the connection's first.
	early, err := io.ReadAll(io.LimitReader(rw.Reader, int64(rw.Reader.Buffered())))
	if err != nil {
		_ = conn.Close()
		return false
	}
	fd, err := loop.Detach(conn)
	if err != nil {
		srv.log.Error("taking over a client's socket", "error", err)
		return false
	}
	best := srv.shards[0]
	for _, sh := range srv.shards[1:] {
		if sh.loop.Stats().Connections() < best.loop.Stats().Connections() {
			best = sh
		}
	}
	return best.loop.Adopt(fd, early, h)
}
