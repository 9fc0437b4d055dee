// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// placed serves on so many places; requests of /hold are served until released.
func placed(t *testing.T, n int, patience time.Duration) (addr string, release func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, held := limitPlaces(ln, n, patience), make(chan struct{})
	srv := &http.Server{ConnState: p.note, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-held
		}
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(p) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ln.Addr().String(), func() { close(held) }
}

func visit(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func ask(c net.Conn, r *bufio.Reader, path string) error {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// TestWhoAsksNothingMakesWay: silent connections and those that are kept for later give
// their places to whoever has a request.
func TestWhoAsksNothingMakesWay(t *testing.T) {
	addr, _ := placed(t, 4, 0)
	kept, keptReader := visit(t, addr)
	if err := ask(kept, keptReader, "/"); err != nil {
		t.Fatal(err)
	}
	var silent []net.Conn
	for range 50 {
		c, _ := visit(t, addr)
		silent = append(silent, c)
	}
	for range 5 {
		c, r := visit(t, addr)
		if err := ask(c, r, "/"); err != nil {
			t.Fatalf("no place for who asks: %v", err)
		}
	}
	for i, c := range append(silent[:46:46], kept) {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%d has its place still: %v", i, err)
		}
	}
}

// TestWhoIsServedKeepsItsPlace, and others wait.
func TestWhoIsServedKeepsItsPlace(t *testing.T) {
	addr, release := placed(t, 2, 0)
	answers := make(chan error, 3)
	for range 2 {
		c, r := visit(t, addr)
		go func() { answers <- ask(c, r, "/hold") }()
	}
	time.Sleep(100 * time.Millisecond)
	c, r := visit(t, addr)
	go func() { answers <- ask(c, r, "/") }()
	select {
	case err := <-answers:
		t.Fatalf("answered before there is a place: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	release()
	for range 3 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

// TestWhoIsServedForLongMakesWay where that is on purpose.
func TestWhoIsServedForLongMakesWay(t *testing.T) {
	addr, release := placed(t, 3, 300*time.Millisecond)
	defer release()
	for range 3 {
		c, r := visit(t, addr)
		go func() { _ = ask(c, r, "/hold") }()
	}
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	for range 5 {
		c, r := visit(t, addr)
		if err := ask(c, r, "/"); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 100*time.Millisecond || took > 5*time.Second {
		t.Errorf("served after %s", took)
	}
}

// TestAServerEndsWhoseListenerWaits for a place.
func TestAServerEndsWhoseListenerWaits(t *testing.T) {
	addr, release := placed(t, 1, 0)
	c, r := visit(t, addr)
	go func() { _ = ask(c, r, "/hold") }()
	time.Sleep(50 * time.Millisecond)
	visit(t, addr)
	time.Sleep(50 * time.Millisecond)
	t.Cleanup(release) // the server ends before
}
