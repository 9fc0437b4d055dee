// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package acceptor

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const handshake = "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// taker takes handshakes for /mine: it answers with what came early, and closes.
type taker struct{ t *testing.T }

func (k taker) Upgrade(c *Conn) bool {
	if string(c.Request.Path) != "/mine" {
		return false
	}
	answer := fmt.Sprintf("%s taken, early %q", c.Remote, c.Early)
	if _, err := unix.Write(c.FD, []byte(answer)); err != nil {
		k.t.Error(err)
	}
	if err := unix.Close(c.FD); err != nil {
		k.t.Error(err)
	}
	return true
}

func (taker) Room() int { return 1000 }

func (taker) Busy([]byte) string { return Busy }

// start runs an Acceptor, and net/http on its Rest, which answers with the body.
func start(t *testing.T) *Acceptor {
	t.Helper()
	a, err := Listen("127.0.0.1:0", taker{t}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- a.Run() }()
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s from %s", r.URL.Path, b, r.RemoteAddr)
	})}
	go func() { _ = srv.Serve(a.Rest()) }()
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		_ = srv.Close()
	})
	return a
}

func dial(t *testing.T, a *Acceptor) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func TestHandshakesAreTakenWithWhatCameBehindThem(t *testing.T) {
	a := start(t)
	c := dial(t, a)
	write(t, c, fmt.Sprintf(handshake, "/mine")+"first bytes")
	got, err := io.ReadAll(c)
	if want := c.LocalAddr().String() + ` taken, early "first bytes"`; err != nil || string(got) != want {
		t.Errorf("got %q, want %q, error %v", got, want, err)
	}
}

// TestTheRestGoesToNetHTTP covers requests in pieces, ones that are larger than
// a reader's buffer, and handshakes that nobody takes.
func TestTheRestGoesToNetHTTP(t *testing.T) {
	a := start(t)
	body := strings.Repeat("x", 3*readSize)
	for name, request := range map[string]string{
		"a handshake for nobody": fmt.Sprintf(handshake, "/other"),
		"a large body":           fmt.Sprintf("POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
		"a large header":         "GET /other HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", readSize) + "\r\n\r\n",
	} {
		for _, piece := range []int{len(request), 1000, 7} {
			c := dial(t, a)
			go func() {
				for s := request; len(s) > 0; {
					n := min(piece, len(s))
					if _, err := io.WriteString(c, s[:n]); err != nil {
						return // the reader will say
					}
					s = s[n:]
				}
			}()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%s in pieces of %d: %v", name, piece, err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			want := "/other  from " + c.LocalAddr().String()
			if strings.HasPrefix(request, "POST") {
				want = "/other " + body + " from " + c.LocalAddr().String()
			}
			if err != nil || string(got) != want {
				t.Errorf("%s in pieces of %d: got %.60q, error %v", name, piece, got, err)
			}
			_ = c.Close()
		}
	}
}

// TestAcceptedSocketsHaveTheListenersOptions: what is set once on the listener
// is not set again for each connection.
func TestAcceptedSocketsHaveTheListenersOptions(t *testing.T) {
	got := make(chan [2]int, 1)
	options := upgraderFunc(func(c *Conn) bool {
		noDelay, err1 := unix.GetsockoptInt(c.FD, unix.IPPROTO_TCP, unix.TCP_NODELAY)
		patience, err2 := unix.GetsockoptInt(c.FD, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err1 != nil || err2 != nil {
			t.Error(err1, err2)
		}
		got <- [2]int{noDelay, patience}
		_ = unix.Close(c.FD)
		return true
	})
	a, err := Listen("127.0.0.1:0", options, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = a.Run() }()
	t.Cleanup(func() { _ = a.Close() })
	if err := a.SetPatience(45 * time.Second); err != nil {
		t.Fatal(err)
	}
	write(t, dial(t, a), fmt.Sprintf(handshake, "/mine"))
	if have, want := <-got, [2]int{1, 45000}; have != want {
		t.Errorf("TCP_NODELAY and TCP_USER_TIMEOUT are %v, want %v", have, want)
	}
}

// TestTheRestIsNotProbed: net/http's timeouts are shorter, and the heartbeat does
// it for a client whose handshake took this way; probes would come on top.
func TestTheRestIsNotProbed(t *testing.T) {
	a, err := Listen("127.0.0.1:0", taker{t}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = a.Run() }()
	t.Cleanup(func() { _ = a.Close() })
	write(t, dial(t, a), "GET /")
	c, err := a.Rest().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if on, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); on != 0 || err != nil {
			t.Errorf("SO_KEEPALIVE is %d, error %v", on, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

type upgraderFunc func(c *Conn) bool

func (f upgraderFunc) Upgrade(c *Conn) bool { return f(c) }
func (upgraderFunc) Room() int              { return 1000 }
func (upgraderFunc) Busy([]byte) string     { return Busy }

// TestARestThatNobodyServesAnswersBusy fills the Rest without accepting from it.
func TestARestThatNobodyServesAnswersBusy(t *testing.T) {
	a, err := Listen("127.0.0.1:0", taker{t}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = a.Run() }()
	t.Cleanup(func() { _ = a.Close() })
	var waiting []net.Conn
	for range MaxWaiting {
		c := dial(t, a)
		write(t, c, "GET /")
		waiting = append(waiting, c)
	}
	c := dial(t, a)
	write(t, c, "GET /")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
	// Handshakes are taken all the same.
	mine := dial(t, a)
	write(t, mine, fmt.Sprintf(handshake, "/mine"))
	if got, err := io.ReadAll(mine); err != nil || !strings.Contains(string(got), "taken") {
		t.Errorf("a handshake is answered %q, error %v", got, err)
	}
	// When it is closed, those that wait are let go, and nobody new is kept.
	_ = a.Rest().Close()
	late := dial(t, a)
	write(t, late, "GET /")
	for _, c := range []net.Conn{waiting[0], waiting[MaxWaiting-1], late} {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes, error %v, from a connection that should have ended", n, err)
		}
	}
	if _, err := a.Rest().Accept(); err == nil {
		t.Error("accepted a connection of a Rest that is closed")
	}
}

// TestAnAnswerIsFollowedByAnEnd: net/http answers a request that is too large
// before it has read it all, and ends its own half of the connection first,
// because closing all of it then resets it.
func TestAnAnswerIsFollowedByAnEnd(t *testing.T) {
	a := start(t)
	c := dial(t, a)
	go func() {
		_, _ = io.WriteString(c, "GET /other HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("y", 2*http.DefaultMaxHeaderBytes))
	}()
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 431 ") {
		t.Errorf("got %.60q, error %v", got, err)
	}
}
