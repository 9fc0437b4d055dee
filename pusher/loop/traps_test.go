// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// These tests are for mistakes that event loops in other programs have made.

// TestNoWakeUpIsMissed posts to a loop that has just gone to sleep, or is about
// to. A wake-up that gets lost shows as work that waits for the loop's next turn.
func TestNoWakeUpIsMissed(t *testing.T) {
	h := start(t, Config{})
	c, _ := dial(t, h, nil)
	late := 0
	for i := range 400 {
		at := time.Now()
		if i%2 == 0 {
			h.on(t, func() {})
		} else {
			write(t, c, masked(ws.OpText, "x"))
			expectText(t, c, "x")
		}
		if time.Since(at) > maxSleep/4 {
			late++
		}
	}
	if late > 2 { // a busy machine has its hiccups
		t.Errorf("%d of 400 waited as if nobody had woken the loop", late)
	}
}

// TestAPingThatHasNotLeftKillsNobody: during a fan-out that takes longer than
// the heartbeat's timeout, a ping is queued behind what others are sent.
func TestAPingThatHasNotLeftKillsNobody(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Second, HeartbeatTimeout: time.Hour})
	c, s := dial(t, h, nil)
	h.on(t, func() {
		l, conn := h.loop, h.loop.at(s)
		l.advance(l.clock())
		conn.lastRead = 0
		l.start = l.start.Add(-2 * time.Second)
		l.advance(l.clock()) // queues the ping
		if !conn.pinged || conn.queue.head == 0 {
			t.Error("the test has not reached the state that it is about")
		}
		if missing := l.wheel.now - conn.pingedAt; missing != 0 {
			t.Errorf("the peer has %d ticks less than the timeout", missing)
		}
		l.start = l.start.Add(-2 * time.Hour) // and its turn to be written does not come
		l.advance(l.clock())
		if conn.state != open {
			t.Error("closed a peer that was never sent the ping")
		}
		l.flushConn(s, conn)
		l.start = l.start.Add(-2 * time.Hour) // now it was sent, and there is no answer
		l.advance(l.clock())
		if conn.state != closing {
			t.Error("a peer that does not answer is kept")
		}
	})
	if f := readFrame(t, c); f.Header.OpCode != ws.OpPing {
		t.Fatalf("got %v, want a ping", f.Header.OpCode)
	}
	expectClose(t, c, wire.CloseHeartbeat)
}

// TestAnAnswerThatIsThereIsNotMissed: it has come in time, and the loop was too
// busy with others to read it.
func TestAnAnswerThatIsThereIsNotMissed(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Second, HeartbeatTimeout: time.Hour})
	c, s := dial(t, h, nil)
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	h.loop.Post(fn(func() {
		defer close(done)
		l, conn := h.loop, h.loop.at(s)
		l.start = l.start.Add(-2 * time.Second)
		l.advance(l.clock())
		l.flushConn(s, conn)
		close(held)
		<-release
		awaitBytes(t, h, s)
		l.start = l.start.Add(-2 * time.Hour)
		l.advance(l.clock())
		if conn.state != open {
			t.Error("closed a peer that has answered")
		}
	}))
	<-held
	if f := readFrame(t, c); f.Header.OpCode != ws.OpPing {
		t.Errorf("got %v, want a ping", f.Header.OpCode)
	}
	write(t, c, masked(ws.OpPong, ""))
	close(release)
	<-done
}

// TestACloseInTheTurnAfterAStallIsSent: what the wheel has to catch up with is
// not taken from the time that the peer has for its half of the handshake.
func TestACloseInTheTurnAfterAStallIsSent(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Hour, HeartbeatTimeout: time.Hour})
	c, s := dial(t, h, nil)
	h.on(t, func() {
		h.loop.start = h.loop.start.Add(-2 * closeTimeout)
		h.loop.Close(s, wire.CloseRestart, "")
	})
	expectClose(t, c, wire.CloseRestart)
	write(t, c, masked(ws.OpClose, ""))
	expectEOF(t, c)
}

func TestDeadlinesAreKeptToATenthOfASecond(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: 10 * time.Minute, HeartbeatTimeout: 10 * time.Minute})
	_, s := dial(t, h, nil)
	h.on(t, func() {
		for _, d := range []time.Duration{
			0, time.Millisecond, 99 * time.Millisecond, 101 * time.Millisecond, 25 * time.Second, 51 * time.Second,
			52 * time.Second, time.Hour, 30 * 24 * time.Hour,
		} {
			at := time.Now().Add(d)
			h.loop.SetDeadline(s, at)
			kept := h.loop.start.Add(time.Duration(h.loop.at(s).deadline) * tickLength)
			if late := kept.Sub(at); late < 0 || late > 110*time.Millisecond {
				t.Errorf("in %s: kept %s late", d, late)
			}
		}
		h.loop.SetDeadline(s, time.Now().AddDate(1000, 0, 0)) // further than a Duration reaches
		if in := h.loop.at(s).deadline; in < ticks(365*24*time.Hour) {
			t.Errorf("in a thousand years: kept in %d ticks", in)
		}
	})
	var late []time.Duration
	for range 5 {
		_, s := dial(t, h, nil)
		at := time.Now().Add(150 * time.Millisecond)
		h.on(t, func() { h.loop.SetDeadline(s, at) })
		<-h.late
		late = append(late, time.Since(at))
	}
	if slices.Sort(late); late[0] < 0 || late[2] > 300*time.Millisecond {
		t.Errorf("deadlines came %s late", late)
	}
}

// TestDeadlinesFollowTheWallClock: the machine's clock was an hour slow when the
// loop began, and was set right since. Tokens end by the clock as it is now.
func TestDeadlinesFollowTheWallClock(t *testing.T) {
	h := start(t, Config{})
	_, s := dial(t, h, nil)
	h.on(t, func() {
		before := h.loop.start
		// A time's first word has the seconds of the wall clock from bit 30 on. The
		// monotonic clock is in the second.
		*(*uint64)(unsafe.Pointer(&h.loop.start)) -= 3600 << 30
		if wall := before.Round(0).Sub(h.loop.start.Round(0)); wall != time.Hour || !h.loop.start.Equal(before) && h.loop.start.Sub(before) != 0 {
			t.Fatalf("the test has moved the wall clock by %s and the monotonic one by %s", wall, h.loop.start.Sub(before))
		}
		h.loop.SetDeadline(s, time.Now().Add(time.Minute).Round(0)) // without monotonic time, as of a token
		c := h.loop.at(s)
		if in := time.Duration(c.deadline-h.loop.clock()) * tickLength; in < 59*time.Second || in > 61*time.Second {
			t.Errorf("a deadline in a minute is kept in %s", in)
		}
	})
}

func TestControlFramesKeepTheirPlaceAmongEvents(t *testing.T) {
	for name, tc := range map[string]struct{ events, size int }{
		"more than one write takes": {3 * maxIovecs, 1},
		"more than a socket takes":  {40, 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Config{HeartbeatInterval: time.Hour})
			c, s := dial(t, h, nil)
			var want []string
			h.on(t, func() {
				l, conn := h.loop, h.loop.at(s)
				l.SetBuffer(s, 1<<30, settings.Disconnect)
				for i := range tc.events {
					body := fmt.Sprintf("%0*d", tc.size, i)
					l.Send(s, &Frame{Bytes: frames.Encode(frames.Text, []byte(body)), Event: true})
					want = append(want, fmt.Sprint("event ", i))
					switch i % 3 {
					case 0:
						l.enqueue(s, conn, pingFrame)
						want = append(want, "ping ")
					case 1:
						if conn.queue.bytes > maxUnsentPong {
							continue // none is owed
						}
						l.received(s, conn, masked(ws.OpPing, fmt.Sprint(i)))
						want = append(want, fmt.Sprint("pong ", i))
					}
				}
				l.Close(s, wire.CloseNormal, "")
			})
			for i, w := range append(want, "close") {
				f := readFrame(t, c)
				got := map[ws.OpCode]string{ws.OpPing: "ping ", ws.OpPong: "pong ", ws.OpClose: "close", ws.OpText: "event "}[f.Header.OpCode]
				switch f.Header.OpCode {
				case ws.OpText:
					n, _ := strconv.Atoi(string(f.Payload[max(0, len(f.Payload)-4):]))
					got += strconv.Itoa(n)
				case ws.OpPong:
					got += string(f.Payload)
				}
				if got != w {
					t.Fatalf("frame %d is %q, want %q", i, got, w)
				}
			}
		})
	}
}

// TestUnreadBytesDoNotResetTheConnection: closing a socket with unread bytes
// sends a reset, which may destroy what the peer has not read yet.
func TestUnreadBytesDoNotResetTheConnection(t *testing.T) {
	more := bytes.Repeat(masked(ws.OpPong, strings.Repeat("x", 94)), readSize/10)
	t.Run("when the loop stops", func(t *testing.T) {
		h := start(t, Config{HeartbeatInterval: time.Hour})
		c, s := dial(t, h, nil)
		held, release := make(chan struct{}), make(chan struct{})
		h.loop.Post(fn(func() { close(held); <-release }))
		<-held
		write(t, c, more)
		awaitBytes(t, h, s)
		h.loop.Post(fn(func() {
			if n, err := unix.IoctlGetInt(int(h.loop.at(s).fd), unix.TIOCINQ); n < 2*readSize || err != nil {
				t.Errorf("%d bytes are unread, error %v: too few for this test", n, err)
			}
			h.loop.Close(s, wire.CloseRestart, "")
			h.loop.stopping = true
		}))
		close(release)
		expectClose(t, c, wire.CloseRestart)
		<-h.loop.done
		expectEOF(t, c)
	})
	t.Run("behind the peer's close frame", func(t *testing.T) {
		h := start(t, Config{HeartbeatInterval: time.Hour})
		c, s := dial(t, h, nil)
		held, release := make(chan struct{}), make(chan struct{})
		h.loop.Post(fn(func() { close(held); <-release }))
		<-held
		write(t, c, append(masked(ws.OpClose, ""), more...))
		awaitBytes(t, h, s)
		close(release)
		f := readFrame(t, c)
		if f.Header.OpCode != ws.OpClose {
			t.Fatalf("got %v, want a close", f.Header.OpCode)
		}
		expectEOF(t, c)
	})
}

// awaitBytes waits until a connection has something to read, for 5 s.
func awaitBytes(t *testing.T, h *echo, s Slot) {
	t.Helper()
	poll := []unix.PollFd{{Fd: h.loop.at(s).fd, Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 5000); n != 1 || err != nil {
		t.Errorf("nothing has come: %d, error %v", n, err)
	}
}

// TestAStaleEventTouchesNobody has events of connections that are gone in a
// batch, while their slot, and their descriptor's number, are others' by now.
func TestAStaleEventTouchesNobody(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Hour})
	first, slot := dial(t, h, nil)
	second, freed := dial(t, h, nil)
	var old uint32
	h.on(t, func() { old = h.loop.at(slot).gen })
	for _, c := range []net.Conn{second, first} { // the slot that was freed last is used first
		_ = c.Close()
		<-h.gone
		h.on(t, func() {}) // the turn in which the slot was freed is over
	}
	c, s := dial(t, h, nil)
	if s != slot {
		t.Fatalf("the connection is in slot %d, want %d again", s, slot)
	}
	held, release := make(chan struct{}), make(chan struct{})
	h.loop.Post(fn(func() {
		close(held)
		<-release
		l := h.loop
		awaitBytes(t, h, s)
		l.at(freed).fd = l.at(s).fd
		const all = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLHUP | unix.EPOLLERR
		l.events[0] = unix.EpollEvent{Events: all, Fd: int32(s), Pad: int32(old)}
		l.events[1] = unix.EpollEvent{Events: all, Fd: int32(freed), Pad: int32(l.at(freed).gen)}
		l.nextEvent, l.lastEvent = 0, 2
		before := l.stats.bytesIn.Load()
		l.handleEvents(time.Now())
		if l.stats.bytesIn.Load() != before || l.at(s).state != open {
			t.Error("an event of a connection that is gone was taken for another's")
		}
	}))
	<-held
	write(t, c, masked(ws.OpText, "mine"))
	close(release)
	expectText(t, c, "mine")
}
