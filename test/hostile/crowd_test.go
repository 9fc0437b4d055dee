// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// period is the time from one tick to the next.
const period = 20 * time.Millisecond

// crowd is all witnesses, and who publishes to them.
type crowd struct {
	since     time.Time
	witnesses []*witness
	published atomic.Int64 // ticks
	refused   atomic.Pointer[string]
}

// gather connects witnesses and begins to publish, until the test ends.
func gather(t *testing.T, s *server) *crowd {
	t.Helper()
	c := &crowd{since: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	welcome := make(chan struct{}, 100)
	for _, kind := range []struct {
		name   string
		number int
		listen listen
	}{{"plain", 12, listenPlain}, {"stream", 4, listenEventStream}, {"socket.io", 3, listenSocketIO}, {"polling", 1, listenPolling}} {
		for i := range kind.number {
			w := &witness{name: fmt.Sprintf("%s %d", kind.name, i), since: c.since}
			c.witnesses = append(c.witnesses, w)
			running.Go(func() {
				if err := kind.listen(ctx, s, w, func() { welcome <- struct{}{} }); ctx.Err() == nil {
					w.fault("%v", err)
				}
			})
		}
	}
	timeout := time.After(patience)
	for range c.witnesses {
		select {
		case <-welcome:
		case <-timeout:
			t.Fatalf("witnesses do not connect: %v", c.faults())
		}
	}
	running.Go(func() {
		if err := c.publish(ctx, s); ctx.Err() == nil {
			why := err.Error()
			c.refused.Store(&why)
		}
	})
	return c
}

// publish makes ticks. What is late is made up for, and counts as late.
func (c *crowd) publish(ctx context.Context, s *server) error {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	begun := time.Since(c.since)
	for n := 1; ctx.Err() == nil; n++ {
		due := begun + time.Duration(n)*period
		time.Sleep(due - time.Since(c.since))
		body := fmt.Sprintf("{\"event\":\"tick\",\"id\":\"%d\",\"data\":{\"n\":%d,\"at\":%d}}", n, n, due.Nanoseconds())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.events+"/v1/channels/ticks/events", strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+publisherToken)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("tick %d: %w", n, err)
		}
		answer, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("tick %d is answered %s: %s", n, resp.Status, answer)
		}
		c.published.Store(int64(n))
	}
	return ctx.Err()
}

// faults is all that has gone wrong.
func (c *crowd) faults() (all []string) {
	if why := c.refused.Load(); why != nil {
		all = append(all, "the publisher: "+*why)
	}
	for _, w := range c.witnesses {
		w.mu.Lock()
		all = append(all, w.wrong...)
		w.mu.Unlock()
	}
	return all
}

// holds waits until everybody has what has been published, and fails the test if
// anything was lost, came twice or out of order.
func (c *crowd) holds(t *testing.T) (ticks int) {
	t.Helper()
	ticks = int(c.published.Load())
	ok := true
	if !within(patience, func() bool {
		return !slices.ContainsFunc(c.witnesses, func(w *witness) bool { return w.seen() < ticks })
	}) {
		for _, w := range c.witnesses {
			if n := w.seen(); n < ticks {
				t.Errorf("%s has %d of %d ticks", w.name, n, ticks)
				ok = false
			}
		}
	}
	for i, f := range c.faults() {
		if t.Errorf("%s", f); i == 10 {
			break
		}
		ok = false
	}
	if !ok {
		t.FailNow()
	}
	return ticks
}

// latencies of all witnesses.
type latencies struct {
	n                 int
	median, p99, most time.Duration
}

// between is what ticks took from one to another.
func (c *crowd) between(from, to int) latencies {
	var all []time.Duration
	for _, w := range c.witnesses {
		w.mu.Lock()
		all = append(all, w.took[min(from, len(w.took)):min(to, len(w.took))]...)
		w.mu.Unlock()
	}
	slices.Sort(all)
	if len(all) == 0 {
		return latencies{}
	}
	return latencies{len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)-1]}
}

// within waits for something.
func within(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
