// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// lingering is a client that would stay for good if it could.
type lingering struct {
	name string
	// begin opens the connection. What drips is sent a byte now and then, as text if it
	// is a whole message.
	begin func(a *arena) (*raw, error)
	drips string
	// within is when the server ends the connection, by its own setting.
	within time.Duration
	// code is the close code, if there is one, and answer what begins the answer.
	code   int
	answer string
}

// late is how much later the tests take it for in time: a busy machine.
const late = 5 * time.Second

// closing is how long the server waits for the other half of a closing handshake.
const closing = 5 * time.Second

// said opens a connection to a listener on which something has been said.
func said(addr func(*server) string, what string) func(a *arena) (*raw, error) {
	return func(a *arena) (*raw, error) {
		c, err := a.raw(addr(a.server))
		if err == nil && what != "" {
			err = c.send(what)
		}
		return c, err
	}
}

// Settings of the server that lingering clients try: a heartbeat that leaves no doubt
// about who ended what.
const (
	beat        = 2 * time.Second
	beatTimeout = 3 * time.Second
)

var lingerers = []lingering{
	// The kernel keeps a connection without a byte back for 5 s, in steps that come to 7 s,
	// the acceptor for 10 s more.
	{name: "silent: clients", begin: said(clientsAddr, ""), within: 17 * time.Second},
	{name: "silent: events", begin: said(eventsAddr, ""), within: 10 * time.Second},
	{name: "silent: admin", begin: said(adminAddr, ""), within: 5 * time.Second},
	{name: "a head that drips: clients", begin: said(clientsAddr, "G"), drips: "x", within: 10 * time.Second},
	{name: "a handshake that drips: clients", begin: said(clientsAddr, strings.TrimSuffix(handshake("/ws/ticks"), "\r\n")+"X: "), drips: "x", within: 10 * time.Second},
	{name: "a head that drips: events", begin: said(eventsAddr, "POST /v1/channels/ticks/events HTTP/1.1\r\nX: "), drips: "x", within: 10 * time.Second},
	{name: "a head that drips: admin", begin: said(adminAddr, "GET /status HTTP/1.1\r\nX: "), drips: "x", within: 5 * time.Second},
	{name: "a body that drips: events", begin: said(eventsAddr, publication("Content-Length: 60000")), drips: " ", within: time.Minute, answer: "HTTP/1.1 408 "},
	{name: "a body that drips, and no token: events", begin: said(eventsAddr, strings.Replace(publication("Content-Length: 60000"), "Bearer ", "Bearer x", 1)), drips: " ", within: time.Second, answer: "HTTP/1.1 401 "},
	{name: "a body that drips: admin", begin: said(adminAddr, "GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"), drips: " ", within: 10 * time.Second, answer: "HTTP/1.1 401 "},
	{name: "packets that drip: clients", begin: (*arena).packetsThatDrip, drips: "x", within: 10 * time.Second},
	{name: "a used connection, silent: clients", begin: said(clientsAddr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), within: 10 * time.Second, answer: "HTTP/1.1 404 "},
	{name: "no pong, plain", begin: func(a *arena) (*raw, error) { return a.upgrade("/ws/ticks") }, within: beat + beatTimeout, code: 4009},
	{name: "no pong, Socket.IO", begin: packetsKind, within: beat + beatTimeout, code: 4009},
	{name: "a poll and no pong", begin: (*arena).pollWithoutPong, within: beat + beatTimeout, answer: "HTTP/1.1 200 "},
	{name: "no namespace", begin: func(a *arena) (*raw, error) { return a.upgrade("/socket.io/?EIO=4&transport=websocket") }, drips: text("3"), within: 45 * time.Second, code: 4009},
	{name: "an upgrade that stops", begin: (*arena).probe, drips: frame(0x8a, ""), within: beat + beatTimeout, code: 1000},
	{name: "a closing handshake that stops", begin: func(a *arena) (*raw, error) {
		c, err := a.join("/ws/ticks")
		if err == nil {
			err = errors.Join(c.send(text("\xff")), c.closing(1007))
		}
		return c, err
	}, drips: text("x"), within: 5 * time.Second},
	{name: "answers that nobody reads: clients", begin: unread(clientsAddr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), within: 10 * time.Second},
	{name: "answers that nobody reads: admin", begin: unread(adminAddr, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n"), within: 30 * time.Second},
}

// packetsThatDrip is a POST whose body does not end.
func (a *arena) packetsThatDrip() (*raw, error) {
	sid, err := a.polls()
	if err != nil {
		return nil, err
	}
	return said(clientsAddr, fmt.Sprintf("POST %s&sid=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n4", pollPath, sid))(a)
}

// pollWithoutPong is a GET that waits, of a client that never answers pings. Its second
// one is ended by the session's end.
func (a *arena) pollWithoutPong() (*raw, error) {
	sid, err := a.polls()
	if err != nil {
		return nil, err
	}
	if _, err := a.answered(http.MethodPost, a.clients+pollPath+"&sid="+sid, "40/ticks,", http.StatusOK); err != nil {
		return nil, err
	}
	for p := ""; !strings.Contains(p, "2"+next) && p != "2" && !strings.HasSuffix(p, next+"2"); {
		if p, err = a.answered(http.MethodGet, a.clients+pollPath+"&sid="+sid, "", http.StatusOK); err != nil {
			return nil, err
		}
	}
	return said(clientsAddr, "GET "+pollPath+"&sid="+sid+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")(a)
}

// probe begins to change over to a WebSocket.
func (a *arena) probe() (*raw, error) {
	sid, err := a.polls()
	if err != nil {
		return nil, err
	}
	c, err := a.upgrade("/socket.io/?EIO=4&transport=websocket&sid=" + sid)
	if err == nil {
		err = errors.Join(c.send(text("2probe")), c.expect("3probe"))
	}
	return c, err
}

// unread asks more than the answers of which fit into the kernel's buffers.
func unread(addr func(*server) string, asks string) func(a *arena) (*raw, error) {
	return func(a *arena) (*raw, error) {
		c, err := a.raw(addr(a.server))
		if err != nil {
			return nil, err
		}
		burst := strings.Repeat(asks, 1000)
		for range 200 { // 200000 answers
			if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				return nil, err
			}
			if err = c.send(burst); err != nil {
				break
			}
		}
		if !isTimeout(err) {
			return nil, fmt.Errorf("the server takes all questions, or none: %w", err)
		}
		return c, nil
	}
}

// TestPatience: whoever is slow, or silent, or does not end what it has begun, is cut
// off after the time for that, and not before others would be.
func TestPatience(t *testing.T) {
	t.Parallel()
	s := start(t, document(beat, beatTimeout))
	before, err := s.footprint()
	if err != nil {
		t.Fatal(err)
	}
	a := &arena{T: t, server: s}
	var running sync.WaitGroup
	for _, l := range lingerers {
		running.Go(func() {
			took, err := l.linger(a)
			if err != nil {
				t.Errorf("%s: %v", l.name, err)
			}
			t.Logf("%-45s cut off after %s", l.name, took.Round(10*time.Millisecond))
		})
	}
	running.Wait()
	var now footprint
	if !within(recovery, func() bool {
		now, err = s.footprint()
		return err == nil && now.descriptors <= before.descriptors && now.goroutines <= before.goroutines+spareGoroutines &&
			now.connections == 0 && now.sessions == 0
	}) {
		t.Errorf("after all were cut off: %+v, before %+v (%v)", now, before, err)
	}
	a.leave() // only now: the server has let go by itself
}

// linger stays until it is cut off.
func (l lingering) linger(a *arena) (time.Duration, error) {
	c, err := l.begin(a)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	done := make(chan struct{})
	defer close(done)
	if l.drips != "" {
		go func() {
			for tick := time.NewTicker(drip); ; {
				select {
				case <-done:
					return
				case <-tick.C:
					_ = c.send(l.drips)
				}
			}
		}()
	}
	if strings.HasPrefix(l.name, "answers") {
		return l.reset(c, begun)
	}
	if err := c.SetDeadline(begun.Add(l.within + late)); err != nil {
		return 0, err
	}
	last := begun.Add(l.within + late)
	if l.code != 0 {
		err = c.closing(l.code)
		last = last.Add(closing)
	} else if l.answer != "" {
		var line string
		line, err = c.r.ReadString('\n')
		if !strings.HasPrefix(line, l.answer) {
			err = fmt.Errorf("answered %q, not %q (%w)", line, l.answer, err)
		}
	}
	if err == nil {
		err = c.ended(time.Until(last))
	}
	return time.Since(begun), err
}

// reset waits until a connection on which nothing is read is the server's no more: then
// what is sent to it is refused.
func (l lingering) reset(c *raw, begun time.Time) (time.Duration, error) {
	for time.Since(begun) < l.within+late {
		_ = c.SetWriteDeadline(time.Now().Add(drip))
		if err := c.send("x"); err != nil && !isTimeout(err) {
			return time.Since(begun), nil
		}
		time.Sleep(drip)
	}
	return time.Since(begun), fmt.Errorf("still connected after %s", l.within+late)
}
