// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// asProgram has the test's own binary be the push server.
const asProgram = "KLAXON_TEST_AS_PUSHER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// call is what a handler is told.
type call struct {
	ID, Type, Session, User, Event string
	Room                           string
	Number                         int
	Rooms                          []string
	Data                           json.RawMessage
	Recovered                      bool
	Reason                         string
}

// handler remembers what it is told.
type handler struct {
	url string

	mu    sync.Mutex
	calls []call
}

func startHandler(t *testing.T) *handler {
	h := &handler{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c call
		_ = json.NewDecoder(r.Body).Decode(&c)
		h.mu.Lock()
		h.calls = append(h.calls, c)
		h.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(c.Type, ".connected") && c.Recovered:
		case strings.HasSuffix(c.Type, ".connected"):
			_, _ = io.WriteString(w, `{"user":"ann","data":{"n":1},"join":["hall"]}`)
		case c.Event == "count":
			_, _ = io.WriteString(w, `{"data":{"n":2}}`)
		}
	}))
	t.Cleanup(srv.Close)
	h.url = srv.URL
	return h
}

// of returns the calls of a type, by session.
func (h *handler) of(typ string) map[string][]call {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string][]call{}
	for _, c := range h.calls {
		if c.Type == "dev.klaxon.client."+typ {
			out[c.Session] = append(out[c.Session], c)
		}
	}
	return out
}

// handledBy is document with a handler of everything.
func handledBy(natsURL string, h *handler) *settings.Settings {
	s := document(natsURL)
	for i := range s.Channels {
		s.Channels[i].Handlers = []settings.Handler{{
			Events: []string{"connect", "disconnect", "*"}, Rooms: []string{"game:*"}, URL: h.url, Timeout: settings.Duration(5 * time.Second), Concurrency: 100, Loopback: true,
		}}
	}
	s.Seal()
	return s
}

// startProgram runs a push server as a process of its own, which the test can kill.
func startProgram(t *testing.T, s *settings.Settings) (clients string, process *os.Process) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.json")
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	clients = l.Addr().String()
	_ = l.Close()
	cmd := exec.Command(os.Args[0], "--settings", path, "--clients-addr", clients, "--events-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "the program to listen", func() bool {
		conn, err := net.Dial("tcp", clients)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return clients, cmd.Process
}

// records is how many sessions are on record.
func records(t *testing.T, natsURL string) int {
	t.Helper()
	conn, err := nats.Connect(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := stream.KeyValue(t.Context(), "klaxon_shop_edge_sessions")
	if err != nil {
		return 0
	}
	keys, err := bucket.Keys(t.Context())
	if err != nil {
		return 0
	}
	return len(keys)
}

// TestFarewellsOfAKilledReplica: another one says, once for each session, that it has
// ended.
func TestFarewellsOfAKilledReplica(t *testing.T) {
	h := startHandler(t)
	s := handledBy(natsNode(t, natsOf(t)).ClientURL(), h)
	a, b := startReplicaWith(t, s, ""), startReplicaWith(t, s, "")
	address, process := startProgram(t, s)
	doomed := &replica{t: t, address: address}
	for range 5 {
		doomed.dial("/ws/orders").message("welcome")
		doomed.dial("/ws/short").message("welcome")
		c := doomed.dial("/socket.io/?EIO=4&transport=websocket")
		c.expect("0{")
		c.say("40/orders,")
		c.expect("40/orders,")
		c.say(`42/orders,1["count"]`)
		for c.text() != `43/orders,1[]` { // which also says that the session is on record
		}
	}
	gone := h.of("connected")
	for _, r := range []*replica{a, b} {
		r.dial("/ws/orders").message("welcome")
	}
	eventually(t, "replicas to know each other", func() bool { return a.sessions() == 12 && b.sessions() == 12 })
	eventually(t, "sessions to be on record", func() bool { return records(t, s.Pusher.NATS.URL) == len(gone)+2 })
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventuallyWithin(t, time.Minute, "farewells", func() bool { return len(h.of("disconnected")) >= len(gone) })
	told := h.of("disconnected")
	for id := range gone {
		calls := told[id]
		if len(calls) == 0 {
			t.Errorf("%s: no farewell", id)
			continue
		}
		want := `{"n":1}`
		if len(h.of("event")[id]) > 0 {
			want = `{"n":2}`
		}
		for _, c := range calls {
			if c.ID != calls[0].ID || c.User != "ann" || fmt.Sprint(c.Rooms) != "[hall]" || string(c.Data) != want {
				t.Errorf("%s: farewells %+v, data should be %s", id, calls, want)
			}
		}
		if len(calls) > 1 {
			t.Errorf("%s: %d farewells", id, len(calls))
		}
	}
	if len(told) != len(gone) {
		t.Errorf("%d farewells for %d sessions", len(told), len(gone))
	}
}

// rooms returns what was told of rooms, in order.
func (h *handler) rooms() (out []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		if c.Room != "" {
			out = append(out, fmt.Sprintf("%s %s %d", c.Room, strings.TrimPrefix(c.Type, "dev.klaxon.room."), c.Number))
		}
	}
	return out
}

// TestRoomsOverReplicas: a room is occupied while anybody is in it, wherever that is, and
// a replica that is killed is in no room.
func TestRoomsOverReplicas(t *testing.T) {
	h := startHandler(t)
	s := handledBy(natsNode(t, natsOf(t)).ClientURL(), h)
	a, b := startReplicaWith(t, s, ""), startReplicaWith(t, s, "")
	address, process := startProgram(t, s)
	doomed := &replica{t: t, address: address}
	want := func(limit time.Duration, calls ...string) {
		t.Helper()
		eventuallyWithin(t, limit, fmt.Sprint(calls), func() bool { return len(h.rooms()) >= len(calls) })
		if got := h.rooms(); fmt.Sprint(got) != fmt.Sprint(calls) {
			t.Fatalf("the handler was told %q, not %q", got, calls)
		}
	}
	on := a.dial("/ws/short?room=game:1")
	on.message("welcome")
	want(patience, "game:1 occupied 1")
	also := b.dial("/ws/short?room=game:1")
	also.message("welcome")
	_ = on.conn.Close()
	doomed.dial("/ws/short?room=game:2").message("welcome")
	want(patience, "game:1 occupied 1", "game:2 occupied 1")
	_ = also.conn.Close()
	want(patience, "game:1 occupied 1", "game:2 occupied 1", "game:1 vacated 2")
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	want(time.Minute, "game:1 occupied 1", "game:2 occupied 1", "game:1 vacated 2", "game:2 vacated 2")
}

// TestATalkMovesWithItsSession: what a handler has left with a session is there when the
// session has moved to another replica, and nobody takes it for gone.
func TestATalkMovesWithItsSession(t *testing.T) {
	h := startHandler(t)
	s := handledBy(natsNode(t, natsOf(t)).ClientURL(), h)
	a, b := startReplicaWith(t, s, ""), startReplicaWith(t, s, "")
	a.dial("/ws/orders").message("welcome")
	eventually(t, "replicas to know each other", func() bool { return b.sessions() == 1 })
	sid := a.engine()
	a.push(sid, "40/orders,")
	for packets := ""; !strings.Contains(packets, "40/orders,"); packets = a.poll(sid) {
	}
	a.push(sid, `42/orders,["count"]`)
	eventually(t, "the event", func() bool { return len(h.of("event")) == 1 })
	up := b.upgrade(sid)
	up.say("5")
	up.say(`42/orders,1["again"]`)
	for up.text() != `43/orders,1[]` {
	}
	for id, calls := range h.of("event") {
		if len(calls) != 2 || string(calls[1].Data) != `{"n":2}` || calls[1].User != "ann" || calls[0].ID == calls[1].ID {
			t.Errorf("%s: calls %+v", id, calls)
		}
	}
	_ = up.conn.Close()
	eventually(t, "the farewell", func() bool { return len(h.of("disconnected")) == 1 })
	if n := len(h.of("connected")); n != 2 {
		t.Errorf("%d clients have connected", n)
	}
}

// TestAHandlerIsToldOfARecoveredSession: it is the session that its client had, with what
// the handler has left with it.
func TestAHandlerIsToldOfARecoveredSession(t *testing.T) {
	h := startHandler(t)
	s := handledBy(natsNode(t, natsOf(t)).ClientURL(), h)
	a, b := startReplicaWith(t, s, ""), startReplicaWith(t, s, "")
	connect := func(r *replica, auth string) (*client, string, string) {
		c := r.dial("/socket.io/?EIO=4&transport=websocket")
		c.expect("0{")
		c.say("40/orders," + auth)
		return c, c.expect("40/orders,"), ""
	}
	c, was, _ := connect(a, "")
	var ids struct{ SID, PID string }
	if json.Unmarshal([]byte(was), &ids) != nil || ids.PID == "" {
		t.Fatalf("connected as %s", was)
	}
	at := strings.TrimSuffix(c.expect(`42/orders,["klaxon.offset","`), `"]`)
	c.say(`42/orders,1["count"]`)
	for c.text() != `43/orders,1[]` {
	}
	_ = c.conn.Close()
	eventually(t, "the farewell", func() bool { return len(h.of("disconnected")[ids.SID]) == 1 })
	offset := b.publish(1, `,"rooms":["hall"]`)
	next, now, _ := connect(b, fmt.Sprintf(`{"pid":%q,"offset":%q}`, ids.PID, at))
	if now != was {
		t.Fatalf("recovered as %s, was %s", now, was)
	}
	if got, want := next.packet(), fmt.Sprintf(`42/orders,["n",1,%q]`, offset); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	calls := h.of("connected")[ids.SID]
	if len(calls) != 2 || !calls[1].Recovered || string(calls[1].Data) != `{"n":2}` || fmt.Sprint(calls[1].Rooms) != "[hall]" || calls[0].ID == calls[1].ID {
		t.Errorf("the handler was told %+v", calls)
	}
	next.say(`42/orders,1["again"]`)
	for next.text() != `43/orders,1[]` {
	}
	if calls := h.of("event")[ids.SID]; len(calls) != 2 || string(calls[1].Data) != `{"n":2}` {
		t.Errorf("later calls are %+v", calls)
	}
	_ = next.conn.Close()
	eventually(t, "the second farewell", func() bool { return len(h.of("disconnected")[ids.SID]) == 2 })
	if calls := h.of("disconnected")[ids.SID]; calls[0].ID == calls[1].ID {
		t.Errorf("two farewells of one id: %+v", calls)
	}
	// What nothing is known of is a new session, which names the one before.
	_, other, _ := connect(b, fmt.Sprintf(`{"pid":%q,"offset":"nowhere.1"}`, ids.PID))
	if other == was {
		t.Errorf("recovered from nowhere as %s", other)
	}
}
