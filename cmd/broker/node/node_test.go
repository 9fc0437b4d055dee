// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

// run runs a node in this process until the test ends; result gets what Run
// returned.
func run(t *testing.T, c *Config) (n *Node, result chan error) {
	t.Helper()
	n, err := New(*c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	result = make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		result <- n.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return n, result
}

// freePort listens on nothing.
func freePort(t *testing.T) (string, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), l
}

// TestEnds: a server that can serve no more ends Run, so that the process is
// started anew.
func TestEnds(t *testing.T) {
	addr, l := freePort(t)
	one := func(c *Config) {
		alone(c)
		c.ClientsAddr, c.Log = addr, slog.New(slog.DiscardHandler)
	}
	t.Run("the port is taken", func(t *testing.T) {
		_, result := run(t, config(t, one))
		if err := <-result; err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("Run: %v", err)
		}
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("JetStream turns itself off", func(t *testing.T) {
		n, result := run(t, config(t, one))
		if !n.server.ReadyForConnections(time.Minute) {
			t.Fatal("it does not listen")
		}
		if err := n.ready(); err != nil {
			t.Fatal(err)
		}
		if err := n.server.DisableJetStream(); err != nil {
			t.Fatal(err)
		}
		if err := n.ready(); err == nil {
			t.Error("ready without JetStream")
		}
		if err := <-result; err == nil || !strings.Contains(err.Error(), "turned itself off") {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	taken, l := freePort(t)
	defer l.Close()
	for name, change := range map[string]func(*Config){
		"configuration": func(c *Config) { c.Name = "" },
		"secrets":       func(c *Config) { c.CredentialsDir = t.TempDir() },
		"address":       func(c *Config) { c.ClientsAddr = "4222" },
		"routes":        func(c *Config) { c.RoutesAddr = "6222" },
		"probes":        func(c *Config) { c.HealthAddr = taken },
	} {
		if _, err := New(*config(t, change)); err == nil {
			t.Errorf("%s: nothing was said", name)
		}
	}
}

func TestBehind(t *testing.T) {
	for name, c := range map[string]struct {
		follower follower
		want     bool
	}{
		"has all":        {follower{silence: time.Second}, false},
		"a few behind":   {follower{Follower: status.Follower{Lag: maxLag}}, false},
		"many behind":    {follower{Follower: status.Follower{Lag: maxLag + 1}}, true},
		"offline":        {follower{Follower: status.Follower{Offline: true}}, true},
		"silent":         {follower{silence: maxSilence + 1}, true},
		"not yet member": {follower{pending: true}, true},
	} {
		if c.follower.behind() != c.want {
			t.Errorf("%s: want %t", name, c.want)
		}
	}
}

// TestTimes: the parts of an orderly end fit into what is promised for it.
func TestTimes(t *testing.T) {
	const transfer, jetStream = time.Second, 10 * time.Second // in the server
	if sum := transfer + jetStream + closeClientsAfter + closeClientsOver; sum >= StopTimeout {
		t.Errorf("%s may be needed, %s is promised", sum, StopTimeout)
	}
}
