// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// spoken gives a Channel its usual namespace.
func spoken(c settings.Channel) settings.Channel {
	c.SocketIO.Namespace = "/" + c.Name
	return c
}

// engineSocket is a Socket.IO client by WebSocket, one packet at a time.
type engineSocket struct {
	*client
}

func engineDial(t *testing.T, srv *Server, query string) *engineSocket {
	t.Helper()
	d := ws.Dialer{Timeout: 10 * time.Second}
	conn, br, _, err := d.Dial(context.Background(), "ws://"+srv.ClientsAddr().String()+"/socket.io/?EIO=4&transport=websocket"+query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn, r: conn}
	if br != nil {
		c.r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	return &engineSocket{c}
}

// packet reads a text packet.
func (e *engineSocket) packet() string {
	e.t.Helper()
	f := e.frame()
	if f.Header.OpCode != ws.OpText {
		e.t.Fatalf("got %v %q, want a packet", f.Header.OpCode, f.Payload)
	}
	return string(f.Payload)
}

func (e *engineSocket) expect(prefix string) string {
	e.t.Helper()
	p := e.packet()
	if !strings.HasPrefix(p, prefix) {
		e.t.Fatalf("got %s, want %s…", p, prefix)
	}
	return p[len(prefix):]
}

// socketio returns a client that is connected to namespaces.
func connectEngine(t *testing.T, srv *Server, namespaces ...string) *engineSocket {
	t.Helper()
	e := engineDial(t, srv, "")
	e.expect("0{")
	for _, n := range namespaces {
		e.say("40" + n + ",")
		e.expect("40" + n + `,{"sid":"`)
	}
	return e
}

// poller is a Socket.IO client that polls.
type poller struct {
	t   *testing.T
	url string
	sid string
}

func (p *poller) do(method, query, body string) (int, string) {
	p.t.Helper()
	status, text, err := p.try(method, query, body)
	if err != nil {
		p.t.Fatal(err)
	}
	return status, text
}

func (p *poller) try(method, query, body string) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.url+query, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func (p *poller) poll() string {
	p.t.Helper()
	status, body := p.do(http.MethodGet, "&sid="+p.sid, "")
	if status != http.StatusOK {
		p.t.Fatalf("a poll is answered %d %s", status, body)
	}
	return body
}

func (p *poller) push(body string) {
	p.t.Helper()
	if status, answer := p.do(http.MethodPost, "&sid="+p.sid, body); status != http.StatusOK || answer != "ok" {
		p.t.Fatalf("a push is answered %d %s", status, answer)
	}
}

func (p *poller) gone() {
	p.t.Helper()
	if status, body := p.do(http.MethodGet, "&sid="+p.sid, ""); status != http.StatusBadRequest || !strings.Contains(body, `"code":1`) {
		p.t.Fatalf("a poll of a session that has ended is answered %d %s", status, body)
	}
}

func startPolling(t *testing.T, srv *Server) *poller {
	t.Helper()
	p := &poller{t: t, url: "http://" + srv.ClientsAddr().String() + "/socket.io/?EIO=4&transport=polling"}
	status, body := p.do(http.MethodGet, "", "")
	var open struct{ SID string }
	if status != http.StatusOK || !strings.HasPrefix(body, "0") || json.Unmarshal([]byte(body[1:]), &open) != nil || open.SID == "" {
		t.Fatalf("the handshake is answered %d %s", status, body)
	}
	p.sid = open.SID
	return p
}

func (p *poller) connect(namespace string) {
	p.t.Helper()
	p.push("40" + namespace + ",")
	if got := p.poll(); !strings.HasPrefix(got, "40"+namespace+`,{"sid":"`) {
		p.t.Fatalf("CONNECT is answered %s", got)
	}
}

// settled waits until the server has no more clients than that: what a client
// does ends a session a moment later.
func settled(t *testing.T, srv *Server, connections int64) {
	t.Helper()
	for range 500 {
		if srv.connections() == connections {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d connections, want %d", srv.connections(), connections)
}

func TestOneEventReachesAllProtocols(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	plain := connect(t, srv, "orders")
	plain.next("welcome")
	socket, polls, stream := connectEngine(t, srv, "/orders"), startPolling(t, srv), streamFrom(t, srv, "orders")
	polls.connect("/orders")
	stream.block()
	for i := range 20 {
		offset := mustPublish(t, srv, "orders", fmt.Sprintf(`{"event":"created","data":{"n":%d}}`, i))
		if m := plain.next("event"); m["offset"] != offset {
			t.Fatalf("plain: %v, want %s", m, offset)
		}
		want := fmt.Sprintf(`42/orders,["created",{"n":%d}]`, i)
		if got := socket.packet(); got != want {
			t.Fatalf("WebSocket: %s, want %s", got, want)
		}
		if got := polls.poll(); got != want {
			t.Fatalf("polling: %s, want %s", got, want)
		}
		if got, want := stream.block(), fmt.Sprintf("id: %s\nevent: created\ndata: {\"n\":%d}", offset, i); got != want {
			t.Fatalf("stream: %q, want %q", got, want)
		}
	}
}

func TestBinaryEvents(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	socket, polls := connectEngine(t, srv, "/orders"), startPolling(t, srv)
	polls.connect("/orders")
	mustPublish(t, srv, "orders", `{"event":"b","dataBase64":"AP8="}`)
	socket.expect(`451-/orders,["b",{"_placeholder":true,"num":0}]`)
	if f := socket.frame(); f.Header.OpCode != ws.OpBinary || string(f.Payload) != "\x00\xff" {
		t.Fatalf("attachment: %v %q", f.Header.OpCode, f.Payload)
	}
	if got := polls.poll(); got != "451-/orders,[\"b\",{\"_placeholder\":true,\"num\":0}]\x1ebAP8=" {
		t.Fatalf("polling: %q", got)
	}
}

func TestNamespacesOfOneConnection(t *testing.T) {
	root := open("lobby")
	root.SocketIO.Namespace = "/"
	srv := serve(t, spoken(open("orders")), spoken(guarded("private")), root)
	e := connectEngine(t, srv, "/orders")
	e.say("40")
	e.expect(`40{"sid":"`)
	e.say("40/nowhere,")
	e.expect(`44/nowhere,{"message":"Invalid namespace"}`)
	e.say("40/private,")
	if got := e.expect("44/private,"); !strings.Contains(got, `"data":{"code":"token"}`) {
		t.Fatalf("refused with %s", got)
	}
	e.say(`40/private,{"token":"` + signed(t, "ann", time.Hour, "a") + `","rooms":["a","b"]}`)
	e.expect(`40/private,{"sid":"`)
	e.expect(`42/private,["klaxon.error",{"code":"forbidden"`)
	for _, s := range []struct{ channel, want string }{
		{"lobby", `42["e",1]`}, {"orders", `42/orders,["e",1]`}, {"private", `42/private,["e",1]`},
	} {
		mustPublish(t, srv, s.channel, `{"event":"e","data":1}`)
		e.expect(s.want)
	}
	e.say("41/orders,")
	e.say(`42/private,1["leave","a"]`)
	e.expect(`43/private,1[{"rooms":[],"offset":"`)
	mustPublish(t, srv, "orders", `{"event":"e","data":2}`)
	mustPublish(t, srv, "private", `{"event":"no","data":2,"rooms":["a"]}`)
	mustPublish(t, srv, "lobby", `{"event":"e","data":2}`)
	e.expect(`42["e",2]`)
	for _, name := range []string{"orders", "private", "lobby"} {
		want := int64(1)
		if name == "orders" {
			want = 0
		}
		if n := srv.current.Load().channels[name].counters.connections.Load(); n != want {
			t.Errorf("%s counts %d connections, want %d", name, n, want)
		}
	}
}

func TestEmits(t *testing.T) {
	srv := serve(t, spoken(guarded("orders")))
	e := engineDial(t, srv, "&token="+signed(t, "ann", time.Hour, "a*")) // as the handshake's
	e.expect("0{")
	e.say("40/orders,")
	e.expect(`40/orders,{"sid":"`)
	for _, c := range [][2]string{
		{`42/orders,1["join","a1"]`, `43/orders,1[{"rooms":["a1"],"offset":"`},
		{`42/orders,2["join",["a2","b"]]`, `43/orders,2[{"rooms":["a1","a2"],"offset":"`},
		{`42/orders,3["leave","a1"]`, `43/orders,3[{"rooms":["a2"],"offset":"`},
		{`42/orders,4["join"]`, `43/orders,4[{"rooms":["a2"],"offset":"`},
		{`42/orders,5["shout",1]`, `43/orders,5[{"error":{"code":"not_handled"`},
		{`42/orders,["shout",1]`, `42/orders,["klaxon.error",{"code":"not_handled"`},
		{`42/orders,6["auth",{"token":"x"}]`, `43/orders,6[{"rooms":["a2"],"offset":"`},
		{`42/orders,7["auth",{"token":"` + signed(t, "ann", time.Hour, "b") + `"}]`, `43/orders,7[{"rooms":[],"offset":"`},
	} {
		e.say(c[0])
		if got := e.expect(c[1]); strings.HasPrefix(c[0], `42/orders,6`) != strings.Contains(got, `"code":"token"`) {
			t.Errorf("%s is answered %s%s", c[0], c[1], got)
		}
	}
}

func TestASessionThatEndsLeavesItsConnection(t *testing.T) {
	srv := serve(t, spoken(open("orders")), spoken(open("other")))
	e := engineDial(t, srv, "")
	e.expect("0{")
	e.say("40/other,")
	e.expect("40/other,")
	e.say("40/orders,")
	id, _, _ := strings.Cut(e.expect(`40/orders,{"sid":"`), `"`)
	req, _ := http.NewRequest(http.MethodDelete, "http://"+srv.EventsAddr().String()+"/v1/channels/orders/sessions/"+id, nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	e.expect(`42/orders,["klaxon.disconnect",{"code":4010,"reason":"disconnected by a publisher"}]`)
	e.expect(`41/orders,`)
	if err := srv.Reload(document(spoken(open("orders")))); err != nil {
		t.Fatal(err)
	}
	e.expect(`42/other,["klaxon.disconnect",{"code":4004,`)
	e.expect(`41/other,`)
	e.say("40/orders,")
	e.expect(`40/orders,{"sid":"`)
}

func TestUpgradeOfAPollingSession(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	p := startPolling(t, srv)
	p.connect("/orders")
	polled := make(chan string, 1)
	go func() {
		_, body, _ := p.try(http.MethodGet, "&sid="+p.sid, "")
		polled <- body
	}()
	e := engineDial(t, srv, "&sid="+p.sid)
	e.say("2probe")
	e.expect("3probe")
	if got := <-polled; got != "6" {
		t.Fatalf("the poll that waited was answered %q", got)
	}
	mustPublish(t, srv, "orders", `{"event":"e","data":1}`) // nobody fetches it
	second := engineDial(t, srv, "&sid="+p.sid)
	second.closed(wire.CloseNormal)
	e.say("5")
	e.expect(`42/orders,["e",1]`)
	mustPublish(t, srv, "orders", `{"event":"e","data":2}`)
	e.expect(`42/orders,["e",2]`)
	if status, body := p.do(http.MethodGet, "&sid="+p.sid, ""); status != http.StatusBadRequest || !strings.Contains(body, `"code":3`) {
		t.Fatalf("polling after the upgrade is answered %d %s", status, body)
	}
	settled(t, srv, 1)
	_ = e.conn.Close()
	settled(t, srv, 0)
	p.gone()
}

// TestUpgradesThatComeToNothing: whatever a probe does, polling goes on.
func TestUpgradesThatComeToNothing(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	p := startPolling(t, srv)
	p.connect("/orders")
	for _, said := range [][]string{{}, {"2probe"}, {"4hello"}, {"2prob"}, {""}} {
		e := engineDial(t, srv, "&sid="+p.sid)
		for _, s := range said {
			e.say(s)
		}
		if len(said) > 0 && said[0] == "2probe" {
			e.expect("3probe")
		} else if len(said) > 0 {
			e.closed(wire.CloseProtocol)
		}
		_ = e.conn.Close()
		settled(t, srv, 1)
		mustPublish(t, srv, "orders", `{"event":"e","data":1}`)
		if got := p.poll(); got != `42/orders,["e",1]` {
			t.Fatalf("after %q a poll is answered %s", said, got)
		}
	}
}

func TestTwoPollsAtATime(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	p := startPolling(t, srv)
	answers := make(chan string, 2)
	for range 2 {
		go func() {
			status, body, err := p.try(http.MethodGet, "&sid="+p.sid, "")
			answers <- fmt.Sprint(status, " ", body, err)
		}()
	}
	a, b := <-answers, <-answers
	if strings.HasPrefix(b, "400") {
		a, b = b, a
	}
	if !strings.HasPrefix(a, `400 {"code":3`) || b != "200 1<nil>" {
		t.Fatalf("answered %q and %q", a, b)
	}
	p.gone()
	settled(t, srv, 0)
}

func TestAClosePacketEndsAPollingSession(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	p := startPolling(t, srv)
	polled := make(chan string, 1)
	go func() {
		_, body, _ := p.try(http.MethodGet, "&sid="+p.sid, "")
		polled <- body
	}()
	p.push("1")
	// Whichever came first: the poll was let go, or came too late.
	if got := <-polled; got != "6" && !strings.Contains(got, `"code":1`) {
		t.Fatalf("the poll was answered %q", got)
	}
	p.gone()
	settled(t, srv, 0)
}

func TestAPollThatIsBrokenOffEndsTheSession(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	p := startPolling(t, srv)
	conn, err := net.Dial("tcp", srv.ClientsAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET /socket.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: x\r\n\r\n", p.sid); err != nil {
		t.Fatal(err)
	}
	for range 500 { // until it waits
		if srv.handshakes.count.Load() > 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	_ = conn.Close()
	settled(t, srv, 0)
	p.gone()
}

func TestBadPayloads(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	other := connect(t, srv, "orders")
	other.next("welcome")
	for _, body := range []string{"", "abc", "4hello", "2", "\x1e", "40/orders,\x1e", "b!!!", "\xff", "40/orders,{", "42/orders,[1]", `451-/orders,["x"]` + "\x1e42[]"} {
		p := startPolling(t, srv)
		if status, answer := p.do(http.MethodPost, "&sid="+p.sid, body); status != http.StatusBadRequest {
			t.Errorf("%q is answered %d %s", body, status, answer)
		}
		p.gone()
	}
	p := startPolling(t, srv)
	if status, answer := p.do(http.MethodPost, "&sid="+p.sid, strings.Repeat("x", 1<<17)); status != http.StatusRequestEntityTooLarge || answer != "" {
		t.Errorf("too much is answered %d %s", status, answer)
	}
	p.connect("/orders") // the session stays
	mustPublish(t, srv, "orders", `{"event":"e","data":1}`)
	other.next("event")
	for _, packet := range []string{"", "x", "4hello", "2", "42/orders,[\"e\"]", "40/orders,{"} {
		e := engineDial(t, srv, "")
		e.expect("0{")
		e.say(packet)
		e.closed(wire.CloseProtocol)
	}
}

func TestRefusals(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	base := "http://" + srv.ClientsAddr().String() + "/socket.io/"
	for _, c := range []struct {
		method, query, header string
		status                int
		body                  string
	}{
		{"GET", "?EIO=4", "", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "?EIO=4&transport=flash", "", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "?EIO=4&transport=polling&sid=x", "", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"GET", "?EIO=4&transport=polling&sid=__proto__", "", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"POST", "?EIO=4&transport=polling", "", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"GET", "?EIO=4&transport=websocket", "", 400, `{"code":3,"message":"Bad request"}`},
		{"GET", "?EIO=4&transport=polling", "https://evil.example.com", 403, `{"code":4,"message":"Forbidden"}`},
		{"GET", "?EIO=3&transport=polling", "", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"GET", "?transport=polling", "", 400, `{"code":5,"message":"Unsupported protocol version"}`},
	} {
		req, err := http.NewRequest(c.method, base+c.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header != "" {
			req.Header.Set("Origin", c.header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || string(b) != c.body || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %s", c.method, c.query, resp.StatusCode, b)
		}
	}
}

func TestClientsThatDoNotAnswerPings(t *testing.T) {
	srv := serve(t, spoken(open("orders")))
	s := document(spoken(open("orders")))
	s.Pusher.Heartbeat = settings.Heartbeat{Interval: settings.Duration(300 * time.Millisecond), Timeout: settings.Duration(200 * time.Millisecond)}
	s.Seal()
	if err := srv.Reload(s); err != nil {
		t.Fatal(err)
	}
	e := connectEngine(t, srv, "/orders")
	e.expect("2")
	e.say("3")
	e.expect("2")
	e.say(`42/orders,1["leave","x"]`) // no pong
	e.expect(`43/orders,1`)
	e.closed(wire.CloseHeartbeat)
	p := startPolling(t, srv)
	if got := p.poll(); got != "2" {
		t.Fatalf("polled %s", got)
	}
	settled(t, srv, 0) // a poll that comes earlier waits, and is told of the end
	p.gone()
}

// stream is an event stream.
type stream struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func streamFrom(t *testing.T, srv *Server, path string) *stream {
	t.Helper()
	conn, err := net.Dial("tcp", srv.ClientsAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(conn, "GET /sse/%s HTTP/1.1\r\nHost: push.example.com\r\nOrigin: http://push.example.com\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := resp.Header
	if resp.StatusCode != http.StatusOK || h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" ||
		h.Get("Access-Control-Allow-Origin") != "http://push.example.com" || h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Vary") != "Origin" {
		t.Fatalf("answered %s %v", resp.Status, h)
	}
	return &stream{t, conn, r}
}

// block reads up to an empty line.
func (s *stream) block() string {
	s.t.Helper()
	var b strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatalf("read a block: %v after %q", err, b.String())
		}
		if line == "\n" {
			return strings.TrimSuffix(b.String(), "\n")
		}
		b.WriteString(line)
	}
}

func TestEventStream(t *testing.T) {
	srv := serve(t, open("orders"))
	s := document(open("orders"))
	s.Pusher.Heartbeat.Interval = settings.Duration(100 * time.Millisecond)
	s.Seal()
	if err := srv.Reload(s); err != nil {
		t.Fatal(err)
	}
	st := streamFrom(t, srv, "orders?room=a&lastEventId=x.1")
	if got := st.block(); !strings.Contains(got, "event: klaxon.welcome") || !strings.Contains(got, `"rooms":["a"]`) || !strings.Contains(got, `"recovered":false`) {
		t.Fatalf("welcome: %s", got)
	}
	offset := mustPublish(t, srv, "orders", `{"event":"not","data":1,"rooms":["b"]}`)
	for range 200 {
		if st.block() == ":\nid: "+offset {
			break
		}
	}
	offset = mustPublish(t, srv, "orders", `{"event":"e","data":1,"rooms":["a"]}`)
	for got := st.block(); got != "id: "+offset+"\nevent: e\ndata: 1"; got = st.block() {
		if !strings.HasPrefix(got, ":\n") {
			t.Fatalf("got %q", got)
		}
	}
	srv.Drain()
	for got := st.block(); !strings.HasPrefix(got, "retry: "); got = st.block() {
		if !strings.HasPrefix(got, ":\n") {
			t.Fatalf("got %q", got)
		}
	}
	if _, err := st.r.ReadByte(); err != io.EOF {
		t.Fatalf("then %v", err)
	}
}

func TestEventStreamRefusals(t *testing.T) {
	srv := serve(t, open("orders"), guarded("private"))
	for path, status := range map[string]int{
		"private": 401, "private?token=x": 401, "nowhere": 404, "orders?room=": 400,
	} {
		resp, err := http.Get("http://" + srv.ClientsAddr().String() + "/sse/" + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}
