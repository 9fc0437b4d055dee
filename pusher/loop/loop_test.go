// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// echo is a Handler that sends every message back and records what it is told.
type echo struct {
	loop *Loop
	// onOpen runs on the loop for each new connection.
	onOpen func(s Slot, hello any)
	// onText and onWaiting run on the loop; onText says that it has dealt with the message.
	onText    func(s Slot, msg string) bool
	onWaiting func(s Slot)

	// Guarded by mu.
	mu     sync.Mutex
	opens  int
	closes map[Slot]int
	slots  chan Slot
	gone   chan Slot
	late   chan Slot
}

func (h *echo) Open(s Slot, hello any) {
	h.mu.Lock()
	h.opens++
	h.mu.Unlock()
	if h.onOpen != nil {
		h.onOpen(s, hello)
	}
	h.slots <- s
}

func (h *echo) Text(s Slot, msg []byte) {
	if h.onText != nil && h.onText(s, string(msg)) {
		return
	}
	h.loop.Send(s, &Frame{Bytes: frames.Encode(frames.Text, msg)})
}

func (h *echo) Closed(s Slot, _ wire.CloseCode, _ string) {
	h.mu.Lock()
	h.closes[s]++
	h.mu.Unlock()
	h.gone <- s
}
func (h *echo) Expired(s Slot) { h.late <- s; h.loop.Close(s, wire.CloseUnauthorized, "expired") }
func (h *echo) Binary(s Slot, _ []byte) {
	h.loop.Close(s, wire.CloseUnsupported, wire.CloseUnsupported.Reason())
}

func (h *echo) Waiting(s Slot) {
	if h.onWaiting != nil {
		h.onWaiting(s)
	}
}

func (h *echo) Gap(_ Slot, topic, n uint32) []byte {
	if topic != 0 {
		return frames.Encode(frames.Text, fmt.Appendf(nil, "gap %d of %d", n, topic))
	}
	return frames.Encode(frames.Text, bytes.Repeat([]byte("g"), int(n)))
}

func start(t *testing.T, config Config) *echo {
	t.Helper()
	if config.HeartbeatInterval == 0 {
		config.HeartbeatInterval, config.HeartbeatTimeout = time.Minute, time.Minute
	}
	if config.MaxMessage == 0 {
		config.MaxMessage = 1 << 10
	}
	h := &echo{closes: map[Slot]int{}, slots: make(chan Slot, 100), gone: make(chan Slot, 100), late: make(chan Slot, 100)}
	l, err := New(h, config)
	if err != nil {
		t.Fatal(err)
	}
	h.loop = l
	go l.Run()
	t.Cleanup(l.Stop)
	return h
}

// dial gives the loop one end of a TCP connection and returns the other.
func dial(t *testing.T, h *echo, early []byte) (*net.TCPConn, Slot) {
	t.Helper()
	return dialAs(t, h, Socket{Early: early})
}

func dialAs(t *testing.T, h *echo, as Socket) (*net.TCPConn, Slot) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if as.FD, err = Detach(server); err != nil {
		t.Fatal(err)
	}
	if !h.loop.Adopt(as, nil) {
		t.Fatal("the loop did not take the connection")
	}
	if err := client.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return client.(*net.TCPConn), <-h.slots
}

func masked(op ws.OpCode, payload string) []byte {
	f := ws.MaskFrame(ws.NewFrame(op, true, []byte(payload)))
	return ws.MustCompileFrame(f)
}

func readFrame(t *testing.T, c net.Conn) ws.Frame {
	t.Helper()
	f, err := ws.ReadFrame(c)
	if err != nil {
		t.Fatalf("read a frame: %v", err)
	}
	return f
}

func expectText(t *testing.T, c net.Conn, want string) {
	t.Helper()
	if f := readFrame(t, c); f.Header.OpCode != ws.OpText || string(f.Payload) != want {
		t.Fatalf("got frame %v %q, want text %q", f.Header.OpCode, f.Payload, want)
	}
}

func expectClose(t *testing.T, c net.Conn, want wire.CloseCode) {
	t.Helper()
	f := readFrame(t, c)
	code, reason := ws.ParseCloseFrameData(f.Payload)
	if f.Header.OpCode != ws.OpClose || wire.CloseCode(code) != want {
		t.Fatalf("got frame %v, code %d %q; want a close with %d", f.Header.OpCode, code, reason, want)
	}
}

func expectEOF(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("got %d bytes, error %v; want the end of the connection", n, err)
	}
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

type fn func()

func (f fn) Run()    { f() }
func (fn) Size() int { return 0 }

// on runs f on the loop and waits.
func (h *echo) on(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !h.loop.Post(fn(func() { f(); close(done) })) {
		t.Fatal("the loop has stopped")
	}
	<-done
}

func TestBytesBehindTheHandshakeAreRead(t *testing.T) {
	h := start(t, Config{})
	half := masked(ws.OpText, "half")
	c, _ := dial(t, h, append(masked(ws.OpText, "early"), half[:3]...))
	expectText(t, c, "early")
	write(t, c, half[3:])
	expectText(t, c, "half")
}

func TestAFrameByteByByteHoldsUpNobody(t *testing.T) {
	h := start(t, Config{})
	slow, _ := dial(t, h, nil)
	quick, _ := dial(t, h, nil)
	for i, b := range masked(ws.OpText, "slow") {
		write(t, slow, []byte{b})
		msg := strings.Repeat("x", i+1)
		write(t, quick, masked(ws.OpText, msg))
		expectText(t, quick, msg)
	}
	expectText(t, slow, "slow")
}

func TestFragmentsWithAPingBetween(t *testing.T) {
	h := start(t, Config{})
	c, _ := dial(t, h, nil)
	frag := func(op ws.OpCode, fin bool, p string) []byte {
		return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(p))))
	}
	write(t, c, frag(ws.OpText, false, "ab"))
	write(t, c, frag(ws.OpPing, true, "?"))
	if f := readFrame(t, c); f.Header.OpCode != ws.OpPong || string(f.Payload) != "?" {
		t.Fatalf("got %v %q, want the pong", f.Header.OpCode, f.Payload)
	}
	write(t, c, frag(ws.OpContinuation, false, "cd"))
	write(t, c, frag(ws.OpContinuation, true, "ef"))
	expectText(t, c, "abcdef")
}

func TestViolationsAreAnsweredWithTheirCode(t *testing.T) {
	for name, tc := range map[string]struct {
		bytes []byte
		want  wire.CloseCode
	}{
		"unmasked":          {ws.MustCompileFrame(ws.NewTextFrame([]byte("x"))), wire.CloseProtocol},
		"too big":           {masked(ws.OpText, strings.Repeat("x", 2000)), wire.CloseTooBig},
		"binary":            {masked(ws.OpBinary, "x"), wire.CloseUnsupported},
		"no UTF-8":          {masked(ws.OpText, "\xff"), wire.CloseInvalidText},
		"reserved bit":      {[]byte{0xc1, 0x80, 0, 0, 0, 0}, wire.CloseProtocol},
		"lone continuation": {masked(ws.OpContinuation, "x"), wire.CloseProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Config{})
			c, _ := dial(t, h, nil)
			// What follows a violation is not read as frames, and must not reset
			// the connection before the close frame is read.
			write(t, c, append(tc.bytes, masked(ws.OpText, "more")...))
			expectClose(t, c, tc.want)
			<-h.gone
			write(t, c, masked(ws.OpClose, ""))
			_ = c.CloseWrite()
			expectEOF(t, c)
		})
	}
}

func TestClosingHandshakes(t *testing.T) {
	t.Run("the client begins", func(t *testing.T) {
		h := start(t, Config{})
		c, _ := dial(t, h, nil)
		write(t, c, masked(ws.OpText, "last"))
		write(t, c, ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "bye")))))
		expectText(t, c, "last")
		expectClose(t, c, wire.CloseNormal)
		expectEOF(t, c)
		<-h.gone
	})
	t.Run("the server begins", func(t *testing.T) {
		h := start(t, Config{})
		c, s := dial(t, h, nil)
		h.on(t, func() {
			h.loop.Send(s, &Frame{Bytes: frames.Encode(frames.Text, []byte("before"))})
			h.loop.Close(s, wire.CloseRestart, "")
			h.loop.Close(s, wire.CloseRestart, "twice")
			h.loop.Send(s, &Frame{Bytes: frames.Encode(frames.Text, []byte("after"))})
		})
		expectText(t, c, "before")
		expectClose(t, c, wire.CloseRestart)
		write(t, c, masked(ws.OpClose, ""))
		expectEOF(t, c)
		<-h.gone
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.closes[s] != 1 {
			t.Fatalf("Closed came %d times", h.closes[s])
		}
	})
	t.Run("the client is gone without a word", func(t *testing.T) {
		h := start(t, Config{})
		c, s := dial(t, h, nil)
		_ = c.SetLinger(0)
		_ = c.Close()
		if got := <-h.gone; got != s {
			t.Fatalf("slot %d closed, want %d", got, s)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: 200 * time.Millisecond, HeartbeatTimeout: 300 * time.Millisecond})
	alive, _ := dial(t, h, nil)
	dead, deadSlot := dial(t, h, nil)
	for range 4 {
		if f := readFrame(t, alive); f.Header.OpCode != ws.OpPing {
			t.Fatalf("got %v, want a ping", f.Header.OpCode)
		}
		write(t, alive, masked(ws.OpPong, ""))
	}
	if f := readFrame(t, dead); f.Header.OpCode != ws.OpPing {
		t.Fatalf("got %v, want a ping", f.Header.OpCode)
	}
	expectClose(t, dead, wire.CloseHeartbeat)
	if got := <-h.gone; got != deadSlot {
		t.Fatalf("slot %d closed, want only the silent one, %d", got, deadSlot)
	}
}

func TestAShorterHeartbeatHoldsForConnectionsThatStand(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Hour, HeartbeatTimeout: time.Hour})
	c, _ := dial(t, h, nil)
	h.on(t, func() {
		h.loop.SetConfig(Config{HeartbeatInterval: 100 * time.Millisecond, HeartbeatTimeout: time.Hour, MaxMessage: 1 << 10})
	})
	if f := readFrame(t, c); f.Header.OpCode != ws.OpPing {
		t.Fatalf("got %v, want a ping", f.Header.OpCode)
	}
}

func TestAFullInboxMakesPublishersWait(t *testing.T) {
	h := start(t, Config{})
	release, posted := make(chan struct{}), make(chan struct{})
	h.loop.Post(fn(func() { <-release }))
	go func() {
		defer close(posted)
		for range 3 * inboxBytes >> 20 {
			h.loop.Post(heavy{})
		}
	}()
	select {
	case <-posted:
		t.Fatal("48 MiB of work were taken while the loop is busy")
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	<-posted
}

// heavy is work of a mebibyte.
type heavy struct{}

func (heavy) Run()      {}
func (heavy) Size() int { return 1 << 20 }

func TestDeadlineComesOnceAndNeverEarly(t *testing.T) {
	h := start(t, Config{})
	c, s := dial(t, h, nil)
	at := time.Now().Add(350 * time.Millisecond)
	h.on(t, func() { h.loop.SetDeadline(s, time.Now().Add(time.Hour)); h.loop.SetDeadline(s, at) })
	<-h.late
	if early := time.Until(at); early > 0 {
		t.Fatalf("came %s early", early)
	}
	expectClose(t, c, wire.CloseUnauthorized)
}

// fill sends numbered events until n have been queued, in portions that other
// work of the loop can come between.
func fill(t *testing.T, h *echo, s Slot, n, size int) {
	t.Helper()
	for i := range n {
		b := frames.Encode(frames.Text, append([]byte{byte(i >> 16), byte(i >> 8), byte(i)}, bytes.Repeat([]byte("."), size)...))
		h.on(t, func() { h.loop.Send(s, &Frame{Bytes: b, Event: true}) })
	}
}

func TestDropOldestLeavesAnExactGap(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Hour})
	c, s := dial(t, h, nil)
	other, _ := dial(t, h, nil)
	h.on(t, func() { h.loop.SetBuffer(s, 20_000, settings.DropOldest) })
	const n, size = 4000, 4000
	fill(t, h, s, n, size) // 16 MB into a socket that nobody reads
	var queued uint32
	h.on(t, func() { queued = h.loop.at(s).queue.bytes })
	if queued > 20_000+2*size+n { // the gap frame's size is its count, here
		t.Fatalf("%d bytes are queued, the limit is 20000", queued)
	}
	write(t, other, masked(ws.OpText, "still served"))
	expectText(t, other, "still served")

	want, dropped := 0, 0
	for want < n {
		f := readFrame(t, c)
		if f.Payload[0] == 'g' {
			want += len(f.Payload)
			dropped += len(f.Payload)
			continue
		}
		got := int(f.Payload[0])<<16 | int(f.Payload[1])<<8 | int(f.Payload[2])
		if got != want {
			t.Fatalf("event %d came where %d was due: a gap was not told, or told twice", got, want)
		}
		want++
	}
	if dropped == 0 || uint64(dropped) != h.loop.Stats().Dropped() {
		t.Fatalf("gaps say %d, the counter %d", dropped, h.loop.Stats().Dropped())
	}
}

func TestDisconnectEndsASlowClient(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Hour})
	c, s := dial(t, h, nil)
	h.on(t, func() { h.loop.SetBuffer(s, 20_000, settings.Disconnect) })
	go func() {
		for range 4000 {
			h.loop.Post(fn(func() {
				h.loop.Send(s, &Frame{Bytes: frames.Encode(frames.Text, bytes.Repeat([]byte("."), 4000)), Event: true})
			}))
		}
	}()
	if got := <-h.gone; got != s {
		t.Fatalf("slot %d closed, want %d", got, s)
	}
	for {
		f := readFrame(t, c)
		if f.Header.OpCode == ws.OpText && len(f.Payload) == 4000 {
			continue
		}
		code, _ := ws.ParseCloseFrameData(f.Payload)
		if f.Header.OpCode != ws.OpClose || wire.CloseCode(code) != wire.CloseSlow {
			t.Fatalf("got %v %q, want a close with %d", f.Header.OpCode, f.Payload, wire.CloseSlow)
		}
		return
	}
}

func TestAFastBurstIsNoSlowClient(t *testing.T) {
	h := start(t, Config{})
	c, s := dial(t, h, nil)
	h.on(t, func() {
		h.loop.SetBuffer(s, 10_000, settings.Disconnect)
		// Ten times the buffer in one turn, to a socket that takes it.
		for range 100 {
			h.loop.Send(s, &Frame{Bytes: frames.Encode(frames.Text, bytes.Repeat([]byte("."), 1000)), Event: true})
		}
	})
	for range 100 {
		readFrame(t, c)
	}
}

func TestWhatIsQueuedInOneTurnKeepsItsOrder(t *testing.T) {
	h := start(t, Config{})
	c, s := dial(t, h, nil)
	write(t, c, masked(ws.OpPing, "1"))
	h.on(t, func() {
		for _, m := range []string{"a", "b", "c"} {
			h.loop.Send(s, &Frame{Bytes: frames.Encode(frames.Text, []byte(m)), Event: true})
		}
		h.loop.Close(s, wire.CloseNormal, "")
	})
	var got []string
	for {
		f := readFrame(t, c)
		if f.Header.OpCode == ws.OpPong {
			continue
		}
		if f.Header.OpCode == ws.OpClose {
			break
		}
		got = append(got, string(f.Payload))
	}
	if strings.Join(got, "") != "abc" {
		t.Fatalf("got %q, want a, b, c, then the close", got)
	}
}

func TestSlotsAreUsedAgainAndDescriptorsClosed(t *testing.T) {
	h := start(t, Config{})
	for range 50 {
		c, s := dial(t, h, nil)
		write(t, c, masked(ws.OpText, "x"))
		expectText(t, c, "x")
		_ = c.Close()
		<-h.gone
		if s > 10 {
			t.Fatalf("slot %d: slots of connections that are gone are not used again", s)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for h.loop.Stats().Connections() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are left", h.loop.Stats().Connections())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestStopClosesEverything(t *testing.T) {
	h := start(t, Config{})
	c, s := dial(t, h, nil)
	h.loop.Stop()
	if got := <-h.gone; got != s {
		t.Fatalf("slot %d closed, want %d", got, s)
	}
	expectEOF(t, c)
	if h.loop.Post(fn(func() {})) {
		t.Fatal("a stopped loop took work")
	}
}

func TestWheelFiresEachDeadlineOnceInItsTick(t *testing.T) {
	h := &echo{closes: map[Slot]int{}, late: make(chan Slot, 10000), gone: make(chan Slot, 10000)}
	l, err := New(h, Config{HeartbeatInterval: 10 * time.Minute, HeartbeatTimeout: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	h.loop = l
	defer func() { _ = l.poll.Close(); closeFD(l.wakeFD) }()
	want := map[Slot]tick{}
	for i := range 3000 {
		s, c := l.newSlot()
		c.state, c.fd = free, -1 // nothing to write to
		due := tick(1 + i*7%2000)
		want[s] = due
		l.schedule(s, c, due)
	}
	l.unscheduleEven(want)
	for now := tick(1); now <= 2100; now++ {
		before := map[Slot]bool{}
		for s := range want {
			before[s] = l.at(s).wheelPos != offWheel
		}
		l.advance(now)
		for s, due := range want {
			if fired := before[s] && l.at(s).wheelPos == offWheel; fired != (now == due) {
				t.Fatalf("slot %d with deadline %d: fired=%v at %d", s, due, fired, now)
			}
		}
		if idle := l.wheel.idle(); idle < 1 || idle > wheelSize {
			t.Fatalf("idle says %d", idle)
		}
	}
}

// unscheduleEven takes every second deadline off again.
func (l *Loop) unscheduleEven(want map[Slot]tick) {
	for s := range want {
		if s%2 == 0 {
			l.unschedule(l.at(s))
			delete(want, s)
		}
	}
}
