// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// TestWorkPostedDuringALongTurnIsNotForgotten posts while the loop is in the
// middle of a backlog: the eventfd is drained then, but the work not taken yet.
func TestWorkPostedDuringALongTurnIsNotForgotten(t *testing.T) {
	h := start(t, Config{})
	for range 30 {
		begun, posted := make(chan struct{}), make(chan struct{})
		h.loop.Post(fn(func() { close(begun); <-posted })) // longer than a slice
		<-begun
		h.loop.Post(fn(func() { time.Sleep(2 * slice) })) // one of a backlog
		h.loop.Post(fn(func() {}))
		close(posted)
		ran := make(chan struct{})
		time.Sleep(slice)
		at := time.Now()
		h.loop.Post(fn(func() { close(ran) }))
		<-ran
		if took := time.Since(at); took > maxSleep/2 {
			t.Fatalf("work waited %s for a loop with nothing else to do", took)
		}
	}
}

func TestAPeerThatAsksAndDoesNotReadIsClosed(t *testing.T) {
	for _, policy := range []settings.SlowClientPolicy{settings.Disconnect, settings.DropOldest} {
		t.Run(string(policy), func(t *testing.T) {
			h := start(t, Config{})
			c, s := dial(t, h, nil)
			h.on(t, func() { h.loop.SetBuffer(s, 4096, policy) })
			question := bytes.Repeat(masked(ws.OpText, string(bytes.Repeat([]byte("?"), 1000))), 100)
			go func() {
				for range 1000 { // 100 MB, echoed
					if _, err := c.Write(question); err != nil {
						return
					}
				}
			}()
			<-h.gone
			var queued uint32
			h.on(t, func() { queued = h.loop.at(s).queue.bytes })
			if queued > 4096+maxAnswers {
				t.Fatalf("%d bytes are queued", queued)
			}
			for {
				f, err := ws.ReadFrame(c)
				if err != nil {
					t.Fatalf("no close frame: %v", err)
				}
				if f.Header.OpCode == ws.OpClose {
					code, _ := ws.ParseCloseFrameData(f.Payload)
					if wire.CloseCode(code) != wire.CloseSlow {
						t.Fatalf("closed with %d", code)
					}
					return
				}
			}
		})
	}
}

func TestAStallCostsNoHealthyPeer(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: 300 * time.Millisecond, HeartbeatTimeout: 300 * time.Millisecond})
	c, _ := dial(t, h, nil)
	h.on(t, func() { time.Sleep(1500 * time.Millisecond) }) // as a throttled or paused process
	for range 3 {
		if f := readFrame(t, c); f.Header.OpCode != ws.OpPing {
			t.Fatalf("got %v, want a ping", f.Header.OpCode)
		}
		write(t, c, masked(ws.OpPong, ""))
	}
}

func TestOurCloseFrameIsSentBeforeThePeersEndsIt(t *testing.T) {
	h := start(t, Config{})
	c, _ := dial(t, h, nil)
	write(t, c, append(masked(ws.OpBinary, "x"), masked(ws.OpClose, "")...))
	expectClose(t, c, wire.CloseUnsupported)
	expectEOF(t, c)
}

func TestAFloodingPeerDoesNotKeepOthersFromBeingServed(t *testing.T) {
	h := start(t, Config{})
	flood, s := dial(t, h, nil)
	quiet, _ := dial(t, h, nil)
	h.on(t, func() { h.loop.SetBuffer(s, 1<<30, settings.Disconnect) })
	go func() { _, _ = io.Copy(io.Discard, flood) }()
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		b := bytes.Repeat(masked(ws.OpText, "x"), 1000)
		for range 2000 {
			if _, err := flood.Write(b); err != nil {
				return
			}
		}
	}()
	for range 20 {
		write(t, quiet, masked(ws.OpText, "me"))
		expectText(t, quiet, "me")
	}
	select {
	case <-flooding:
		t.Fatal("the flood was over before the quiet peer was served")
	default:
	}
}
