// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package epoll

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watched returns a Poll and the two ends of a pipe; it watches the one that is read.
func watched(t *testing.T) (p *Poll, r, w int) {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close()
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
	})
	if err := p.Control(unix.EPOLL_CTL_ADD, fds[0], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: 7}); err != nil {
		t.Fatal(err)
	}
	return p, fds[0], fds[1]
}

func TestWaitEndsWithAnEventAsOftenAsItIsThere(t *testing.T) {
	p, r, w := watched(t)
	events := make([]unix.EpollEvent, 4)
	if n := p.Now(events); n != 0 {
		t.Fatalf("%d events before any", n)
	}
	for range 3 {
		waited := make(chan int)
		go func() {
			n, err := p.Wait(events, time.Now().Add(time.Minute))
			if err != nil {
				t.Error(err)
			}
			waited <- n
		}()
		if _, err := unix.Write(w, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if n := <-waited; n != 1 || events[0].Fd != 7 {
			t.Fatalf("%d events, the first is of %d", n, events[0].Fd)
		}
		// What was not read is there at once.
		if n, err := p.Wait(events, time.Now().Add(time.Minute)); n != 1 || err != nil {
			t.Fatalf("again: %d events, %v", n, err)
		}
		if _, err := unix.Read(r, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitEndsInTime(t *testing.T) {
	p, _, _ := watched(t)
	events := make([]unix.EpollEvent, 4)
	for _, d := range []time.Duration{0, 20 * time.Millisecond, time.Millisecond} { // later, then sooner than what was set
		latest := time.Now().Add(d)
		n, err := p.Wait(events, latest)
		if n != 0 || err != nil || time.Now().Before(latest) {
			t.Errorf("%v: %d events, %v, %v early", d, n, err, time.Until(latest))
		}
	}
}

func TestCloseEndsWaiting(t *testing.T) {
	p, _, _ := watched(t)
	ended := make(chan error)
	go func() {
		_, err := p.Wait(make([]unix.EpollEvent, 4), time.Now().Add(time.Minute))
		ended <- err
	}()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("waiting ended without an error")
	}
}
