// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// limited serves Channels with bounds on what one push server takes.
func limited(t *testing.T, limits settings.PusherLimits, proxies []string, channels ...settings.Channel) *Server {
	t.Helper()
	srv := serve(t, channels...)
	doc := document(channels...)
	doc.Pusher.Limits, doc.Pusher.TrustedProxies = limits, proxies
	doc.Seal()
	if err := srv.Reload(doc); err != nil {
		t.Fatal(err)
	}
	return srv
}

// gone waits until a server has no connections.
func gone(t *testing.T, srv *Server, want int64) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); srv.connections() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections, want %d", srv.connections(), want)
		}
	}
}

func nobodyIsCounted(t *testing.T, srv *Server) {
	t.Helper()
	gone(t, srv, 0)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		srv.crowd.mu.Lock()
		n := len(srv.crowd.addresses) + len(srv.crowd.users)
		srv.crowd.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d addresses and users are still counted", n)
		}
	}
}

func TestConnectionsOfAUserAreBounded(t *testing.T) {
	c := spoken(guarded("orders"))
	c.Limits.ConnectionsPerUser = 2
	srv := serve(t, c)
	token := func(user string) string { return signed(t, user, time.Hour) }
	one := connect(t, srv, "orders?token="+token("ann"))
	one.next("welcome")
	e := connectEngine(t, srv)
	e.say(`40/orders,{"token":"` + token("ann") + `"}`)
	e.expect(`40/orders,{"sid":"`)

	if why := connect(t, srv, "orders?token="+token("ann")).closed(wire.CloseTryLater); why != "too many connections of this user" {
		t.Errorf("closed with %q", why)
	}
	other := connectEngine(t, srv)
	other.say(`40/orders,{"token":"` + token("ann") + `"}`)
	other.expect(`44/orders,{"message":"too many connections of this user","data":{"code":"full"}}`)
	other.say(`40/orders,{"token":"` + token("bob") + `"}`)
	other.expect(`40/orders,{"sid":"`)
	if n := refusedCount(srv, "orders", refusedUser); n != 2 {
		t.Errorf("%d refusals are counted", n)
	}
	if n := srv.current.Load().channels["orders"].counters.connections.Load(); n != 3 {
		t.Errorf("%d sessions are counted", n)
	}

	_ = one.conn.Close()
	for end := time.Now().Add(10 * time.Second); ; {
		again := connect(t, srv, "orders?token="+token("ann"))
		if f := again.frame(); f.Header.OpCode == ws.OpText {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a place that is free is not given away")
		}
	}
	srv.Drain()
	nobodyIsCounted(t, srv)
}

func TestConnectionsOfAnAddressAreBounded(t *testing.T) {
	srv := limited(t, settings.PusherLimits{ConnectionsPerAddress: 3}, []string{"127.0.0.0/8"}, spoken(open("orders")))
	from := func(address string) func(*ws.Dialer) {
		return asking(ws.HandshakeHeaderHTTP{"X-Forwarded-For": {"203.0.113.9, " + address}})
	}
	connect(t, srv, "orders", from("203.0.113.1")).next("welcome")
	resp, err := getAs(srv, "/sse/orders", "203.0.113.1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	polling := "http://" + srv.ClientsAddr().String() + "/socket.io/?EIO=4&transport=polling"
	_, err = getFrom(polling, "203.0.113.1")
	if err != nil {
		t.Fatal(err)
	}
	if why := connect(t, srv, "orders", from("203.0.113.1")).closed(wire.CloseTryLater); why != "too many connections from your address" {
		t.Errorf("closed with %q", why)
	}
	if body, err := getFrom(polling, "203.0.113.1"); err == nil && strings.HasPrefix(body, "0{") {
		t.Errorf("one that polls is let in: %s", body)
	}
	connect(t, srv, "orders", from("203.0.113.2")).next("welcome")
	connect(t, srv, "orders", from("2001:db8::1")).next("welcome")
	srv.Drain()
	nobodyIsCounted(t, srv)
}

func getAs(srv *Server, path, from string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+srv.ClientsAddr().String()+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Forwarded-For", from)
	return http.DefaultClient.Do(req)
}

func getFrom(url, from string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Forwarded-For", from)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func TestNewcomersAreLetInAtARate(t *testing.T) {
	srv := limited(t, settings.PusherLimits{AcceptRate: 1}, nil, spoken(open("orders")))
	connect(t, srv, "orders").next("welcome")
	connect(t, srv, "orders").next("welcome") // twice the rate at once
	refused := 0
	for range 5 {
		req, err := http.NewRequest(http.MethodGet, "http://"+srv.ClientsAddr().String()+"/ws/orders", nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
			refused++
		}
	}
	if refused < 4 {
		t.Errorf("%d of 5 are refused", refused)
	}
	resp, err := getAs(srv, "/sse/orders", "")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "retry:") {
		t.Errorf("an event stream is answered %d %s", resp.StatusCode, body)
	}
	resp, err = getAs(srv, "/socket.io/?EIO=4&transport=polling", "")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one that polls is answered %d", resp.StatusCode)
	}
	time.Sleep(1500 * time.Millisecond)
	connect(t, srv, "orders").next("welcome")
}

func TestRequestsOfASessionHaveARate(t *testing.T) {
	c := spoken(open("orders"))
	c.Limits.JoinRate = 10
	srv := serve(t, c)
	a := connect(t, srv, "orders")
	a.next("welcome")
	rooms := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"r%d"`, i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	a.say(`{"type":"join","rooms":` + rooms(100) + `}`) // more than ever fits, at once
	if m := a.next("joined"); len(m["rooms"].([]any)) != 100 {
		t.Errorf("joined %v", m)
	}
	for _, request := range []string{`"leave","rooms":["r1"]`, `"watch"`, `"ping"`, `"auth","token":"x"`} {
		a.say(`{"type":` + request + `,"ref":7}`)
		if m := a.next("error"); m["code"] != "rate_limited" || m["ref"] != 7.0 {
			t.Errorf("%s is answered %v", request, m)
		}
	}
	e := connectEngine(t, srv, "/orders")
	e.say(`42/orders,1["join",` + rooms(20) + `]`)
	e.expect(`43/orders,1[{"rooms":["r0"`)
	e.say(`42/orders,2["leave","r1"]`)
	e.expect(`43/orders,2[{"error":{"code":"rate_limited"`)
	if n := refusedCount(srv, "orders", refusedJoinRate); n != 5 {
		t.Errorf("%d refusals are counted", n)
	}
	time.Sleep(300 * time.Millisecond)
	e.say(`42/orders,3["leave","r1"]`)
	e.expect(`43/orders,3[{"rooms"`)
}

func TestWhoAClientIsBehindProxies(t *testing.T) {
	t.Parallel()
	in := trusted{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:5", []string{"203.0.113.1"}, "192.0.2.1:5"}, // not a trusted proxy: it may say what it likes
		{"10.0.0.1:5", nil, "10.0.0.1:5"},
		{"10.0.0.1:5", []string{"203.0.113.1"}, "203.0.113.1:0"},
		{"[::ffff:10.0.0.1]:5", []string{"203.0.113.1"}, "203.0.113.1:0"},
		{"[fd00::1]:5", []string{"2001:db8::7"}, "[2001:db8::7]:0"},
		{"10.0.0.1:5", []string{"[2001:db8::7]"}, "[2001:db8::7]:0"},
		{"10.0.0.1:5", []string{"6.6.6.6, 203.0.113.1, 10.0.0.2"}, "203.0.113.1:0"}, // what is left of it is made up
		{"10.0.0.1:5", []string{"6.6.6.6, 203.0.113.1", "10.0.0.2"}, "203.0.113.1:0"},
		{"10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		{"10.0.0.1:5", []string{"6.6.6.6, unknown"}, "10.0.0.1:5"},
		{"10.0.0.1:5", []string{"6.6.6.6, , 10.0.0.2"}, "10.0.0.2:0"},
		{"10.0.0.1:5", []string{""}, "10.0.0.1:5"},
	} {
		if got := in.client(netip.MustParseAddrPort(c.peer), c.forwarded); got.String() != c.want {
			t.Errorf("%s, %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
	if got := (trusted{}).client(netip.MustParseAddrPort("10.0.0.1:5"), []string{"203.0.113.1"}); got.String() != "10.0.0.1:5" {
		t.Errorf("nobody is trusted: %s", got)
	}
}
