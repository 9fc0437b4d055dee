// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// floods are attacks by many connections, or many messages.
var floods = []attack{
	{"half-open: clients", func(a *arena) { a.halfOpen(a.clients) }},
	{"half-open: events", func(a *arena) { a.halfOpen(a.events) }},
	{"half-open: admin", func(a *arena) { a.halfOpen(a.admin) }},
	{"slow loris, heads: clients", func(a *arena) { a.loris(a.clients, "GET /sse/ticks HTTP/1.1\r\nHost: x\r\nX: ") }},
	{"slow loris, more heads than there are places", (*arena).crowdOut},
	{"slow loris, heads: events", func(a *arena) { a.loris(a.events, "POST /v1/channels/ticks/events HTTP/1.1\r\nHost: x\r\nX: ") }},
	{"slow loris, heads: admin", func(a *arena) { a.loris(a.admin, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ") }},
	{"slow loris, bodies: clients", (*arena).dripPackets},
	{"slow loris, bodies: events", func(a *arena) { a.loris(a.events, publication("Content-Length: 60000")+"{\"data\":\"") }},
	{"slow loris, bodies: admin", func(a *arena) { a.loris(a.admin, "GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n") }},
	{"slow loris, frames", (*arena).dripFrames},
	{"ping flood", func(a *arena) { a.flood(pinging(frame(0x89, strings.Repeat("x", 125)))) }},
	{"pong flood", func(a *arena) { a.flood(pinging(frame(0x8a, "x"))) }},
	{"flood of empty fragments", (*arena).emptyFragments},
	{"flood of messages that are not understood", func(a *arena) {
		a.flood(flood{Path: "/ws/ticks", Burst: []byte(strings.Repeat(text("{}"), 2000))})
	}},
	{"flood of publications, allowed or not", func(a *arena) {
		publishes := text(`{"type":"publish","event":"talk.x","rooms":["a"],"data":1}`) + text(`{"type":"publish","event":"x"}`)
		a.flood(flood{Path: "/ws/talks?room=a", Burst: []byte(strings.Repeat(publishes, 1000))})
	}},
	{"flood of packets", func(a *arena) {
		a.flood(flood{Path: "/socket.io/?EIO=4&transport=websocket", First: []byte(text("40/ticks,")), Burst: []byte(strings.Repeat(text("42/ticks,[\"x\"]"), 1000))})
	}},
	{"asking and not reading", (*arena).askAndNotRead},
	{"joining, leaving, names that are alike", (*arena).churn},
	{"more rooms than a client may be in", (*arena).tooManyRooms},
	{"connecting and going", (*arena).comeAndGo},
	{"namespaces come and go", (*arena).namespaces},
	{"subscribing and not reading", (*arena).neverRead},
}

const (
	// silent is how many connections send nothing.
	silent = 1200
	// dripping is how many send a byte now and then: fewer than there are places.
	dripping = 400
	// drip is how often.
	drip = 100 * time.Millisecond
)

// newcomer is served within the usual patience, also while an attack is on.
func (a *arena) newcomer() {
	a.Helper()
	if _, err := a.join("/ws/ticks"); err != nil {
		a.Errorf("a client that comes meanwhile: %v", err)
	}
	if _, err := a.footprint(); err != nil {
		a.Errorf("the operator, who asks meanwhile: %v", err)
	}
}

// crowdOf opens connections that have all said the same.
func (a *arena) crowdOf(n int, addr, said string) (all []*raw) {
	a.Helper()
	for range n {
		c, err := a.raw(addr)
		if err == nil && said != "" {
			err = c.send(said)
		}
		if err != nil {
			a.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// halfOpen opens connections that send nothing.
func (a *arena) halfOpen(addr string) {
	a.crowdOf(silent, addr, "")
	a.newcomer()
	time.Sleep(siege)
}

// loris opens connections on which a request comes byte by byte.
func (a *arena) loris(addr, begins string) {
	all := a.crowdOf(dripping, addr, begins)
	a.newcomer()
	a.drip(all)
}

// drip sends a byte on each connection now and then. The server may have had enough.
func (a *arena) drip(all []*raw) {
	_ = besiege(func() error {
		for _, c := range all {
			_ = c.send("x")
		}
		time.Sleep(drip)
		return nil
	})
}

// crowdOut takes all places for requests that do not come at once. Plain WebSockets need
// none and come in; others are told to come back, in a way in which they do.
func (a *arena) crowdOut() {
	all := a.crowdOf(silent, a.clients, "GET /sse/ticks HTTP/1.1\r\nHost: x\r\nX: ")
	a.newcomer()
	for range 20 {
		status, answer, err := a.request(http.MethodGet, a.clients+"/sse/ticks", "", "Origin: http://"+a.clients)
		if err != nil || status != http.StatusOK || !strings.HasPrefix(answer, "retry: ") {
			a.Errorf("an EventSource is answered %d %q (%v)", status, answer, err)
			break
		}
		if status, answer, err = a.request(http.MethodGet, a.clients+pollPath, ""); err != nil || status != http.StatusServiceUnavailable {
			a.Errorf("a poll is answered %d %q (%v)", status, answer, err)
			break
		}
	}
	a.drip(all)
}

// publication is the head of a request that may publish.
func publication(lines ...string) string {
	return "POST /v1/channels/ticks/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + publisherToken +
		"\r\nContent-Type: application/json\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// dripPackets drips the bodies in which clients that poll send their packets.
func (a *arena) dripPackets() {
	var all []*raw
	for range dripping / 4 {
		sid, err := a.polls()
		if err != nil {
			a.Fatal(err)
		}
		all = append(all, a.crowdOf(1, a.clients, fmt.Sprintf("POST %s&sid=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n4", pollPath, sid))...)
	}
	a.newcomer()
	a.drip(all)
	a.leave() // which ends the sessions: their clients have broken off
}

// dripFrames drips frames that are nearly whole.
func (a *arena) dripFrames() {
	var all []*raw
	for range 20 {
		c, err := a.upgrade("/socket.io/?EIO=4&transport=websocket")
		if err == nil {
			err = c.send(head(0x81, 64<<10) + strings.Repeat("4", 60<<10))
		}
		if err != nil {
			a.Fatal(err)
		}
		all = append(all, c)
	}
	_ = besiege(func() error {
		for _, c := range all {
			_ = c.send("x")
		}
		time.Sleep(time.Millisecond)
		return nil
	})
}

// emptyFragments is a message that never gets longer, and ends after all.
func (a *arena) emptyFragments() {
	f := pinging(frame(0x00, ""))
	f.First = []byte(frame(0x01, "{"))
	f.Last = append([]byte(frame(0x80, "}")), f.Last...)
	a.flood(f)
}

// room is one of many names that are as long as may be and nearly the same.
func room(n int) string { return fmt.Sprintf("%0128d", n) }

// rooms is a list of names.
func rooms(from, to int) string {
	var names []string
	for n := from; n < to; n++ {
		names = append(names, "\""+room(n)+"\"")
	}
	return strings.Join(names, ",")
}

// askAndNotRead asks for long answers by short questions.
func (a *arena) askAndNotRead() {
	before := a.closes(a.T, 4008)
	const n = 8
	a.all(n, func(int) error {
		c, err := a.join("/ws/ticks")
		if err == nil {
			err = c.send(text("{\"type\":\"join\",\"rooms\":[" + rooms(0, 100) + "]}"))
		}
		if err == nil {
			err = c.expect("{\"type\":\"joined\"")
		}
		if err != nil {
			return err
		}
		burst := strings.Repeat(text("{\"type\":\"leave\",\"rooms\":[\"x\"]}"), 100)
		for range 200 { // 20000 answers of 13 KB
			if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				return err
			}
			if c.send(burst) != nil {
				break
			}
		}
		return c.closed(4008)
	})
	if got := a.closes(a.T, 4008) - before; got != n {
		a.Errorf("%d were closed with 4008, not %d", got, n)
	}
}

// churn joins and leaves rooms whose names differ in a few digits. Who does the same and
// reads the answers is served.
func (a *arena) churn() {
	f := flood{Path: "/ws/ticks"}
	for n := 0; n < 1000; n += 100 {
		for _, do := range []string{"join", "leave"} {
			f.Burst = append(f.Burst, text(fmt.Sprintf("{\"type\":%q,\"rooms\":[%s]}", do, rooms(n, n+100)))...)
		}
	}
	a.all(3, func(i int) error {
		if i == 0 {
			a.flood(f)
			return nil
		}
		c, err := a.join("/ws/ticks")
		if err != nil {
			return err
		}
		return besiege(func() error {
			return errors.Join(
				c.send(text("{\"type\":\"join\",\"rooms\":["+rooms(0, 100)+"]}")),
				c.send(text("{\"type\":\"leave\",\"rooms\":["+rooms(0, 99)+"]}")),
				c.expect("{\"type\":\"joined\",\"rooms\":["+rooms(0, 100)+"]"),
				c.expect("{\"type\":\"left\",\"rooms\":["+rooms(99, 100)+"]"),
				c.send(text("{\"type\":\"leave\",\"rooms\":["+rooms(99, 100)+"]}")),
				c.expect("{\"type\":\"left\",\"rooms\":[],\"offset\""))
		})
	})
}

// tooManyRooms joins all that a client may be in, and then more.
func (a *arena) tooManyRooms() {
	c, err := a.join("/ws/ticks")
	if err != nil {
		a.Fatal(err)
	}
	for _, m := range []struct{ says, answer string }{
		{"{\"type\":\"join\",\"rooms\":[\"x" + room(0) + "\"]}", "{\"type\":\"error\",\"code\":\"bad_message\""},
		{"{\"type\":\"join\",\"rooms\":[" + rooms(0, 101) + "]}", "{\"type\":\"error\",\"code\":\"bad_message\""},
		{"{\"type\":\"join\",\"rooms\":[" + rooms(0, 100) + "]}", "{\"type\":\"joined\""},
		{"{\"type\":\"join\",\"rooms\":[" + rooms(100, 101) + "]}", "{\"type\":\"error\",\"code\":\"too_many_rooms\""},
	} {
		if err := errors.Join(c.send(text(m.says)), c.expect(m.answer)); err != nil {
			a.Fatal(err)
		}
	}
}

// comeAndGo connects, and goes in all the ways there are.
func (a *arena) comeAndGo() {
	a.all(8, func(i int) error {
		n := i
		return besiege(func() error {
			c, err := a.join("/ws/ticks?room=" + room(n))
			if err != nil {
				return err
			}
			switch n++; n % 3 {
			case 0:
				if err := c.send(frame(0x88, "\x03\xe8")); err != nil {
					return err
				}
				return c.closed(1000)
			case 1:
				return abort(c.Conn)
			}
			return c.Close()
		})
	})
}

// namespaces come and go on one connection. One that is refused 16 times is closed.
func (a *arena) namespaces() {
	a.all(8, func(int) error {
		c, err := a.upgrade("/socket.io/?EIO=4&transport=websocket")
		if err != nil {
			return err
		}
		if err := besiege(func() error {
			if err := c.send(text("40/ticks,{\"rooms\":["+rooms(0, 100)+"]}") + text("41/ticks,")); err != nil {
				return err
			}
			return c.expect("40/ticks,{")
		}); err != nil {
			return err
		}
		for range 16 {
			if err := c.send(text("40/nosuch,")); err != nil {
				return err
			}
		}
		for range 15 {
			if err := c.expect("44/nosuch,{\"message\":\"Invalid namespace\""); err != nil {
				return err
			}
		}
		return c.closed(4003)
	})
}
