// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// Heartbeat is that of the Pusher: how long it may be silent, and its clients then.
const Heartbeat = 2 * time.Second

// drainPeriod is over how long a replica that ends moves its clients.
const drainPeriod = 5 * time.Second

const natsUser = "pusher"

// Config says what a Machine runs.
type Config struct {
	Bin      string // directory of the programs
	Dir      string // for all that is written
	Nodes    int    // of the broker: 1 or 3
	Memory   bool   // the broker keeps events in memory
	Replicas int    // of the Pusher
	// Apart has the first replica in a network of its own, so that its link to the
	// broker can be cut. Needs root.
	Apart    bool
	Channels []settings.Channel
}

// Machine is a Pusher and its broker.
type Machine struct {
	// Static.
	config       Config
	apart        *network // of the first replica; nil: everything is on loopback
	natsPassword string
	document     settings.Settings

	Nodes    []*Node
	Replicas []*Replica
	// Token is what publishers show.
	Token string
}

// Start runs everything and waits until all of it is ready. What it has started must
// be ended by Close.
func Start(ctx context.Context, c Config) (*Machine, error) {
	m := &Machine{config: c, natsPassword: secret(), Token: secret()}
	if err := m.start(ctx); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context) error {
	if m.config.Apart {
		var err error
		if m.apart, err = openNetwork(ctx); err != nil {
			return err
		}
	}
	if err := m.nodes(); err != nil {
		return err
	}
	for _, n := range m.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	if _, err := m.WaitWhole(ctx); err != nil {
		return err
	}
	if err := m.replicas(); err != nil {
		return err
	}
	for _, r := range m.Replicas {
		if err := r.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close ends everything.
func (m *Machine) Close() {
	for _, r := range m.Replicas {
		r.Kill()
	}
	for _, n := range m.Nodes {
		n.Kill()
	}
	if m.apart != nil {
		m.apart.close()
	}
}

// Ended says which processes have ended by themselves.
func (m *Machine) Ended() error {
	var errs []error
	for _, r := range m.Replicas {
		errs = append(errs, r.Ended())
	}
	for _, n := range m.Nodes {
		errs = append(errs, n.Ended())
	}
	return errors.Join(errs...)
}

// settings writes the document that all replicas read.
func (m *Machine) settings() (path string, err error) {
	token := sha256.Sum256([]byte(m.Token))
	for i := range m.config.Channels {
		m.config.Channels[i].Publishers.TokenSHA256 = []string{hex.EncodeToString(token[:])}
	}
	m.document = settings.Settings{
		Pusher: settings.Pusher{
			Namespace: "chaos", Name: "edge",
			Heartbeat:  settings.Heartbeat{Interval: settings.Duration(Heartbeat), Timeout: settings.Duration(Heartbeat)},
			Drain:      settings.Drain{Period: settings.Duration(drainPeriod), MaxPeriod: settings.Duration(time.Minute)},
			NATS:       &settings.NATS{URL: m.natsURL(), Replicas: m.config.Nodes, Memory: m.config.Memory, User: natsUser, Password: m.natsPassword},
			SessionKey: key(settings.SessionKeyBytes),
		},
		Channels: m.config.Channels,
	}
	m.document.Seal()
	if err := m.document.Validate(); err != nil {
		return "", err
	}
	b, err := json.Marshal(&m.document)
	if err != nil {
		return "", err
	}
	path = filepath.Join(m.config.Dir, "settings.json")
	return path, write(path, b)
}

// path is that of something in the directory.
func (m *Machine) path(parts ...string) string {
	p := filepath.Join(append([]string{m.config.Dir}, parts...)...)
	_ = os.MkdirAll(filepath.Dir(p), 0o700) // who writes there says what is wrong
	return p
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func key(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func secret() string { return hex.EncodeToString(key(24)) }

// loopback is an address of this program's own, so that nobody else's connection
// takes the port of a process that is about to be started again.
func loopback(n int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 64+pid>>8%128, pid&255, n)
}

// freePort finds a free port of a host.
func freePort(host string) (addr string, err error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("find a free port of %s: %w", host, err)
	}
	return l.Addr().String(), l.Close()
}

// freePorts finds a free port for each address.
func freePorts(host string, addrs ...*string) (err error) {
	for _, addr := range addrs {
		if *addr, err = freePort(host); err != nil {
			return err
		}
	}
	return nil
}
