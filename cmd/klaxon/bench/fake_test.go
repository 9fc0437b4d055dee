// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/events"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/load"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
)

// TestMain makes this executable a worker when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if err := load.Work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// The race detector would keep each worker for a second at its end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// fake is a push server that has faults. Clients connect to /ws/CHANNEL, events
// are published to /pub/CHANNEL.
type fake struct {
	*httptest.Server
	// fault returns what a client is sent in place of an event, all in frames of
	// their own. Nil: no fault.
	fault func(client int, m mark.Mark, event string) []string
	// greet talks to a client first.
	greet func(conn net.Conn, r *http.Request) error
	// refuse says which events are refused.
	refuse func(m mark.Mark) bool

	mu      sync.Mutex
	clients map[string][]net.Conn
}

const closeFrame = "close"

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{clients: map[string][]net.Conn{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/{ch}", f.join)
	mux.HandleFunc("POST /pub/{ch}", f.publish)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		f.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, all := range f.clients {
			for _, c := range all {
				_ = c.Close()
			}
		}
	})
	return f
}

func (f *fake) join(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	if f.greet != nil && f.greet(conn, r) != nil {
		_ = conn.Close()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = wsutil.WriteServerText(conn, []byte("welcome"))
	f.clients[r.PathValue("ch")] = append(f.clients[r.PathValue("ch")], conn)
}

func (f *fake) publish(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	m, _, ok := mark.Next(body)
	if err != nil || !ok || r.Header.Get("Authorization") != "Bearer p" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if f.refuse != nil && f.refuse(m) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"status":429,"detail":"slower, please"}`)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, conn := range f.clients[r.PathValue("ch")] {
		texts := []string{string(body)}
		if f.fault != nil {
			texts = f.fault(i, m, texts[0])
		}
		for _, text := range texts {
			if text == closeFrame {
				_ = wsutil.WriteServerMessage(conn, ws.OpClose, ws.NewCloseFrameBody(4008, "too slow"))
			} else {
				_ = wsutil.WriteServerText(conn, []byte(text))
			}
		}
	}
}

// plan connects 4 clients to each of 2 channels and publishes 20 events to each.
func (f *fake) plan() Plan {
	host := strings.TrimPrefix(f.URL, "http://")
	return Plan{
		Load: load.Config{
			URL: "ws://" + host + "/ws/c{ch}", Connections: 8, Channels: 2, Rooms: 1, Processes: 2, Parallel: 4, Timeout: time.Minute,
			Protocol: load.Protocol{Ready: "welcome", Gap: "gap "},
		},
		Publish: &events.Config{
			URL: f.URL + "/pub/c{ch}", Body: `{"seq":{seq},"data":"{data}"}`, Token: "p", Channels: 2, Rooms: 1, Mode: events.Request,
		},
		Phases: []Phase{{Kind: Rate, Rate: 200, For: 200 * time.Millisecond}},
		Worker: []string{os.Args[0], "worker"},
	}
}
