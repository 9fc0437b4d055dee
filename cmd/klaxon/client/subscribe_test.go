// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// clients is a server that does the handshake and lets talk say the rest.
func clients(t *testing.T, talk func(conn net.Conn)) (url string, requests chan *http.Request) {
	t.Helper()
	requests = make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		if r.URL.Path == "/ws/nosuch" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"status":404,"detail":"there is no such channel"}`)
			return
		}
		up := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == plain.Subprotocol }}
		conn, _, _, err := up.Upgrade(r, w)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer func() { _ = conn.Close() }()
		talk(conn)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func say(t *testing.T, conn net.Conn, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := wsutil.WriteServerText(conn, []byte(m)); err != nil {
			t.Errorf("write: %v", err)
		}
	}
}

// closing waits for the client's close and returns its code.
func closing(conn net.Conn) ws.StatusCode {
	for {
		m, err := wsutil.ReadClientMessage(conn, nil)
		if err != nil {
			return 0
		}
		for _, m := range m {
			if m.OpCode == ws.OpClose {
				code, _ := ws.ParseCloseFrameData(m.Payload)
				return code
			}
		}
	}
}

func TestSubscribeCounts(t *testing.T) {
	codes := make(chan ws.StatusCode, 1)
	url, requests := clients(t, func(conn net.Conn) {
		say(t, conn, `{"type":"welcome"}`, `{"type":"event","data":1}`, `{"type":"gap","dropped":1}`, `{"type":"event","data":2}`)
		codes <- closing(conn)
	})
	var out strings.Builder
	s := Subscriber{URL: url + "/ws/orders?token=t", Token: "good", Rooms: []string{"a", "b&c"}, Events: 2}
	if n, err := s.Subscribe(t.Context(), &out); err != nil || n != 2 {
		t.Fatalf("%d events, error %v", n, err)
	}
	const want = "{\"type\":\"welcome\"}\n{\"type\":\"event\",\"data\":1}\n{\"type\":\"gap\",\"dropped\":1}\n{\"type\":\"event\",\"data\":2}\n"
	if out.String() != want {
		t.Fatalf("output %q", out.String())
	}
	if code := <-codes; code != ws.StatusNormalClosure {
		t.Fatalf("closed with %d", code)
	}
	r := <-requests
	if r.URL.RawQuery != "room=a&room=b%26c&token=t" || r.Header.Get("Authorization") != "Bearer good" {
		t.Fatalf("asked for %s with %v", r.URL, r.Header)
	}
}

func TestSubscribeAnswersPings(t *testing.T) {
	pong := make(chan string, 1)
	url, _ := clients(t, func(conn net.Conn) {
		if err := wsutil.WriteServerMessage(conn, ws.OpPing, []byte("are you there")); err != nil {
			t.Errorf("ping: %v", err)
		}
		m, err := wsutil.ReadClientMessage(conn, nil)
		if err != nil || len(m) != 1 || m[0].OpCode != ws.OpPong {
			t.Errorf("pong is %v (%v)", m, err)
			return
		}
		pong <- string(m[0].Payload)
		say(t, conn, `{"type":"event"}`)
		closing(conn)
	})
	if n, err := (Subscriber{URL: url, Events: 1}).Subscribe(t.Context(), io.Discard); err != nil || n != 1 {
		t.Fatalf("%d events, error %v", n, err)
	}
	if got := <-pong; got != "are you there" {
		t.Fatalf("pong is %q", got)
	}
}

func TestSubscribeClosed(t *testing.T) {
	url, _ := clients(t, func(conn net.Conn) {
		say(t, conn, `{"type":"event"}`)
		_ = wsutil.WriteServerMessage(conn, ws.OpClose, ws.NewCloseFrameBody(1012, "server restarts"))
		if code := closing(conn); code != 1012 {
			t.Errorf("the close is answered with %d", code)
		}
	})
	n, err := Subscriber{URL: url}.Subscribe(t.Context(), io.Discard)
	var closed *Closed
	if !errors.As(err, &closed) || closed.Code != 1012 || err.Error() != "closed with 1012 server restarts" || n != 1 {
		t.Fatalf("%d events, error %v", n, err)
	}
}

func TestSubscribeBroken(t *testing.T) {
	url, _ := clients(t, func(net.Conn) {})
	_, err := Subscriber{URL: url}.Subscribe(t.Context(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "the connection broke") {
		t.Fatalf("error %v", err)
	}
}

func TestSubscribeTimeout(t *testing.T) {
	codes := make(chan ws.StatusCode, 1)
	url, _ := clients(t, func(conn net.Conn) { codes <- closing(conn) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (Subscriber{URL: url}).Subscribe(ctx, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	if code := <-codes; code != ws.StatusNormalClosure {
		t.Fatalf("closed with %d", code)
	}
}

func TestSubscribeRefused(t *testing.T) {
	url, _ := clients(t, nil)
	for target, want := range map[string]string{
		url + "/ws/nosuch":   "refused with 404: there is no such channel",
		"ws://127.0.0.1:1/x": "connection refused",
		"ftp://x/y":          "use ws://HOST/ws/CHANNEL",
		"orders":             "use ws://HOST/ws/CHANNEL",
	} {
		_, err := Subscriber{URL: target}.Subscribe(t.Context(), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", target, err, want)
		}
	}
}
