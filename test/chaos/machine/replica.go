// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Replica is a push server.
type Replica struct {
	process
	Clients, Events string // addresses of its listeners
	admin           string
	apart           *network // nil: it is on loopback
}

// replicas makes the push servers; they are not started.
func (m *Machine) replicas() error {
	path, err := m.settings()
	if err != nil {
		return err
	}
	for i := range m.config.Replicas {
		r := &Replica{process: process{name: fmt.Sprintf("pusher-%d", i)}}
		r.log = m.path("logs", r.name)
		host := loopback(20 + i)
		if m.apart != nil {
			host = m.apart.prefix + frontOurs
		}
		if err := freePorts(host, &r.Clients, &r.Events, &r.admin); err != nil {
			return err
		}
		if i == 0 && m.apart != nil {
			r.apart = m.apart
			r.Clients, r.Events, r.admin = m.apart.theirs(8080), m.apart.theirs(8081), m.apart.theirs(8082)
		}
		r.args = []string{
			filepath.Join(m.config.Bin, "pusher"), "--settings=" + path, "--clients-addr=" + r.Clients,
			"--events-addr=" + r.Events, "--admin-addr=" + r.admin, "--peer-addr=" + r.Clients, "--loops=2",
		}
		m.Replicas = append(m.Replicas, r)
	}
	return nil
}

// Name is the replica's.
func (r *Replica) Name() string { return r.name }

// Start runs it and waits until it is ready.
func (r *Replica) Start(ctx context.Context) error {
	start := r.start
	if r.apart != nil {
		inside := r.apart.inside(r.args...)
		start = func() error { return r.startAs(exec.Command(inside[0], inside[1:]...)) }
	}
	if err := start(); err != nil {
		return err
	}
	return until(ctx, r.name+" is ready", func() error {
		if err := r.Ended(); err != nil {
			return err
		}
		_, err := get(ctx, "http://"+r.admin+"/readyz")
		return err
	})
}

// Cut takes the link between the replica and the broker away, so that packets are
// lost without a word. Clients and other replicas still reach it.
func (r *Replica) Cut(ctx context.Context) error { return r.apart.set(ctx, "down") }

// Mend brings it back.
func (r *Replica) Mend(ctx context.Context) error { return r.apart.set(ctx, "up") }
