// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// interval is how often a replica says that it is there.
	interval = 2 * time.Second
	// patience is how long a silent replica is taken to be there.
	patience = 4 * interval
)

// Config says who this replica is.
type Config struct {
	// Conn is a connection to NATS, which the Mesh does not close.
	Conn *nats.Conn
	// Prefix of the subjects: theirs alone.
	Prefix string
	// ID tells the replicas apart.
	ID uint32
	// Address is where the others reach this replica's clients listener, host:port.
	Address string
	// Log may be nil.
	Log *slog.Logger
}

// Mesh is one replica's view of all.
type Mesh struct {
	// Static.
	config Config
	proxy  *httputil.ReverseProxy
	done   chan struct{}
	tasks  sync.WaitGroup
	subs   []*nats.Subscription

	// Guarded by mu.
	mu     sync.Mutex
	others map[uint32]peer
	answer func(question []byte) [][]byte
}

// peer is another replica.
type peer struct {
	address string
	until   time.Time
}

// hello is what a replica says of itself.
type hello struct {
	ID      uint32 `json:"id"`
	Address string `json:"address"`
	// Bye: it ends. Ask: others should say who they are.
	Bye bool `json:"bye,omitempty"`
	Ask bool `json:"ask,omitempty"`
}

// Join makes a replica known to the others.
func Join(c Config) (*Mesh, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	m := &Mesh{config: c, done: make(chan struct{}), others: map[uint32]peer{}}
	m.proxy = m.newProxy()
	for subject, handle := range map[string]nats.MsgHandler{
		c.Prefix + ".hello": m.heard,
		c.Prefix + ".ask":   m.asked,
		m.own(c.ID):         m.asked,
	} {
		s, err := c.Conn.Subscribe(subject, handle)
		if err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
		m.subs = append(m.subs, s)
	}
	m.say(hello{Ask: true})
	m.tasks.Go(m.beat)
	return m, nil
}

// Serve has questions of others answered by answer, which may be called for
// several at the same time. An answer has several parts, each of at most 512 KiB.
func (m *Mesh) Serve(answer func(question []byte) [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = answer
}

// Close says goodbye.
func (m *Mesh) Close() {
	close(m.done)
	m.tasks.Wait()
	m.say(hello{Bye: true})
	for _, s := range m.subs {
		_ = s.Unsubscribe() // the connection may be gone
	}
	_ = m.config.Conn.FlushTimeout(time.Second) // as above
}

func (m *Mesh) beat() {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-m.done:
			return
		case <-tick.C:
			m.say(hello{})
		}
	}
}

func (m *Mesh) say(h hello) {
	h.ID, h.Address = m.config.ID, m.config.Address
	b, err := json.Marshal(h)
	if err != nil {
		panic("peers: " + err.Error())
	}
	_ = m.config.Conn.Publish(m.config.Prefix+".hello", b) // said again soon
}

// heard takes what another replica says of itself.
func (m *Mesh) heard(msg *nats.Msg) {
	var h hello
	if json.Unmarshal(msg.Data, &h) != nil || h.ID == m.config.ID {
		return
	}
	m.mu.Lock()
	if h.Bye {
		delete(m.others, h.ID)
	} else {
		m.others[h.ID] = peer{h.Address, time.Now().Add(patience)}
	}
	m.mu.Unlock()
	if h.Ask {
		m.say(hello{})
	}
}

// find returns where a replica is.
func (m *Mesh) find(id uint32) (address string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.others[id]
	return p.address, ok && time.Now().Before(p.until)
}

// Present returns the ids of the others that are there, and forgets who is gone: who
// has said goodbye, or nothing for eight seconds.
func (m *Mesh) Present() map[uint32]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := make(map[uint32]bool, len(m.others))
	for id, p := range m.others {
		if time.Now().After(p.until) {
			delete(m.others, id)
			continue
		}
		ids[id] = true
	}
	return ids
}
