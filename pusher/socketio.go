// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/acceptor"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire/engineio"
)

// enginePath is where Socket.IO clients look for a server.
const enginePath = "/socket.io/"

// engineError answers a request of Engine.IO that cannot be served.
func engineError(w http.ResponseWriter, code engineio.Code) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code.Status())
	_, _ = w.Write(code.JSON()) // the client may be gone; there is nobody else to tell
}

// serveEngine serves what Socket.IO clients ask for by HTTP, and their WebSockets.
func (srv *Server) serveEngine(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	permitted := srv.current.Load().verifier.SomeOrigin(origin, r.Host)
	if origin != "" {
		w.Header().Set("Vary", "Origin")
		if permitted {
			allow(w.Header(), origin)
		}
	}
	query := r.URL.Query()
	transport, sid := query.Get("transport"), query.Get("sid")
	upgrade := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	switch {
	case r.Method == http.MethodOptions && permitted:
		preflight(w, r, "GET, POST")
	case transport != "polling" && transport != "websocket":
		engineError(w, engineio.UnknownTransport)
	case !permitted:
		engineError(w, engineio.Forbidden)
	case sid != "":
		srv.serveSession(w, r, sid)
	case r.Method != http.MethodGet:
		engineError(w, engineio.BadHandshakeMethod)
	case query.Get("EIO") != strconv.Itoa(engineio.Version):
		engineError(w, engineio.UnsupportedVersion)
	case upgrade != (transport == "websocket"):
		engineError(w, engineio.BadRequest)
	default:
		if why := srv.full(); why != "" {
			refuseFull(w, why)
			return
		}
		h := &engineHello{said: said{origin: origin, host: r.Host, token: token(r.Header.Get("Authorization"), nil, query)}}
		if srv.current.Load().asks {
			h.said.query, h.said.headers = describe(r)
			h.said.cookies = srv.current.Load().cookieTokens(r)
		}
		h.remote = srv.clientOf(r)
		if upgrade {
			srv.handOver(w, r, offer{hello: h, deflate: srv.current.Load().deflate, kind: loop.Packets, shard: srv.leastLoaded()})
			return
		}
		srv.beginPolling(w, r, h)
	}
}

// beginPolling makes a session of a client that polls. Its handshake is its first
// poll.
func (srv *Server) beginPolling(w http.ResponseWriter, r *http.Request, h *engineHello) {
	p := newPoll()
	h.poll = p
	if !srv.leastLoaded().loop.Adopt(loop.Socket{FD: loop.NoSocket, Kind: loop.Packets}, h) {
		problem(w, http.StatusServiceUnavailable, "this push server ends")
		return
	}
	srv.awaitAnswer(w, r, p) // whoever has hung up before knows no id to come back with
}

// serveSession serves a request that names a session.
func (srv *Server) serveSession(w http.ResponseWriter, r *http.Request, sid string) {
	h, ok := srv.sids.find(sid)
	if ok && h.owner != srv.sids.owner {
		upgrade := r.URL.Query().Get("transport") == "websocket" && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
		if upgrade && srv.moveHere(w, r, sid, h.owner) || srv.forward(w, r, h.owner) {
			return
		}
	}
	if !ok || h.owner != srv.sids.owner || int(h.shard) >= len(srv.shards) {
		engineError(w, engineio.UnknownSession)
		return
	}
	websocket := r.URL.Query().Get("transport") == "websocket"
	switch {
	case websocket != strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		engineError(w, engineio.BadRequest)
	case websocket:
		sh := srv.shards[h.shard]
		lives := false
		if sh.do(func() { lives = sh.engineAt(h) != nil }); !lives {
			engineError(w, engineio.UnknownSession)
			return
		}
		srv.handOver(w, r, offer{hello: &probe{h}, deflate: srv.current.Load().deflate, kind: loop.Packets, shard: sh})
	case r.Method == http.MethodGet:
		srv.servePoll(w, r, h)
	case r.Method == http.MethodPost:
		srv.servePush(w, r, h)
	default:
		engineError(w, engineio.BadRequest)
	}
}

// upgradeEngine is the fast path for Socket.IO clients that begin with a WebSocket.
func (srv *Server) upgradeEngine(c *acceptor.Conn) bool {
	query, err := url.ParseQuery(string(c.Request.Query))
	snap := srv.current.Load()
	if err != nil || snap.asks || query.Get("transport") != "websocket" || query.Get("EIO") != strconv.Itoa(engineio.Version) || query.Has("sid") ||
		!snap.verifier.SomeOrigin(string(c.Request.Origin), string(c.Request.Host)) {
		return false
	}
	if srv.full() != "" {
		return false
	}
	h := &engineHello{
		said:   said{origin: string(c.Request.Origin), host: string(c.Request.Host), token: token(string(c.Request.Authorization), nil, query)},
		remote: srv.remoteOf(c),
	}
	srv.adopt(c, offer{hello: h, deflate: snap.deflate, kind: loop.Packets, shard: srv.leastLoaded()})
	return true
}

// forward passes a request on to the replica that has its session. It may wait there
// for as long as any poll.
func (srv *Server) forward(w http.ResponseWriter, r *http.Request, owner uint32) bool {
	peers := srv.peers()
	if peers == nil {
		return false
	}
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Time{}) != nil || control.SetWriteDeadline(time.Time{}) != nil {
		return false
	}
	srv.handshakes.entertain(r)
	return peers.Forward(w, r, owner)
}
