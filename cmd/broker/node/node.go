// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// StopTimeout is the longest that Run goes on after its context has ended. It
	// takes one to six seconds when nothing is wrong: one to hand over what the
	// node leads, and up to four for its clients to leave one by one.
	StopTimeout = 20 * time.Second
	// closeClientsAfter is from the hint to clients to the first that is closed.
	closeClientsAfter = 500 * time.Millisecond
	// closeClientsOver is from the hint to the last that is closed, at most.
	closeClientsOver = 4 * time.Second
	// checkInterval is how often secrets are read again, and the server is asked
	// whether it still serves.
	checkInterval = time.Second
	// probeTime is how long the server may take to say whether it listens.
	probeTime = time.Millisecond
	// writeError is how the server words that it does not write to a stream, or to
	// the cluster's log, any more. It has no other way to say so.
	writeError = "write error"
)

// Node is one server with what belongs to it.
type Node struct {
	// Static.
	config  Config
	log     *slog.Logger
	server  *server.Server
	health  net.Listener
	metrics *metrics
	failed  chan error // has room for the first failure, which ends Run

	// Written by Run alone, read by all.
	secrets     atomic.Pointer[secrets]
	stopping    atomic.Bool
	reloadError atomic.Pointer[string]
}

// New checks the configuration, reads the secrets and listens for probes.
// Nothing else is started before Run.
func New(c Config) (*Node, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s, err := c.readSecrets()
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, log: c.Log, failed: make(chan error, 1)}
	if n.log == nil {
		n.log = slog.Default()
	}
	n.secrets.Store(s)
	opts, err := n.options(s)
	if err != nil {
		return nil, err
	}
	if n.server, err = server.NewServer(opts); err != nil {
		return nil, fmt.Errorf("make the server: %w", err)
	}
	debug := n.log.Enabled(context.Background(), slog.LevelDebug)
	n.server.SetLogger(&logger{log: n.log, fatal: n.fail}, debug, false)
	n.metrics = newMetrics(n)
	if n.health, err = net.Listen("tcp", c.HealthAddr); err != nil {
		return nil, fmt.Errorf("listen for probes: %w", err)
	}
	return n, nil
}

// options are the server's, with who may join as a node.
func (n *Node) options(s *secrets) (*server.Options, error) {
	o, err := n.config.options(s)
	if err != nil {
		return nil, err
	}
	o.CustomRouterAuthentication = routeAuth{n}
	return o, nil
}

// routeAuth lets nodes in by any of the current credentials. The server itself
// knows only one, which would make rotation an outage.
type routeAuth struct{ n *Node }

// Check implements server.Authentication.
func (a routeAuth) Check(c server.ClientAuthentication) bool {
	return a.n.secrets.Load().route(c.GetOpts().Username, c.GetOpts().Password)
}

// HealthAddr is where probes are answered.
func (n *Node) HealthAddr() string { return n.health.Addr().String() }

// Run serves until the context ends, or until the server can serve no more. It
// can be called once.
func (n *Node) Run(ctx context.Context) error {
	probes := &http.Server{Handler: n.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := probes.Serve(n.health); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("answer probes: %w", err))
		}
	}()
	defer func() { _ = probes.Close() }()
	n.log.Info("starting", "version", n.config.Version, "server", server.VERSION, "name", n.config.Name,
		"replicas", n.config.Replicas, "clients", n.config.ClientsAddr, "health", n.HealthAddr(), "store", n.config.Store)
	if n.config.TLSDir == "" {
		n.log.Warn("without --tls-dir everybody between clients and nodes can read along")
	}
	release, err := n.lock(ctx)
	if err != nil && ctx.Err() != nil {
		return nil // it has not started anything yet
	}
	if err != nil {
		return err
	}
	defer release()
	go n.server.Start() // takes as long as reading the store does

	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return n.stop()
		case err := <-n.failed:
			return errors.Join(err, n.stop())
		case <-tick.C:
			if n.listening() {
				n.checkServer()
				n.reload()
			}
		}
	}
}

// fail ends Run with the error, if none has before.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// listening reports whether the server listens for all that it should.
func (n *Node) listening() bool { return n.server.ReadyForConnections(probeTime) }

// checkServer fails when the server has given up on its disk. It then refuses
// writes to a stream, or turns JetStream off, for as long as it runs: only a
// restart brings it back, once there is room again.
func (n *Node) checkServer() {
	if !n.server.JetStreamEnabled() {
		n.fail(errors.New("JetStream turned itself off, see the log above: is the volume full, or broken?"))
	}
	if err := n.serverHealth(&server.HealthzOptions{}); err != nil && strings.Contains(err.Error(), writeError) {
		n.fail(fmt.Errorf("%w: is the volume full, or broken?", err))
	}
}

// stop hands over what the node leads, then sends clients away, then ends.
func (n *Node) stop() error {
	n.stopping.Store(true)
	n.log.Info("stopping")
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.server.LameDuckShutdown() // nothing, if it does not listen yet
		n.server.Shutdown()
		n.server.WaitForShutdown()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(StopTimeout):
		return fmt.Errorf("the server did not end within %s", StopTimeout)
	}
}

// reload uses what has changed in the directories of secrets. What is wrong
// changes nothing, and is said in the log, /status and metrics.
func (n *Node) reload() {
	old := n.secrets.Load()
	s, err := n.config.readSecrets()
	if err == nil && s.revision != old.revision {
		err = n.apply(old, s)
	}
	before := n.reloadError.Load()
	if err == nil {
		n.reloadError.Store(nil)
		return
	}
	if text := err.Error(); before == nil || *before != text {
		n.reloadError.Store(&text)
		n.metrics.reloadErrors.Inc()
		n.log.Error("changed secrets are not used", "error", text)
	}
}

// apply makes the server use the secrets.
func (n *Node) apply(old, s *secrets) error {
	opts, err := n.options(s)
	if err != nil {
		return err
	}
	n.secrets.Store(s) // first: nodes dial each other with the new ones at once
	if err := n.server.ReloadOptions(opts); err != nil {
		n.secrets.Store(old)
		return fmt.Errorf("use the changed secrets: %w", err)
	}
	n.log.Info("secrets changed", "clients", len(s.clients), "routes", len(s.routes), "revision", s.revision, "certificateEnds", s.certificateEnds())
	return nil
}
