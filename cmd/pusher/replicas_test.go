// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/klaxon-dev/klaxon/pusher"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// patience is how long anything may take.
const patience = 20 * time.Second

// natsNode starts a NATS node and ends it with the test. Started again with the same
// options it has the same address.
func natsNode(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	addr, _ := s.Addr().(*net.TCPAddr)
	o.Port = addr.Port
	return s
}

func natsOf(t *testing.T) *server.Options {
	t.Helper()
	dir := t.TempDir()
	return &server.Options{
		ServerName: filepath.Base(dir), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	}
}

func document(natsURL string) *settings.Settings {
	s := &settings.Settings{
		Pusher: settings.Pusher{
			Namespace: "shop", Name: "edge", OpenPublishing: true,
			Heartbeat:  settings.Heartbeat{Interval: settings.Duration(time.Minute), Timeout: settings.Duration(time.Minute)},
			Drain:      settings.Drain{Period: settings.Duration(time.Second), MaxPeriod: settings.Duration(time.Minute)},
			NATS:       &settings.NATS{URL: natsURL, Replicas: 1},
			SessionKey: []byte("0123456789abcdef0123456789abcdef"),
		},
		Channels: []settings.Channel{{
			Name: "orders", UID: "3f1c", Clients: settings.Clients{Anonymous: true},
			Limits:      settings.Limits{EventBytes: 64 << 10, Connections: 1000},
			SlowClients: settings.SlowClients{BufferBytes: 256 << 10, Policy: settings.Disconnect},
			History:     settings.History{Size: 10_000, TTL: settings.Duration(time.Hour), Bytes: 64 << 20},
			SocketIO:    settings.SocketIO{Namespace: "/orders", Recovery: true},
			Presence:    true,
		}, {
			Name: "short", UID: "77aa", Clients: settings.Clients{Anonymous: true},
			Limits:      settings.Limits{EventBytes: 64 << 10, Connections: 1000},
			SlowClients: settings.SlowClients{BufferBytes: 256 << 10, Policy: settings.Disconnect},
			SocketIO:    settings.SocketIO{Namespace: "/short"},
		}},
	}
	s.Seal()
	return s
}

// replica is one push server of several.
type replica struct {
	*pusher.Server
	t       *testing.T
	address string // of a program's clients listener; empty: the Server's
}

func startReplica(t *testing.T, natsURL string) *replica {
	t.Helper()
	return startReplicaAt(t, natsURL, "")
}

func startReplicaAt(t *testing.T, natsURL, address string) *replica {
	t.Helper()
	return startReplicaWith(t, document(natsURL), address)
}

func startReplicaWith(t *testing.T, s *settings.Settings, address string) *replica {
	t.Helper()
	// The others must know where it listens before it does.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	config := pusher.Config{ClientsAddr: addr, EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Loops: 2, Log: slog.New(slog.DiscardHandler)}
	goodbye, err := overNATS(&config, &s.Pusher, address)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := pusher.New(config, s)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Drain(); goodbye() })
	return &replica{Server: srv, t: t}
}

func startReplicas(t *testing.T, natsURL string, n int) (all []*replica) {
	t.Helper()
	for range n {
		all = append(all, startReplica(t, natsURL))
	}
	var clients []*client
	for _, r := range all {
		clients = append(clients, r.dial("/ws/orders"))
	}
	for _, r := range all { // until each knows all others
		eventually(t, "replicas to know each other", func() bool { return r.sessions() == n })
	}
	for _, c := range clients {
		_ = c.conn.Close()
	}
	eventually(t, "clients to have gone", func() bool { return all[0].sessions() == 0 })
	return all
}

// sessions is how many there are, over all replicas.
func (r *replica) sessions() int {
	r.t.Helper()
	var list struct{ Total int }
	status, body := r.http(http.MethodGet, "/v1/channels/orders/sessions", "")
	if status != http.StatusOK || json.Unmarshal([]byte(body), &list) != nil {
		r.t.Fatalf("sessions: %d %s", status, body)
	}
	return list.Total
}

// connections is how many clients this replica has.
func (r *replica) connections() (n int) {
	r.t.Helper()
	resp, err := http.Get("http://" + r.AdminAddr().String() + "/status")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var status settings.Status
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		r.t.Fatal(err)
	}
	return int(status.Connections)
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	eventuallyWithin(t, patience, what, check)
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, check func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// http asks the events listener.
func (r *replica) http(method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+r.EventsAddr().String()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func (r *replica) publish(n int, address string) (offset string) {
	r.t.Helper()
	var answer struct{ Offset string }
	status, body := r.http(http.MethodPost, "/v1/channels/orders/events", fmt.Sprintf(`{"event":"n","data":%d%s}`, n, address))
	if status != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil {
		r.t.Fatalf("publish answered %d %s", status, body)
	}
	return answer.Offset
}

// client is a WebSocket, plain or of Socket.IO.
type client struct {
	t    *testing.T
	conn net.Conn
	r    io.Reader
}

func (r *replica) dial(path string) *client {
	r.t.Helper()
	d := ws.Dialer{Timeout: patience}
	address := r.address
	if address == "" {
		address = r.ClientsAddr().String()
	}
	conn, br, _, err := d.Dial(context.Background(), "ws://"+address+path)
	if err != nil {
		r.t.Fatalf("connect to %s: %v", path, err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	c := &client{r.t, conn, conn}
	if br != nil {
		c.r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	return c
}

func (c *client) text() string {
	c.t.Helper()
	for {
		f, err := ws.ReadFrame(c.r)
		if err != nil {
			c.t.Fatalf("read: %v", err)
		}
		if f.Header.OpCode == ws.OpText {
			return string(f.Payload)
		}
		if f.Header.OpCode == ws.OpClose {
			code, reason := ws.ParseCloseFrameData(f.Payload)
			return fmt.Sprintf("close %d %s", code, reason)
		}
	}
}

func (c *client) say(msg string) {
	c.t.Helper()
	if err := ws.WriteFrame(c.conn, ws.MaskFrame(ws.NewTextFrame([]byte(msg)))); err != nil {
		c.t.Fatal(err)
	}
}

type message struct {
	Type, Session, Offset, Resume string
	Recovered                     *bool
	Data                          int
	SessionCount                  int
}

func (c *client) message(typ string) (m message) {
	c.t.Helper()
	text := c.text()
	if json.Unmarshal([]byte(text), &m) != nil || m.Type != typ {
		c.t.Fatalf("got %s, want a message of type %s", text, typ)
	}
	return m
}

func (c *client) wantEvents(want ...int) {
	c.t.Helper()
	for _, w := range want {
		if m := c.message("event"); m.Data != w {
			c.t.Fatalf("got event %d, want %d", m.Data, w)
		}
	}
}

func (c *client) expect(prefix string) string {
	c.t.Helper()
	text := c.text()
	if !strings.HasPrefix(text, prefix) {
		c.t.Fatalf("got %s, want %s…", text, prefix)
	}
	return text[len(prefix):]
}

// packet is the next one that does not only tell where the client is.
func (c *client) packet() string {
	c.t.Helper()
	for {
		if text := c.text(); !strings.HasPrefix(text, `42/orders,["klaxon.offset"`) {
			return text
		}
	}
}

func TestReplicasBehaveAsOne(t *testing.T) {
	o := natsOf(t)
	all := startReplicas(t, natsNode(t, o).ClientURL(), 3)
	var clients []*client
	var sessions []string
	for _, r := range all {
		c := r.dial("/ws/orders?room=a")
		clients, sessions = append(clients, c), append(sessions, c.message("welcome").Session)
	}
	var offsets []string
	for n := range 9 {
		offsets = append(offsets, all[n%3].publish(n, ""))
	}
	for _, c := range clients {
		c.wantEvents(0, 1, 2, 3, 4, 5, 6, 7, 8)
	}
	// Rooms, users and sessions are reached wherever they are, and whoever is asked.
	all[0].publish(9, fmt.Sprintf(`,"sessions":[%q]`, sessions[2]))
	all[1].publish(10, `,"rooms":["a"]`)
	clients[2].wantEvents(9, 10)
	clients[0].wantEvents(10)
	// Whoever comes back does so to any replica.
	for _, r := range all {
		c := r.dial("/ws/orders?since=" + offsets[5])
		if w := c.message("welcome"); w.Recovered == nil || !*w.Recovered || w.Offset != offsets[5] {
			t.Errorf("welcome: %+v", w)
		}
		c.wantEvents(6, 7, 8)
	}
	for _, r := range all {
		if n := r.sessions(); n != 6 {
			t.Errorf("%d sessions", n)
		}
		_, body := r.http(http.MethodGet, "/v1/channels/orders/events?since="+offsets[7], "")
		if !strings.Contains(body, offsets[8]) || strings.Contains(body, offsets[6]) {
			t.Errorf("events: %s", body)
		}
	}
	if status, body := all[0].http(http.MethodPost, "/v1/channels/orders/sessions/"+sessions[2]+"/rooms", `{"join":["c"],"leave":["a"]}`); status != http.StatusOK || !strings.Contains(body, `"rooms":["c"]`) {
		t.Errorf("rooms answered %d %s", status, body)
	}
	clients[2].message("rooms")
	all[1].publish(11, `,"rooms":["c"]`)
	clients[2].wantEvents(11)
	if status, body := all[0].http(http.MethodDelete, "/v1/channels/orders/sessions/"+sessions[1], ""); status != http.StatusNoContent {
		t.Errorf("disconnect answered %d %s", status, body)
	}
	clients[1].wantEvents(10)
	clients[1].expect("close 4010")
	if status, _ := all[2].http(http.MethodDelete, "/v1/channels/orders/sessions/"+sessions[1], ""); status != http.StatusNotFound {
		t.Errorf("disconnect of a session that has gone answered %d", status)
	}
}

func TestPresenceOverReplicas(t *testing.T) {
	all := startReplicas(t, natsNode(t, natsOf(t)).ClientURL(), 3)
	c := all[0].dial("/ws/orders?watch=")
	c.message("welcome")
	if m := c.message("presence"); m.SessionCount != 1 {
		t.Errorf("first told %+v", m)
	}
	all[1].dial("/ws/orders").message("welcome")
	elsewhere := all[1].dial("/ws/orders?watch=")
	elsewhere.message("welcome")
	if m := elsewhere.message("presence"); m.SessionCount != 3 {
		t.Errorf("told elsewhere %+v", m)
	}
	if m := c.message("presence"); m.SessionCount != 3 {
		t.Errorf("then told %+v", m)
	}
	for i, r := range all {
		if status, body := r.http(http.MethodGet, "/v1/channels/orders/presence", ""); status != http.StatusOK || !strings.Contains(body, `"sessionCount":3}`) {
			t.Errorf("replica %d is asked: %d %s", i, status, body)
		}
	}
	go all[1].Drain()
	if m := c.message("presence"); m.SessionCount != 1 {
		t.Errorf("at the end told %+v", m)
	}
}

// TestASocketIsRecoveredElsewhere: by a replica that knows nothing of it, from one
// that takes its connection for alive, from one that remembers it, and from one that
// has ended.
func TestASocketIsRecoveredElsewhere(t *testing.T) {
	o := natsOf(t)
	all := startReplicas(t, natsNode(t, o).ClientURL(), 3)
	connect := func(r *replica, auth string) (*client, string) {
		c := r.dial("/socket.io/?EIO=4&transport=websocket")
		c.expect("0{")
		c.say("40/orders," + auth)
		return c, c.expect("40/orders,")
	}
	c, was := connect(all[0], "")
	var ids struct{ SID, PID string }
	if json.Unmarshal([]byte(was), &ids) != nil || ids.PID == "" {
		t.Fatalf("connected as %s", was)
	}
	begin := c.expect(`42/orders,["klaxon.offset","`)
	at := strings.TrimSuffix(begin, `"]`)
	c.say(`42/orders,1["join","a"]`)
	c.expect("43/orders,1[")
	c.expect(`42/orders,["klaxon.offset"`)
	move := func(to *replica, n int) {
		t.Helper()
		all[2].publish(n, `,"rooms":["b"]`)
		offset := all[2].publish(n+1, `,"rooms":["a"]`)
		next, now := connect(to, fmt.Sprintf(`{"pid":%q,"offset":%q}`, ids.PID, at))
		if now != was {
			t.Fatalf("recovered as %s, was %s", now, was)
		}
		if got, want := next.text(), fmt.Sprintf(`42/orders,["n",%d,%q]`, n+1, offset); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		c, at = next, offset
	}
	move(all[1], 1) // all[0] takes it for alive
	_ = c.conn.Close()
	move(all[0], 3) // all[1] knows that it has gone, or not yet
	all[0].Drain()
	move(all[2], 5)
	all[0] = nil
}

// engine is a client that polls.
func (r *replica) engine() (sid string) {
	r.t.Helper()
	var open struct{ SID string }
	if text := r.poll(""); json.Unmarshal([]byte(text[1:]), &open) != nil {
		r.t.Fatalf("handshake: %s", text)
	}
	return "&sid=" + open.SID
}

func (r *replica) poll(sid string) string {
	r.t.Helper()
	resp, err := http.Get("http://" + r.ClientsAddr().String() + "/socket.io/?EIO=4&transport=polling" + sid)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func (r *replica) push(sid, packets string) {
	r.t.Helper()
	resp, err := http.Post("http://"+r.ClientsAddr().String()+"/socket.io/?EIO=4&transport=polling"+sid, "text/plain", strings.NewReader(packets))
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

// upgrade goes on with a WebSocket.
func (r *replica) upgrade(sid string) *client {
	r.t.Helper()
	up := r.dial("/socket.io/?EIO=4&transport=websocket" + sid)
	up.say("2probe")
	up.expect("3probe")
	if got := r.poll(sid); got != "6" {
		r.t.Fatalf("a poll while the client wants to stop is answered %s", got)
	}
	return up
}

// TestASessionThatCannotMove is served where it is: nothing is kept that it might miss
// on the way.
func TestASessionThatCannotMove(t *testing.T) {
	all := startReplicas(t, natsNode(t, natsOf(t)).ClientURL(), 2)
	sid := all[0].engine()
	all[1].push(sid, "40/short,")
	if got := all[1].poll(sid); !strings.HasPrefix(got, `40/short,{"sid":"`) {
		t.Fatalf("CONNECT is answered %s", got)
	}
	up := all[1].upgrade(sid)
	up.say("5")
	up.say(`42/short,1["join","a"]`)
	up.expect(`43/short,1[{"rooms":["a"]`)
	if a, b := all[0].connections(), all[1].connections(); a != 1 || b != 0 {
		t.Errorf("there are %d connections where it is, and %d where its WebSocket is", a, b)
	}
}

// TestAWatchMovesWithItsSession: the client is told anew who is there, and then of
// changes.
func TestAWatchMovesWithItsSession(t *testing.T) {
	all := startReplicas(t, natsNode(t, natsOf(t)).ClientURL(), 2)
	sid := all[0].engine()
	all[0].push(sid, "40/orders,\x1e42/orders,[\"watch\"]")
	var told string
	eventually(t, "presence to be told", func() bool {
		told += all[0].poll(sid)
		return strings.Contains(told, `42/orders,["klaxon.presence",{"users":[],"userCount":0,"sessionCount":1}]`)
	})
	up := all[1].upgrade(sid)
	up.say("5")
	for _, want := range []string{"1", "2"} {
		if got := up.packet(); !strings.HasPrefix(got, `42/orders,["klaxon.presence",{`) || !strings.HasSuffix(got, `"sessionCount":`+want+`}]`) {
			t.Fatalf("got %s", got)
		}
		all[0].dial("/ws/orders").message("welcome")
	}
}

// TestUpgradesThatGoWrong leave a session that goes on polling where it is.
func TestUpgradesThatGoWrong(t *testing.T) {
	all := startReplicas(t, natsNode(t, natsOf(t)).ClientURL(), 2)
	for name, spoil := range map[string]func(sid string){
		"the WebSocket goes before it probes": func(sid string) {
			_ = all[1].dial("/socket.io/?EIO=4&transport=websocket" + sid).conn.Close()
		},
		"it goes when it has probed": func(sid string) { _ = all[1].upgrade(sid).conn.Close() },
		"it says something else": func(sid string) {
			up := all[1].dial("/socket.io/?EIO=4&transport=websocket" + sid)
			up.say("40/orders,")
			up.expect("close 1002")
		},
		"it takes over without having probed": func(sid string) {
			up := all[1].dial("/socket.io/?EIO=4&transport=websocket" + sid)
			up.say("5")
			up.expect("close 1002")
		},
	} {
		t.Run(name, func(t *testing.T) {
			sid := all[0].engine()
			all[0].push(sid, "40/orders,")
			all[0].poll(sid)
			spoil(sid)
			// Another WebSocket may try.
			var up *client
			eventually(t, "the owner to know", func() bool {
				up = all[1].dial("/socket.io/?EIO=4&transport=websocket" + sid)
				up.say("2probe")
				return up.text() == "3probe"
			})
			all[1].poll(sid)
			up.say("5")
			up.say(`42/orders,1["join","a"]`)
			if got := up.packet(); !strings.HasPrefix(got, `43/orders,1[{"rooms":["a"]`) {
				t.Fatalf("got %s", got)
			}
			_ = up.conn.Close()
		})
	}
}

// TestPollsReachTheirSessionFromAnywhere, and it can be upgraded from anywhere.
func TestPollsReachTheirSessionFromAnywhere(t *testing.T) {
	o := natsOf(t)
	all := startReplicas(t, natsNode(t, o).ClientURL(), 2)
	sid := all[0].engine()
	all[1].push(sid, "40/orders,")
	if got := all[1].poll(sid); !strings.HasPrefix(got, `40/orders,{"sid":"`) {
		t.Fatalf("CONNECT is answered %s", got)
	}
	go func() {
		time.Sleep(100 * time.Millisecond) // while the poll waits
		all[1].publish(1, "")
	}()
	if got := all[1].poll(sid); !strings.HasPrefix(got, `42/orders,["n",1,`) {
		t.Fatalf("got %s", got)
	}
	// While it is upgraded, events go on, and none is lost or comes twice. Then the
	// session is that of the replica to which the WebSocket came.
	up := all[1].upgrade(sid)
	offset := all[0].publish(2, "")
	up.say("5")
	up.say(`42/orders,3["join","a"]`)             // while it is under way
	answers := []string{up.packet(), up.packet()} // in no order
	slices.Sort(answers)
	if want := fmt.Sprintf(`42/orders,["n",2,%q]`, offset); answers[0] != want || !strings.HasPrefix(answers[1], `43/orders,3[{"rooms":["a"]`) {
		t.Fatalf("got %q", answers)
	}
	for n := 3; n < 6; n++ {
		offset = all[n%2].publish(n, `,"rooms":["a"]`)
		if got, want := up.packet(), fmt.Sprintf(`42/orders,["n",%d,%q]`, n, offset); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	if a, b := all[0].connections(), all[1].connections(); a != 0 || b != 1 {
		t.Errorf("there are %d connections where it polled, and %d where it is", a, b)
	}
	if got := all[0].poll(sid); !strings.Contains(got, "Session ID unknown") {
		t.Errorf("the old id is answered %s", got)
	}
	go all[0].Drain()
	all[1].publish(6, "")
	if got := up.packet(); !strings.HasPrefix(got, `42/orders,["n",6,`) {
		t.Fatalf("got %s", got)
	}
}

// TestNATSGoesAndComesBack: clients stay, publishers are told to try again, and
// nothing is missed.
func TestNATSGoesAndComesBack(t *testing.T) {
	o := natsOf(t)
	node := natsNode(t, o)
	all := startReplicas(t, node.ClientURL(), 2)
	clients := []*client{all[0].dial("/ws/orders"), all[1].dial("/ws/orders")}
	for _, c := range clients {
		c.message("welcome")
	}
	all[0].publish(1, "")
	node.Shutdown()
	node.WaitForShutdown()
	status, body := all[0].http(http.MethodPost, "/v1/channels/orders/events", `{"event":"n","data":2,"id":"after 0"}`)
	if status != http.StatusServiceUnavailable {
		t.Errorf("while NATS is away a publish is answered %d %s", status, body)
	}
	resp, err := http.Get("http://" + all[0].AdminAddr().String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(b), "broker cannot be reached") {
		t.Errorf("/readyz: %d %s", resp.StatusCode, b)
	}
	natsNode(t, o)
	for i, r := range all {
		eventually(t, "a publish", func() bool {
			event := fmt.Sprintf(`{"event":"n","data":%d,"id":"after %d"}`, 2+i, i)
			status, _ := r.http(http.MethodPost, "/v1/channels/orders/events", event)
			return status == http.StatusOK
		})
	}
	for _, c := range clients {
		c.wantEvents(1, 2, 3)
		c.say(`{"type":"ping"}`)
		c.message("pong")
	}
}

// TestADrainLosesNothing: a replica goes while events pour in; its clients come back
// elsewhere and have each event once.
func TestADrainLosesNothing(t *testing.T) {
	o := natsOf(t)
	all := startReplicas(t, natsNode(t, o).ClientURL(), 3)
	const clients, events = 20, 400
	results := make(chan error, clients)
	started := make(chan struct{}, clients)
	for range clients {
		go func() { results <- follow(all, events, started) }()
	}
	for range clients {
		<-started
	}
	for n := range events {
		all[1+n%2].publish(n, "")
		if n == events/4 {
			go all[0].Drain()
		}
		time.Sleep(5 * time.Millisecond)
	}
	for range clients {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// follow listens to the first replica, and to the others once that goes.
func follow(all []*replica, events int, started chan<- struct{}) error {
	next, offset, at := 0, "", 0
	for tries := 0; next < events; tries++ {
		if tries == 20 {
			return fmt.Errorf("came back in vain with %d of %d events", next, events)
		}
		query := ""
		if offset != "" {
			query = "?since=" + offset
		}
		conn, br, _, err := ws.Dialer{Timeout: patience}.Dial(context.Background(), "ws://"+all[at].ClientsAddr().String()+"/ws/orders"+query)
		at = 1 + tries%2
		if err != nil {
			continue
		}
		r := io.Reader(conn)
		if br != nil {
			r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
		}
		for next < events {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			f, err := ws.ReadFrame(r)
			if err != nil || f.Header.OpCode == ws.OpClose {
				break
			}
			var m message
			if f.Header.OpCode != ws.OpText || json.Unmarshal(f.Payload, &m) != nil {
				continue
			}
			if m.Offset != "" {
				offset = m.Offset
			}
			switch {
			case m.Type == "welcome" && tries == 0:
				started <- struct{}{}
			case m.Type == "welcome" && (m.Recovered == nil || !*m.Recovered):
				return fmt.Errorf("not recovered at %d", next)
			case m.Type == "event" && m.Data != next:
				return fmt.Errorf("after %d comes %d", next-1, m.Data)
			case m.Type == "event":
				next++
			}
		}
		_ = conn.Close()
	}
	return nil
}
