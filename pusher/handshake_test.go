// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/acceptor"
	"github.com/klaxon-dev/klaxon/pusher/wire/upgrade"
)

// paths are the ways on which a handshake reaches the server: in one segment, for
// the fast path; in pieces, or on a connection that was used before, for net/http.
var paths = map[string]func(t *testing.T, srv *Server, request string) (net.Conn, *bufio.Reader){
	"at once": func(t *testing.T, srv *Server, request string) (net.Conn, *bufio.Reader) {
		c := dial(t, srv)
		send(t, c, request)
		return c, bufio.NewReader(c)
	},
	"in pieces": func(t *testing.T, srv *Server, request string) (net.Conn, *bufio.Reader) {
		c := dial(t, srv)
		for b := range strings.SplitSeq(request, "") {
			send(t, c, b)
		}
		return c, bufio.NewReader(c)
	},
	"on a used connection": func(t *testing.T, srv *Server, request string) (net.Conn, *bufio.Reader) {
		c := dial(t, srv)
		r := bufio.NewReader(c)
		send(t, c, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		send(t, c, request)
		return c, r
	},
}

func handshake(more ...string) string {
	return strings.Join(append([]string{
		"GET /ws/orders?room=a HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: klaxon.v1.json",
	}, more...), "\r\n") + "\r\n\r\n"
}

// TestBytesBehindTheRequestAreTheFirst: frames that come in the same segments as
// the handshake are answered, whichever way it took, and however many there are.
func TestBytesBehindTheRequestAreTheFirst(t *testing.T) {
	srv := serve(t, open("orders"))
	var early bytes.Buffer
	const pings = 300 // more than a buffer of net/http has room for
	for range pings {
		if err := ws.WriteFrame(&early, ws.MaskFrame(ws.NewTextFrame([]byte(`{"type":"ping"}`)))); err != nil {
			t.Fatal(err)
		}
	}
	for name, path := range paths {
		conn, r := path(t, srv, handshake()+early.String())
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-Websocket-Protocol") != "klaxon.v1.json" {
			t.Fatalf("%s: %v, error %v", name, resp, err)
		}
		c := &client{t: t, conn: conn, r: r}
		if rooms := c.next("welcome")["rooms"].([]any); len(rooms) != 1 {
			t.Errorf("%s: in rooms %v", name, rooms)
		}
		for range pings {
			c.next("pong")
		}
	}
}

// TestMalformedHandshakesAreRefused has what lenient parsers take.
func TestMalformedHandshakesAreRefused(t *testing.T) {
	srv := serve(t, open("orders"))
	for name, request := range map[string]string{
		"NUL in a field":       handshake("X: a\x00b"),
		"bare CR in a field":   handshake("X: a\rb"),
		"two Hosts":            handshake("Host: y"),
		"no Host":              strings.Replace(handshake(), "Host: x\r\n", "", 1),
		"space before a colon": handshake("X : y"),
		"a huge header":        handshake("X: " + strings.Repeat("y", 40<<10)),
		"many fields":          handshake(strings.Split(strings.Repeat("X: y,", 10000)+"X: y", ",")...),
		"no key":               strings.Replace(handshake(), "Sec-WebSocket-Key", "X", 1),
		"a short key":          strings.Replace(handshake(), "dGhl", "", 1),
		"another version":      strings.Replace(handshake(), "13", "8", 1),
	} {
		for way, path := range paths {
			if way == "in pieces" && len(request) > 4<<10 {
				continue // refused while pieces are still being sent
			}
			_, r := path(t, srv, request)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Errorf("%s, %s: %v", name, way, err)
				continue
			}
			if resp.StatusCode < 400 || resp.StatusCode >= 500 {
				t.Errorf("%s, %s: answered %s", name, way, resp.Status)
			}
		}
	}
	if n := srv.connections(); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
	connect(t, srv, "orders").next("welcome")
}

// TestQueriesThatTakeLongHoldUpNobody: the fast path serves one client at a time,
// and leaves a query that takes milliseconds to net/http, which serves it as well.
func TestQueriesThatTakeLongHoldUpNobody(t *testing.T) {
	srv := serve(t, open("orders"))
	request := strings.Replace(handshake(), "?", "?"+strings.Repeat("x&", 5000), 1)
	r, _, ok := upgrade.Parse([]byte(request))
	if !ok {
		t.Fatal("not understood")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(pair[1]) })
	if srv.Upgrade(&acceptor.Conn{FD: pair[0], Request: &r}) {
		t.Error("taken on the fast path")
	} else if err := unix.Close(pair[0]); err != nil {
		t.Error(err)
	}
	conn, in := paths["at once"](t, srv, request)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, error %v", resp, err)
	}
	if rooms := (&client{t: t, conn: conn, r: in}).next("welcome")["rooms"].([]any); len(rooms) != 1 {
		t.Errorf("in rooms %v", rooms)
	}
}

// TestPlainRequestsAreToldToUpgrade: whoever sends Upgrade names it in Connection
// (RFC 9110 section 7.8).
func TestPlainRequestsAreToldToUpgrade(t *testing.T) {
	srv := serve(t, open("orders"))
	for name, path := range paths {
		_, r := path(t, srv, "GET /ws/orders HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		h := resp.Header
		if resp.StatusCode != http.StatusUpgradeRequired || h.Get("Upgrade") != "websocket" || h.Get("Connection") != "Upgrade" {
			t.Errorf("%s: answered %s %v", name, resp.Status, h)
		}
	}
}

// TestRefusedHandshakesLeaveNothingOpen counts the descriptors of the process.
func TestRefusedHandshakesLeaveNothingOpen(t *testing.T) {
	srv := serve(t, open("orders"))
	connect(t, srv, "orders").next("welcome")
	before := openFiles(t)
	for range 50 {
		for _, path := range paths {
			for _, request := range []string{handshake("Origin: https://evil.example"), strings.Replace(handshake(), "13", "8", 1)} {
				conn, r := path(t, srv, request)
				if _, err := http.ReadResponse(r, nil); err != nil {
					t.Fatal(err)
				}
				_ = conn.Close()
			}
		}
	}
	eventually(t, "descriptors are open", func() (int, bool) { n := openFiles(t); return n - before, n <= before })
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// eventually fails the test when a value has not become good within 10 s.
func eventually[T any](t *testing.T, what string, look func() (T, bool)) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		v, good := look()
		if good {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, v)
		}
	}
}

// TestBusy: what nobody has time for is answered so that its client comes back.
func TestBusy(t *testing.T) {
	listed := open("orders")
	listed.Clients.AllowedOrigins = []string{"https://shop.example.com"}
	srv := serve(t, listed)
	stream := "GET /sse/orders?room=a HTTP/1.1\r\nHost: x\r\n"
	for said, want := range map[string]struct {
		status int
		origin string
	}{
		stream + "\r\n": {status: http.StatusOK},
		stream + "Origin: https://shop.example.com\r\n\r\n":                {http.StatusOK, "https://shop.example.com"},
		stream + "Origin: https://evil.example.com\r\n\r\n":                {status: http.StatusOK},
		"GET /sse/nosuch HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\n\r\n": {status: http.StatusOK},
		stream + "X: ": {status: http.StatusServiceUnavailable},
		"POST /sse/orders HTTP/1.1\r\nHost: x\r\n\r\n":                        {status: http.StatusServiceUnavailable},
		"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n": {status: http.StatusServiceUnavailable},
		"G": {status: http.StatusServiceUnavailable},
	} {
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(srv.Busy([]byte(said)))), nil)
		if err != nil {
			t.Fatalf("%q: %v", said, err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		stays := resp.StatusCode == http.StatusOK && !strings.HasPrefix(string(body), "retry: ") || resp.StatusCode != http.StatusOK && resp.Header.Get("Retry-After") == ""
		if err != nil || stays || resp.StatusCode != want.status || resp.Header.Get("Access-Control-Allow-Origin") != want.origin {
			t.Errorf("%q is answered %s %v %q (%v)", said, resp.Status, resp.Header, body, err)
		}
	}
}
