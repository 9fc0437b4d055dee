// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// patience is how long the tests wait for what takes milliseconds on an idle machine.
	patience = 15 * time.Second
	// siege is how long an attack lasts at least.
	siege = 1200 * time.Millisecond
	// worstP99 is what 99 of 100 ticks must not exceed under any attack.
	worstP99 = 2 * time.Second
	// recovery is how long it may take after an attack until nothing is left of it.
	recovery = 12 * time.Second
	// Spare is how many more there may be then: connections of the test's own that
	// are kept, and workers of the runtime.
	spareDescriptors, spareGoroutines = 4, 8
	// growth is how many MiB of memory all attacks together may leave behind.
	growth = 48
)

// arena is where one attack takes place.
type arena struct {
	*testing.T
	*server

	mu   sync.Mutex
	open []net.Conn
}

// connect opens a connection, which is closed when the attack is over.
func (a *arena) connect(addr string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.open = append(a.open, c)
	a.mu.Unlock()
	return c, nil
}

// leave ends all connections.
func (a *arena) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.open {
		_ = c.Close()
	}
	a.open = nil
}

// all does something n times at once, and reports what goes wrong.
func (a *arena) all(n int, do func(i int) error) {
	a.Helper()
	errs := make(chan error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			if err := do(i); err != nil {
				errs <- fmt.Errorf("attacker %d: %w", i, err)
			}
		})
	}
	running.Wait()
	close(errs)
	shown := 0
	for err := range errs {
		if a.Error(err); shown == 5 {
			break
		}
		shown++
	}
}

// besiege repeats something until the time of an attack is over.
func besiege(do func() error) error {
	for end := time.Now().Add(siege); time.Now().Before(end); {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// row is what an attack did to witnesses.
type row struct {
	name      string
	latencies latencies
	recovered time.Duration
	resident  int // MiB
	logged    int // bytes
}

// attack is a way to do harm.
type attack struct {
	name string
	run  func(a *arena)
}

// suffer runs an attack and looks what is left of it.
func (a attack) suffer(t *testing.T, s *server, c *crowd) row {
	before, err := s.footprint()
	if err != nil {
		t.Fatal(err)
	}
	logged := s.logged()
	from := c.holds(t)
	here := &arena{T: t, server: s}
	defer here.leave()
	begun := time.Now()
	a.run(here)
	time.Sleep(siege - time.Since(begun)) // so that there are witnesses' ticks enough
	to := c.holds(t)
	here.leave()
	over := time.Now()
	var now footprint
	if !within(recovery, func() bool {
		now, err = s.footprint()
		return err == nil && now.descriptors <= before.descriptors+spareDescriptors && now.goroutines <= before.goroutines+spareGoroutines &&
			now.connections == before.connections && now.sessions == before.sessions
	}) {
		t.Errorf("after %s: %+v, before the attack %+v (%v)", recovery, now, before, err)
	}
	r := row{name: a.name, latencies: c.between(from, to), recovered: time.Since(over), resident: s.resident(t), logged: s.logged() - logged}
	c.holds(t)
	if r.latencies.p99 > worstP99 {
		t.Errorf("the 99th percentile of witnesses' latency is %s", r.latencies.p99)
	}
	t.Logf("%+v", r)
	return r
}

// table shows rows for people.
func table(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-52s %8s %10s %10s %10s %10s %8s %8s\n", "", "events", "median", "p99", "most", "recovered", "RSS MiB", "log B")
	for _, r := range rows {
		l := r.latencies
		fmt.Fprintf(&b, "%-52s %8d %10s %10s %10s %10s %8d %8d\n", r.name, l.n, l.median.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond),
			l.most.Round(10*time.Microsecond), r.recovered.Round(time.Millisecond), r.resident, r.logged)
	}
	return b.String()
}
