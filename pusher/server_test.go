// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

var hmacKey = []byte("0123456789abcdef0123456789abcdef")

// open is a Channel that everybody may listen to.
func open(name string) settings.Channel {
	return settings.Channel{
		Name: name, Clients: settings.Clients{Anonymous: true},
		Limits:      settings.Limits{EventBytes: 64 << 10, Connections: 1000},
		SlowClients: settings.SlowClients{BufferBytes: 256 << 10, Policy: settings.Disconnect},
	}
}

// guarded is a Channel that wants a token.
func guarded(name string) settings.Channel {
	c := open(name)
	c.Clients = settings.Clients{JWT: []settings.JWTIssuer{{Issuer: "https://id", Audiences: []string{"web"}, HMACKey: hmacKey}}}
	return c
}

func document(channels ...settings.Channel) *settings.Settings {
	slices.SortFunc(channels, func(a, b settings.Channel) int { return strings.Compare(a.Name, b.Name) })
	s := &settings.Settings{
		Pusher: settings.Pusher{
			Namespace: "shop", Name: "edge", OpenPublishing: true,
			Heartbeat: settings.Heartbeat{Interval: settings.Duration(time.Minute), Timeout: settings.Duration(time.Minute)},
			Drain:     settings.Drain{MaxPeriod: settings.Duration(time.Minute)},
		},
		Channels: channels,
	}
	s.Seal()
	return s
}

func signed(t *testing.T, user string, lasts time.Duration, rooms ...string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: hmacKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: "https://id", Subject: user, Audience: jwt.Audience{"web"}, Expiry: jwt.NewNumericDate(time.Now().Add(lasts)),
	}).Claims(map[string]any{"rooms": rooms}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func serve(t *testing.T, channels ...settings.Channel) *Server {
	t.Helper()
	srv, err := New(Config{
		ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Loops: 2,
		Log: slog.New(slog.DiscardHandler),
	}, document(channels...))
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Drain)
	return srv
}

// client is a plain WebSocket client.
type client struct {
	t    *testing.T
	conn net.Conn
	r    io.Reader
	// Protocol is the subprotocol that was selected.
	protocol string
}

func dialer(srv *Server) (ws.Dialer, string) {
	return ws.Dialer{Timeout: 10 * time.Second}, "ws://" + srv.ClientsAddr().String() + "/ws/"
}

func connect(t *testing.T, srv *Server, path string, with ...func(*ws.Dialer)) *client {
	t.Helper()
	d, base := dialer(srv)
	for _, w := range with {
		w(&d)
	}
	conn, br, hs, err := d.Dial(context.Background(), base+path)
	if err != nil {
		t.Fatalf("connect to %s: %v", path, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn, r: conn, protocol: hs.Protocol}
	if br != nil {
		c.r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	return c
}

func (c *client) frame() ws.Frame {
	c.t.Helper()
	for {
		f, err := ws.ReadFrame(c.r)
		if err != nil {
			c.t.Fatalf("read: %v", err)
		}
		if f.Header.OpCode != ws.OpPing {
			return f
		}
	}
}

// next reads a message of a type; any other fails the test.
func (c *client) next(typ string) map[string]any {
	c.t.Helper()
	f := c.frame()
	var m map[string]any
	if f.Header.OpCode != ws.OpText || json.Unmarshal(f.Payload, &m) != nil || m["type"] != typ {
		c.t.Fatalf("got %v %s, want a message of type %s", f.Header.OpCode, f.Payload, typ)
	}
	return m
}

func (c *client) say(msg string) {
	c.t.Helper()
	if err := ws.WriteFrame(c.conn, ws.MaskFrame(ws.NewTextFrame([]byte(msg)))); err != nil {
		c.t.Fatal(err)
	}
}

// closed reads until the close frame and checks its code.
func (c *client) closed(want wire.CloseCode) string {
	c.t.Helper()
	for {
		f := c.frame()
		if f.Header.OpCode != ws.OpClose {
			continue
		}
		code, reason := ws.ParseCloseFrameData(f.Payload)
		if wire.CloseCode(code) != want {
			c.t.Fatalf("closed with %d %q, want %d", code, reason, want)
		}
		return reason
	}
}

func publish(t *testing.T, srv *Server, channel, body string) *http.Response {
	t.Helper()
	resp, err := http.Post("http://"+srv.EventsAddr().String()+"/v1/channels/"+channel+"/events", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func mustPublish(t *testing.T, srv *Server, channel, body string) string {
	t.Helper()
	resp := publish(t, srv, channel, body)
	b, _ := io.ReadAll(resp.Body)
	var answer struct{ Offset string }
	if resp.StatusCode != http.StatusOK || json.Unmarshal(b, &answer) != nil {
		t.Fatalf("publish answered %s: %s", resp.Status, b)
	}
	return answer.Offset
}

func TestAnEventReachesEverySessionOfItsChannel(t *testing.T) {
	srv := serve(t, open("orders"), open("other"))
	var all []*client
	for range 8 { // both loops
		all = append(all, connect(t, srv, "orders"))
	}
	other := connect(t, srv, "other")
	for _, c := range append(all, other) {
		c.next("welcome")
	}
	offset := mustPublish(t, srv, "orders", `{"event":"created","data":{"n":1},"id":"a"}`)
	for _, c := range all {
		if m := c.next("event"); m["event"] != "created" || m["offset"] != offset || m["id"] != "a" {
			t.Fatalf("got %v, want the event at %s", m, offset)
		}
	}
	other.say(`{"type":"ping"}`)
	other.next("pong") // and nothing before it
}

func TestRoomsUsersAndSessions(t *testing.T) {
	srv := serve(t, guarded("orders"))
	ann := connect(t, srv, "orders?room=a&room=secret&token="+signed(t, "ann", time.Hour, "a", "b*"))
	bob := connect(t, srv, "orders?token="+signed(t, "bob", time.Hour, "*"))
	hi := ann.next("welcome")
	if fmt.Sprint(hi["rooms"]) != "[a]" || hi["user"] != "ann" {
		t.Fatalf("welcome %v, want room a alone and user ann", hi)
	}
	if m := ann.next("error"); m["code"] != "forbidden" {
		t.Fatalf("got %v for the room that the token does not name", m)
	}
	bobs := bob.next("welcome")["session"].(string)

	ann.say(`{"type":"join","rooms":["b1","c"],"ref":7}`)
	if m := ann.next("joined"); fmt.Sprint(m["rooms"]) != "[a b1]" || m["ref"] != 7.0 {
		t.Fatalf("got %v", m)
	}
	ann.next("error")
	bob.say(`{"type":"join","rooms":["a","b1"]}`)
	bob.next("joined")

	for _, tc := range []struct {
		to       string
		ann, bob bool
	}{
		{`"rooms":["a","b1"]`, true, true},
		{`"users":["ann"]`, true, false},
		{`"sessions":["` + bobs + `"]`, false, true},
		{`"rooms":["nobody"]`, false, false},
		{`"rooms":["a"],"users":["bob"],"sessions":["` + bobs + `"]`, true, true},
	} {
		mustPublish(t, srv, "orders", `{"event":"x",`+tc.to+`}`)
		for _, who := range []struct {
			c    *client
			want bool
		}{{ann, tc.ann}, {bob, tc.bob}} {
			if who.want {
				who.c.next("event")
			}
			who.c.say(`{"type":"ping"}`)
			who.c.next("pong") // neither missing nor twice
		}
	}
	ann.say(`{"type":"leave","rooms":["a"]}`)
	if m := ann.next("left"); fmt.Sprint(m["rooms"]) != "[b1]" {
		t.Fatalf("got %v", m)
	}
}

func TestRefusalsThatABrowserCanSee(t *testing.T) {
	full := open("full")
	full.Limits.Connections = 1
	srv := serve(t, guarded("orders"), full)
	connect(t, srv, "full").next("welcome")
	for path, want := range map[string]wire.CloseCode{
		"orders":              wire.CloseUnauthorized,
		"orders?token=broken": wire.CloseUnauthorized,
		"orders?token=" + signed(t, "ann", -time.Hour): wire.CloseUnauthorized,
		"nowhere": wire.CloseChannelGone,
		"full":    wire.CloseTryLater,
	} {
		if reason := connect(t, srv, path).closed(want); reason == "" {
			t.Errorf("%s: closed with %d and no reason", path, want)
		}
	}
	if st := srv.Status(); st.Channels["full"].Connections != 1 || st.Channels["orders"].Connections != 0 {
		t.Fatalf("refused connections are counted: %+v", st.Channels)
	}
}

func TestRefusalsBeforeTheHandshake(t *testing.T) {
	srv := serve(t, open("orders"))
	d, base := dialer(srv)
	d.Header = ws.HandshakeHeaderHTTP{"Origin": {"https://evil.example"}}
	if _, _, _, err := d.Dial(context.Background(), base+"orders"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Fatalf("another origin: %v, want 403", err)
	}
	for url, want := range map[string]int{"/ws/orders": 426, "/": 404, "/ws/": 404} {
		resp, err := http.Get("http://" + srv.ClientsAddr().String() + url)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, want %d and a problem", url, resp.StatusCode, resp.Header.Get("Content-Type"), want)
		}
	}
	d.Header = nil
	if _, _, _, err := d.Dial(context.Background(), base+"orders?room="+strings.Repeat("x", 200)); err == nil || !strings.Contains(err.Error(), "400") {
		t.Fatalf("an overlong room: %v, want 400", err)
	}
}

func TestTokensTravelInTheHeaderOrTheSubprotocol(t *testing.T) {
	srv := serve(t, guarded("orders"))
	token := signed(t, "ann", time.Hour)
	c := connect(t, srv, "orders", func(d *ws.Dialer) { d.Protocols = []string{"klaxon.v1.json", "bearer." + token} })
	if c.next("welcome"); c.protocol != "klaxon.v1.json" {
		t.Fatalf("selected %q", c.protocol)
	}
	connect(t, srv, "orders", func(d *ws.Dialer) {
		d.Header = ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + token}}
	}).next("welcome")
}

func TestATokenIsTheFirstMessage(t *testing.T) {
	b := answering(t, func(handlerCall) string { return `{}` })
	srv := serve(t, guarded("orders"), open("news"), handled(guarded("asked"), b, settings.OnConnect))
	token := signed(t, "ann", time.Hour, "a")
	c := connect(t, srv, "orders?auth=message&room=a")
	if n := srv.current.Load().channels["orders"].counters.connections.Load(); n != 0 {
		t.Errorf("%d sessions before there is a token", n)
	}
	c.say(`{"type":"auth","token":"` + token + `"}`)
	if m := c.next("welcome"); m["user"] != "ann" || fmt.Sprint(m["rooms"]) != "[a]" {
		t.Errorf("welcomed with %v", m)
	}
	mustPublish(t, srv, "orders", `{"rooms":["a"],"data":1}`)
	c.next("event")
	connect(t, srv, "orders?auth=message&token="+token).next("welcome") // it has come already

	for _, first := range []string{`{"type":"auth","token":"x"}`, `{"type":"join","rooms":["a"]}`, `{"type":"auth"}`, `hello`} {
		c := connect(t, srv, "orders?auth=message")
		c.say(first)
		c.closed(wire.CloseUnauthorized)
	}
	c = connect(t, srv, "nosuch?auth=message")
	c.closed(wire.CloseChannelGone)
	d, base := dialer(srv)
	if _, _, _, err := d.Dial(context.Background(), base+"asked?auth=message"); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("where a handler decides: %v", err)
	}
	gone(t, srv, 2)
	silent := connect(t, srv, "orders?auth=message")
	began := time.Now()
	if why := silent.closed(wire.CloseUnauthorized); why != "no token came" || time.Since(began) < handshakeTimeout/2 {
		t.Errorf("closed with %q after %s", why, time.Since(began))
	}
}

func TestATokenIsInACookie(t *testing.T) {
	c := spoken(guarded("orders"))
	c.Clients.Cookie = "push"
	srv := serve(t, c, spoken(guarded("other")))
	cookie := asking(ws.HandshakeHeaderHTTP{"Cookie": {"a=b; push=" + signed(t, "ann", time.Hour)}})
	if m := connect(t, srv, "orders", cookie).next("welcome"); m["user"] != "ann" {
		t.Errorf("welcomed with %v", m)
	}
	if m := connect(t, srv, "orders?token="+signed(t, "bob", time.Hour), cookie).next("welcome"); m["user"] != "bob" {
		t.Errorf("with a token beside the cookie, welcomed with %v", m)
	}
	connect(t, srv, "other", cookie).closed(wire.CloseUnauthorized)
	connect(t, srv, "orders", asking(ws.HandshakeHeaderHTTP{"Cookie": {"push=x"}})).closed(wire.CloseUnauthorized)
	d, base := dialer(srv)
	d.Header = ws.HandshakeHeaderHTTP{"Cookie": {"push=" + signed(t, "ann", time.Hour)}, "Origin": {"https://evil.example"}}
	if _, _, _, err := d.Dial(context.Background(), base+"orders"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("another site's page: %v", err)
	}
	for _, path := range []string{"/sse/orders", "/socket.io/?EIO=4&transport=polling"} {
		req, err := http.NewRequest(http.MethodGet, "http://"+srv.ClientsAddr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", "push="+signed(t, "ann", time.Hour))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s is answered %d", path, resp.StatusCode)
		}
		var open struct{ SID string }
		if strings.HasPrefix(path, "/socket.io") {
			b, _ := io.ReadAll(resp.Body)
			if err := json.Unmarshal(b[1:], &open); err != nil {
				t.Fatal(err)
			}
			p := &poller{t: t, url: "http://" + srv.ClientsAddr().String() + path, sid: open.SID}
			p.push("40/orders,\x1e40/other,")
			if got := p.poll(); !strings.Contains(got, `40/orders,{"sid"`) || !strings.Contains(got, `44/other,`) {
				t.Errorf("over polling: %s", got)
			}
		}
		_ = resp.Body.Close()
	}
}

func TestASessionEndsWithItsTokenUnlessRefreshed(t *testing.T) {
	srv := serve(t, guarded("orders"))
	// Expired a moment less than the allowed skew ago: good for about a second more.
	short := signed(t, "ann", -28*time.Second, "a")
	ends := connect(t, srv, "orders?token="+short)
	stays := connect(t, srv, "orders?token="+short)
	ends.next("welcome")
	stays.next("welcome")
	stays.say(`{"type":"auth","token":"` + signed(t, "bob", time.Hour) + `","ref":1}`)
	if m := stays.next("error"); m["code"] != "token" || m["ref"] != 1.0 {
		t.Fatalf("another user's token: %v", m)
	}
	stays.say(`{"type":"auth","token":"` + signed(t, "ann", time.Hour, "b") + `"}`)
	stays.next("authenticated")
	ends.closed(wire.CloseUnauthorized)
	stays.say(`{"type":"join","rooms":["b"]}`)
	stays.next("joined")
}

func TestReloadKeepsSessionsOfOtherChannels(t *testing.T) {
	srv := serve(t, open("gone"), open("stays"), open("shuts"))
	gone, stays, shuts := connect(t, srv, "gone"), connect(t, srv, "stays"), connect(t, srv, "shuts")
	for _, c := range []*client{gone, stays, shuts} {
		c.next("welcome")
	}
	first := mustPublish(t, srv, "stays", `{}`)
	if err := srv.Reload(document(open("stays"), guarded("shuts"), open("new"))); err != nil {
		t.Fatal(err)
	}
	gone.closed(wire.CloseChannelGone)
	shuts.closed(wire.CloseUnauthorized)
	stays.next("event")
	second := mustPublish(t, srv, "stays", `{}`)
	if m := stays.next("event"); m["offset"] != second || first[:8] != second[:8] {
		t.Fatalf("offset %v after the reload, %s before: want the same epoch", m["offset"], first)
	}
	connect(t, srv, "new").next("welcome")
	if resp := publish(t, srv, "gone", `{}`); resp.StatusCode != http.StatusNotFound {
		t.Fatalf("publishing to a deleted Channel answers %s", resp.Status)
	}
	st := srv.Status()
	if len(st.Channels) != 3 || st.Channels["stays"].Connections != 1 || st.Channels["shuts"].Connections != 0 {
		t.Fatalf("status %+v", st)
	}
}

func TestInvalidSettingsKeepTheServedOnes(t *testing.T) {
	srv := serve(t, open("orders"))
	c := connect(t, srv, "orders")
	c.next("welcome")
	bad := document(open("orders"))
	bad.Channels[0].Limits.EventBytes = 1
	for range 2 { // the second time it is no news
		if err := srv.Reload(bad); err == nil {
			t.Fatal("invalid settings were taken")
		}
	}
	if _, body := get(t, srv, "/metrics", ""); !strings.Contains(body, "klaxon_settings_errors_total 1\n") {
		t.Error("the error is not counted once")
	}
	if st := srv.Status(); !strings.Contains(st.SettingsError, "channels[orders].limits.eventBytes") {
		t.Fatalf("status says %q", st.SettingsError)
	}
	mustPublish(t, srv, "orders", `{}`)
	c.next("event")
	if err := srv.Reload(document(open("orders"))); err != nil {
		t.Fatal(err)
	}
	if st := srv.Status(); st.SettingsError != "" {
		t.Fatalf("status still says %q", st.SettingsError)
	}
}

func TestSessionsCanBeListedAndEnded(t *testing.T) {
	srv := serve(t, guarded("orders"))
	ann := connect(t, srv, "orders?room=a&token="+signed(t, "ann", time.Hour, "a"))
	id := ann.next("welcome")["session"].(string)
	base := "http://" + srv.EventsAddr().String() + "/v1/channels/orders/sessions"
	resp, err := http.Get(base)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var list struct{ Sessions []wire.Session }
	if err := json.NewDecoder(bufio.NewReader(resp.Body)).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if len(list.Sessions) != 1 || list.Sessions[0].ID != id || list.Sessions[0].User != "ann" || !slices.Equal(list.Sessions[0].Rooms, []string{"a"}) {
		t.Fatalf("got %+v", list)
	}
	for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		req, _ := http.NewRequest(http.MethodDelete, base+"/"+id, bytes.NewReader(nil))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("DELETE answers %s, want %d", resp.Status, want)
		}
	}
	ann.closed(wire.CloseByPublisher)
}

// TestAHandshakeThatStraddlesAReload hands a connection to a loop with what was
// decided by settings that are not served any more.
func TestAHandshakeThatStraddlesAReload(t *testing.T) {
	srv := serve(t, open("orders"), open("gone"))
	stale := srv.current.Load()
	if err := srv.Reload(document(guarded("orders"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]wire.CloseCode{"orders": wire.CloseTryLater, "gone": wire.CloseChannelGone} {
		ours, theirs := socketPair(t)
		h := srv.admit(stale, &attempt{channel: name})
		if h.channel == nil {
			t.Fatalf("%s: the old settings refuse: %+v", name, h.refusal)
		}
		fd, err := loop.Detach(theirs)
		if err != nil || !srv.shards[0].loop.Adopt(loop.Socket{FD: fd}, h) {
			t.Fatal("the loop did not take the connection", err)
		}
		(&client{t: t, conn: ours, r: ours}).closed(want)
		if n := h.channel.counters.connections.Load(); n != 0 {
			t.Errorf("%s: %d connections are counted", name, n)
		}
	}
}

func socketPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if ours, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	if theirs, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

func TestAStreamOfEventsEndsWithTheServer(t *testing.T) {
	srv := serve(t, open("orders"))
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	req, err := http.NewRequest(http.MethodPost, "http://"+srv.EventsAddr().String()+"/v1/channels/orders/events", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	go func() { _, _ = io.WriteString(w, "{}\n") }()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "offset") {
		t.Fatalf("got %q, error %v", line, err)
	}
	srv.draining.Store(true)
	t.Cleanup(func() { srv.draining.Store(false) }) // so that the test's end drains
	go func() { _, _ = io.WriteString(w, "{}\n") }()
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "503") {
		t.Fatalf("an event that would reach nobody is answered %q, error %v", line, err)
	}
}

func TestAFreshTokenWithFewerRoomsLeavesTheOthers(t *testing.T) {
	srv := serve(t, guarded("orders"))
	c := connect(t, srv, "orders?room=a&room=b&token="+signed(t, "ann", time.Hour, "a", "b"))
	c.next("welcome")
	c.say(`{"type":"auth","token":"` + signed(t, "ann", time.Hour, "b") + `"}`)
	if m := c.next("authenticated"); fmt.Sprint(m["rooms"]) != "[b]" {
		t.Fatalf("got %v", m)
	}
	mustPublish(t, srv, "orders", `{"rooms":["a"]}`)
	c.say(`{"type":"ping"}`)
	c.next("pong")
}

// TestSlowRequestsAreBoundedAndHoldUpNobody sends half a request each from as
// many connections as net/http may have.
func TestSlowRequestsAreBoundedAndHoldUpNobody(t *testing.T) {
	srv := serve(t, open("orders"))
	var slow []net.Conn
	for range maxHandshakes {
		c := dial(t, srv)
		send(t, c, "GET /")
		slow = append(slow, c)
	}
	waits := make(chan error, 1)
	one := dial(t, srv)
	send(t, one, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() {
		_, err := http.ReadResponse(bufio.NewReader(one), nil)
		waits <- err
	}()
	connect(t, srv, "orders").next("welcome")
	select {
	case err := <-waits:
		t.Fatalf("one connection more than fit was served: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	_ = slow[0].Close()
	if err := <-waits; err != nil {
		t.Fatalf("with a place free again: %v", err)
	}
}

func dial(t *testing.T, srv *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", srv.ClientsAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}
