// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// defaultStuck is how long a loop may take over one turn before /healthz fails. It is
// long, because a process that is merely throttled must not be restarted.
const defaultStuck = 30 * time.Second

func (srv *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", srv.serveHealth)
	mux.HandleFunc("GET /readyz", srv.serveReady)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		if !srv.operator(r) {
			unauthorized(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(srv.Status()) // whoever asked may be gone
	})
	metrics := srv.metrics.handler()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !srv.current.Load().settings.Pusher.Admin.OpenMetrics && !srv.operator(r) {
			unauthorized(w)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	return mux
}

// serveHealth fails when a loop has not turned for too long: only a restart
// helps then. Being full, draining or misconfigured is no ill health.
func (srv *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	for i, sh := range srv.shards {
		if lag := sh.loop.Lag(); lag > srv.stuck && !srv.draining.Load() {
			http.Error(w, fmt.Sprintf("loop %d has not turned for %s", i, lag.Round(time.Second)), http.StatusServiceUnavailable)
			return
		}
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// serveReady answers 200 as long as the server serves. A broker that is away is
// said and no reason to leave: it is away for all replicas, whose clients would have
// nowhere to go.
func (srv *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if err := srv.broker.Healthy(); err != nil {
		_, _ = fmt.Fprintln(w, "ok, but the broker cannot be reached:", err)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// operator reports whether the request carries the admin credential, or none is needed.
func (srv *Server) operator(r *http.Request) bool {
	want := srv.current.Load().settings.Pusher.Admin.TokenSHA256
	if want == "" {
		return true
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(got[:])), []byte(want)) == 1
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="klaxon-admin"`)
	problem(w, http.StatusUnauthorized, "send the admin credential of this Pusher as a bearer token")
}

// Status says what is served now.
func (srv *Server) Status() settings.Status {
	snap := srv.current.Load()
	st := settings.Status{
		Revision: snap.settings.Revision, UnknownKeyIDs: snap.verifier.UnknownKeyIDs(), UnknownKeyURLs: snap.verifier.UnknownKeyURLs(),
		Draining: srv.leaving.Load(), Channels: make(map[string]settings.ChannelStatus, len(snap.channels)),
	}
	if e := srv.settingsError.Load(); e != nil {
		st.SettingsError = *e
	}
	srv.pressure.pressed(&st)
	for _, sh := range srv.shards {
		st.Connections += sh.loop.Stats().Connections()
	}
	for name, ch := range snap.channels {
		st.Channels[name] = settings.ChannelStatus{Revision: ch.Revision, Connections: ch.counters.connections.Load()}
	}
	return st
}
