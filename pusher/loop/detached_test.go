// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// detached adopts a connection without a socket.
func detached(t *testing.T, h *echo) Slot {
	t.Helper()
	if !h.loop.Adopt(Socket{FD: NoSocket, Kind: Packets}, nil) {
		t.Fatal("the loop did not take the connection")
	}
	return <-h.slots
}

func textFrame(s string) *Frame { return &Frame{Bytes: frames.Encode(frames.Text, []byte(s))} }

// take takes all that is queued, as text.
func (h *echo) take(s Slot) (all []string) {
	h.loop.Take(s, func(f *Frame) bool {
		_, payload, _ := frames.First(f.Bytes)
		all = append(all, string(payload))
		return true
	})
	return all
}

func TestADetachedConnectionIsEmptiedByTake(t *testing.T) {
	h := start(t, Config{})
	waiting := make(chan []string, 10)
	h.onWaiting = func(s Slot) { waiting <- h.take(s) }
	s := detached(t, h)
	h.on(t, func() {
		h.loop.Send(s, textFrame("a"))
		h.loop.Send(s, textFrame("b"))
	})
	if got := <-waiting; strings.Join(got, " ") != "a b" {
		t.Fatalf("taken at the end of the turn: %q", got)
	}
	if got := h.loop.Stats().Connections(); got != 1 {
		t.Fatalf("%d connections", got)
	}
	h.on(t, func() { h.loop.Close(s, 1000, "") })
	if got := <-h.gone; got != s || h.loop.Stats().Connections() != 0 {
		t.Fatalf("slot %d is gone, %d connections are left", got, h.loop.Stats().Connections())
	}
}

func TestTakeLeavesWhatIsNotTaken(t *testing.T) {
	h := start(t, Config{})
	s := detached(t, h)
	h.on(t, func() {
		for i := range 5 {
			h.loop.Send(s, textFrame(fmt.Sprint(i)))
		}
		n := 0
		h.loop.Take(s, func(*Frame) bool { n++; return n <= 2 })
		if got := h.take(s); strings.Join(got, "") != "234" || h.loop.Queued(s) {
			t.Errorf("left: %q", got)
		}
	})
}

func TestWhoAsksAndNeverFetchesIsClosed(t *testing.T) {
	h := start(t, Config{})
	s := detached(t, h)
	h.on(t, func() {
		h.loop.SetBuffer(s, 4<<10, settings.Disconnect)
		for range 100 {
			h.loop.Send(s, textFrame(strings.Repeat("x", 1<<10)))
		}
	})
	if got := <-h.gone; got != s {
		t.Fatalf("slot %d is gone", got)
	}
}

func TestADetachedConnectionDropsOldestByTopic(t *testing.T) {
	h := start(t, Config{})
	s := detached(t, h)
	h.on(t, func() {
		h.loop.SetBuffer(s, 100, settings.DropOldest)
		for i := range 30 {
			f := textFrame(fmt.Sprintf("event %02d", i))
			f.Event, f.Topic = true, uint32(1+i%2)
			h.loop.Send(s, f)
		}
		got := h.take(s)
		var dropped, kept, topic int
		for _, m := range got {
			var n int
			if c, _ := fmt.Sscanf(m, "gap %d of %d", &n, &topic); c == 2 {
				dropped += n
				continue
			}
			if want := fmt.Sprintf("event %02d", dropped+kept); m != want {
				t.Errorf("%q where %q is due, in %q", m, want, got)
			}
			kept++
		}
		if dropped+kept != 30 || dropped == 0 || kept == 0 || len(got) != kept+2 {
			t.Errorf("%d dropped, %d kept in %q; two topics have a marker each", dropped, kept, got)
		}
	})
}

// TestMove hands a socket over in the middle of a segment: what follows the
// message that asks for it is the other connection's.
func TestMove(t *testing.T) {
	h := start(t, Config{MaxPacket: 1 << 10})
	to := detached(t, h)
	var from Slot
	h.onText = func(s Slot, msg string) bool {
		switch {
		case msg == "move" && s == from:
			h.loop.Send(s, textFrame("last of the first"))
			h.loop.Move(s, to)
			h.loop.Send(to, textFrame("from now on"))
		case s == to:
			h.loop.Send(to, textFrame("second got "+msg))
		default:
			h.loop.Send(s, textFrame("first got "+msg))
		}
		return true
	}
	h.on(t, func() { h.loop.Send(to, textFrame("waited")) })
	c, s := dialAs(t, h, Socket{Kind: Packets})
	h.on(t, func() { from = s })
	next := masked(ws.OpText, "next")
	write(t, c, bytes.Join([][]byte{masked(ws.OpText, "hello"), masked(ws.OpText, "move"), masked(ws.OpText, "more"), next[:3]}, nil))
	for _, want := range []string{"first got hello", "last of the first", "waited", "from now on", "second got more"} {
		expectText(t, c, want)
	}
	if got := <-h.gone; got != s {
		t.Fatalf("slot %d is gone, want the first connection's", got)
	}
	write(t, c, next[3:]) // the second half of a frame
	expectText(t, c, "second got next")
	if got := h.loop.Stats().Connections(); got != 1 {
		t.Fatalf("%d connections, want one", got)
	}
	h.on(t, func() { h.loop.Close(to, 1000, "") })
	expectClose(t, c, 1000)
}

// TestMoveOfASocketThatIsFull: what a socket has taken a part of comes first.
func TestMoveOfASocketThatIsFull(t *testing.T) {
	h := start(t, Config{MaxPacket: 1 << 10})
	to := detached(t, h)
	c, from := dialAs(t, h, Socket{Kind: Packets})
	const n, size = 300, 60_000
	h.on(t, func() {
		h.loop.SetBuffer(from, 1<<30, settings.Disconnect)
		for i := range n {
			h.loop.Send(from, textFrame(fmt.Sprintf("%06d", i)+strings.Repeat(".", size)))
		}
		h.loop.Send(to, textFrame("behind"))
	})
	h.on(t, func() { h.loop.Move(from, to) })
	for i := range n {
		if f := readFrame(t, c); string(f.Payload[:6]) != fmt.Sprintf("%06d", i) || len(f.Payload) != size+6 {
			t.Fatalf("frame %d: %q… of %d bytes", i, f.Payload[:6], len(f.Payload))
		}
	}
	expectText(t, c, "behind")
}

func TestPacketsAreNotPinged(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: 100 * time.Millisecond, HeartbeatTimeout: 100 * time.Millisecond, MaxPacket: 1 << 10})
	c, _ := dialAs(t, h, Socket{Kind: Packets})
	pinged, _ := dial(t, h, nil)
	for range 2 { // one that is pinged and answers shows that time passes
		if f := readFrame(t, pinged); f.Header.OpCode != ws.OpPing {
			t.Fatalf("got %v", f.Header.OpCode)
		}
		write(t, pinged, masked(ws.OpPong, ""))
	}
	write(t, c, masked(ws.OpText, "first"))
	expectText(t, c, "first")
}

func TestAnEventStreamIsBytes(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Hour})
	c, s := dialAs(t, h, Socket{Kind: EventStream, Answer: []byte("HTTP/1.1 200 OK\r\n\r\n")})
	write(t, c, []byte("\x00what a client of a stream sends means nothing"))
	h.on(t, func() {
		h.loop.Send(s, &Frame{Bytes: []byte("data: 1\n\n"), Event: true})
		h.loop.Close(s, 1012, "no client sees this")
		h.loop.Send(s, &Frame{Bytes: []byte("too late")})
	})
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n" {
		t.Fatalf("got %q, error %v", got, err)
	}
	if gone := <-h.gone; gone != s {
		t.Fatalf("slot %d is gone", gone)
	}
}

func TestAnEventStreamWhoseClientGoesIsClosed(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Hour})
	c, s := dialAs(t, h, Socket{Kind: EventStream})
	_ = c.Close()
	if gone := <-h.gone; gone != s {
		t.Fatalf("slot %d is gone", gone)
	}
}
