// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// adopt gives the loop one end of a pair of sockets that take little, and
// returns the other.
func adopt(t *testing.T, h *echo, early []byte) (peer int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(pair[1]) })
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10); err != nil {
		t.Fatal(err)
	}
	if !h.loop.Adopt(Socket{FD: pair[0], Early: early}, nil) {
		t.Fatal("the loop did not take the connection")
	}
	return pair[1]
}

// greet sends more than a connection may have unsent.
func greet(h *echo, s Slot) {
	h.loop.SetBuffer(s, 4<<10, settings.Disconnect)
	for range 2 {
		h.loop.Send(s, &Frame{Bytes: frames.Encode(frames.Text, []byte(strings.Repeat("x", maxAnswers)))})
	}
}

func TestAPeerThatDoesNotReadItsGreetingIsClosed(t *testing.T) {
	h := start(t, Config{})
	h.onOpen = func(s Slot, _ any) { greet(h, s) }
	adopt(t, h, nil)
	<-h.gone
	h.on(t, func() {
		if n := h.loop.stats.Closes(wire.CloseSlow); n != 1 {
			t.Errorf("%d connections were closed as too slow", n)
		}
	})
}

// TestAConnectionThatEndsInOpenIsLeftAlone: its descriptor's number may be
// somebody else's at once, and what it sent early means nothing any more.
func TestAConnectionThatEndsInOpenIsLeftAlone(t *testing.T) {
	h := start(t, Config{})
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	taken := make(chan int, 1)
	h.onOpen = func(s Slot, _ any) {
		fd := int(h.loop.at(s).fd)
		h.loop.drop(s, h.loop.at(s)) // as when a write fails
		raw, _ := other.(*net.TCPListener).SyscallConn()
		_ = raw.Control(func(was uintptr) { fd, _ = unix.FcntlInt(was, unix.F_DUPFD_CLOEXEC, fd) })
		taken <- fd
	}
	adopt(t, h, masked(ws.OpClose, ""))
	<-h.slots
	fd := <-taken
	defer func() { _ = unix.Close(fd) }()
	h.on(t, func() {
		if err := h.loop.poll.Control(unix.EPOLL_CTL_DEL, fd, nil); !errors.Is(err, unix.ENOENT) {
			t.Errorf("the next one that has the number is watched: %v", err)
		}
	})
	if n := len(h.gone); n != 1 {
		t.Errorf("the handler was told %d times", n)
	}
}
