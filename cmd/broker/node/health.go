// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats-server/v2/server"
)

// handler answers probes, /status and /metrics.
func (n *Node) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /startupz", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.started()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.ready()) })
	mux.Handle("GET /status", n.operatorOnly(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(n.Status()) // whoever asked may be gone
	}))
	mux.Handle("GET /metrics", n.operatorOnly(n.metrics.handler().ServeHTTP))
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// operatorOnly asks for the admin credential, if there is one.
func (n *Node) operatorOnly(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !n.secrets.Load().operator(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="klaxon-broker"`)
			http.Error(w, "send the admin credential of this broker as a bearer token", http.StatusUnauthorized)
			return
		}
		next(w, r)
	})
}

// started returns nil once the store is read and the server listens. It needs
// no other node, so that all can start at once.
func (n *Node) started() error {
	return n.serverHealth(&server.HealthzOptions{JSEnabledOnly: true})
}

// ready returns nil while the node knows a leader of the cluster and of each
// of its streams, and has all that they have.
func (n *Node) ready() error {
	if err := n.serverHealth(&server.HealthzOptions{}); err != nil || n.config.Replicas == 1 {
		return err
	}
	// The server calls a replica healthy that waits for an election.
	js, err := n.jetStream()
	if err != nil {
		return err
	}
	for s := range streams(js) {
		if s.Cluster != nil && s.Cluster.Leader == "" {
			return fmt.Errorf("stream %s has no leader", s.Name)
		}
	}
	return nil
}

// serverHealth asks the server, unless it is being stopped.
func (n *Node) serverHealth(opts *server.HealthzOptions) error {
	if n.stopping.Load() {
		return errors.New("stopping")
	}
	if !n.listening() {
		return errors.New("starting: the store is being read")
	}
	h := n.server.Healthz(opts)
	switch {
	case h.StatusCode == http.StatusOK:
		return nil
	case h.Error != "":
		return errors.New(h.Error)
	}
	return errors.New(h.Status)
}
