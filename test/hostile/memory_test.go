// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

const (
	memoryLimit = 128 // MiB that the process may have
	hoarders    = 48
	hoard       = 16 << 20 // bytes that each may have unsent: six times as many as there are
)

// TestMemory: clients that do not read may together have more unsent than there is
// memory. The server says that it is full, then closes the slowest, lets nobody in
// meanwhile, and is never not ready; when they have gone it takes newcomers again.
func TestMemory(t *testing.T) {
	t.Parallel()
	doc := document(time.Minute, time.Minute)
	doc.Pusher.Limits.MemoryPercent = 80
	for i := range doc.Channels {
		doc.Channels[i].SlowClients.BufferBytes = hoard
	}
	doc.Seal()
	s := start(t, doc, fmt.Sprintf("GOMEMLIMIT=%dMiB", memoryLimit))
	c, a := gather(t, s), &arena{T: t, server: s}
	defer a.leave()
	for i := range hoarders {
		r, err := a.join(fmt.Sprintf("/ws/recovery?room=%d", i))
		if err == nil {
			err = narrow(r.Conn)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	full, short, most := false, false, 0
	var over atomic.Bool
	var running sync.WaitGroup
	for publisher := range 4 {
		running.Go(func() {
			data := noise(60 << 10)
			for n := publisher; !over.Load(); n += 4 {
				body := fmt.Sprintf("{\"rooms\":[\"%d\"],\"data\":%q}", n%hoarders, data)
				_, err := s.answered(http.MethodPost, s.events+"/v1/channels/recovery/events", body, http.StatusOK,
					"Authorization: Bearer "+publisherToken, "Content-Type: application/json")
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	shed := within(2*time.Minute, func() bool {
		st := s.status(t)
		full, most = full || st.Full, max(most, s.resident(t))
		if _, err := s.answered(http.MethodGet, s.admin+"/readyz", "", http.StatusOK); err != nil {
			t.Error(err)
		}
		switch newcomer, err := a.upgrade("/ws/ticks"); {
		case err == nil:
			_ = newcomer.Close()
		case strings.Contains(err.Error(), "answered 503"):
			short = true
		default:
			t.Error(err)
		}
		return s.counted(t, "klaxon_clients_shed_total") >= hoarders/2 && short
	})
	over.Store(true)
	running.Wait()
	t.Logf("shed %v, resident at most %d MiB of %d, closed %v", shed, most, memoryLimit, s.counted(t, "klaxon_clients_shed_total"))
	if !shed || !full {
		t.Errorf("clients are shed: %v; newcomers are refused: %v; it says that it is full: %v", shed, short, full)
	}
	if most > memoryLimit+growth {
		t.Errorf("the process has taken %d MiB, it may take %d", most, memoryLimit)
	}
	a.leave()
	if !within(patience, func() bool { return !s.status(t).Full }) {
		t.Errorf("still full: %+v", s.status(t))
	}
	if _, err := a.join("/ws/ticks"); err != nil {
		t.Errorf("a newcomer afterwards: %v", err)
	}
	if faults := c.faults(); len(faults) > 0 {
		t.Errorf("witnesses: %q", faults)
	}
}

func (s *server) status(t *testing.T) (st settings.Status) {
	t.Helper()
	if err := s.ask("/status", func(r io.Reader) error { return json.NewDecoder(r).Decode(&st) }); err != nil {
		t.Fatal(err)
	}
	return st
}

// counted is a metric's value.
func (s *server) counted(t *testing.T, name string) (n float64) {
	t.Helper()
	if err := s.ask("/metrics", func(r io.Reader) (err error) {
		n, err = metric(r, name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
