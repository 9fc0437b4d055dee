// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// contents are attacks by what is in heads, bodies and messages.
var contents = []attack{
	{"giant heads", (*arena).giantHeads},
	{"giant queries", (*arena).giantQueries},
	{"giant bodies", (*arena).giantBodies},
	{"deep JSON", (*arena).deepJSON},
	{"what is not UTF-8", (*arena).notUTF8},
	{"packets that are none", (*arena).brokenPackets},
}

// exchange is what a listener is sent, and the status that it answers.
type exchange struct {
	name string
	addr func(*server) string
	says string
	want int
}

// exchanges has each answered again and again.
func (a *arena) exchanges(all []exchange) {
	a.all(len(all), func(i int) error {
		e := all[i]
		return besiege(func() error {
			c, err := a.raw(e.addr(a.server))
			if err != nil {
				return err
			}
			defer c.Close()
			// The server may have answered and closed before it has read all.
			sent := c.send(e.says)
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				return fmt.Errorf("%s: no answer: %w", e.name, errors.Join(err, sent))
			}
			if resp.StatusCode != e.want {
				return fmt.Errorf("%s: answered %s, want %d", e.name, resp.Status, e.want)
			}
			return nil
		})
	})
}

// giantHeads are larger than what is read of them.
func (a *arena) giantHeads() {
	line := "X: " + strings.Repeat("x", 1000) + "\r\n"
	all := []exchange{
		{"many lines for a WebSocket", clientsAddr, strings.TrimSuffix(handshake("/ws/ticks"), "\r\n") + strings.Repeat(line, 40), 431},
		{"many short lines", clientsAddr, "GET /sse/ticks HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: x\r\n", 10000), 431},
		{"one long line", clientsAddr, "GET /sse/ticks HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10), 431},
		{"a long name", clientsAddr, "GET /sse/ticks HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("x", 64<<10), 431},
		{"a long first line", clientsAddr, "GET /" + strings.Repeat("x", 64<<10), 431},
		{"for publishers", eventsAddr, "POST /v1/channels/ticks/events HTTP/1.1\r\nHost: x\r\n" + strings.Repeat(line, 40), 431},
		{"for the operator", adminAddr, "GET /status HTTP/1.1\r\nHost: x\r\n" + strings.Repeat(line, 20), 431},
	}
	a.exchanges(all)
}

// giantQueries ask for more than a client may have.
func (a *arena) giantQueries() {
	most := "?room=" + strings.Repeat("x", 128)
	a.exchanges([]exchange{
		{"a name that is too long", clientsAddr, handshake("/ws/ticks" + most + "x"), 400},
		{"101 rooms", clientsAddr, handshake("/ws/ticks?" + strings.Repeat("room=x&", 101)), 400},
		{"a name that is empty", clientsAddr, handshake("/ws/ticks?room="), 400},
		{"30 KB of separators", clientsAddr, handshake("/ws/ticks?" + strings.Repeat("&", 30<<10)), 101},
		{"thousands of parameters", clientsAddr, handshake("/ws/ticks?room=" + strings.Repeat("x&room=", 4000)), 400},
		{"a since that is none", clientsAddr, handshake("/ws/ticks?since=" + strings.Repeat("x", 20<<10)), 400},
		{"a name that is too long, for a stream", clientsAddr, "GET /sse/ticks" + most + "x HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a sid of 20 KB", clientsAddr, "GET " + pollPath + "&sid=" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"Engine.IO of another version", clientsAddr, "GET /socket.io/?EIO=3&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"rooms to read the history of", eventsAddr, authorized("GET /v1/channels/ticks/events?limit=99999999999999999999", ""), 400},
	})
}

// authorized is a request of a publisher.
func authorized(line, body string, lines ...string) string {
	return line + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + publisherToken + "\r\n" +
		strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(body))), "\r\n") + "\r\n\r\n" + body
}

const publishing = "POST /v1/channels/ticks/events"

// giantBodies are refused by what they say of themselves, or when they are too large.
func (a *arena) giantBodies() {
	a.exchanges([]exchange{
		{"a body that says that it is huge", eventsAddr, publication("Content-Length: 1099511627776"), 413},
		{"an event over the limit", eventsAddr, authorized(publishing, "{\"data\":\""+strings.Repeat("x", 64<<10)+"\"}", "Content-Type: application/json"), 413},
		{"1001 events", eventsAddr, authorized(publishing, "["+strings.Repeat("{},", 1000)+"{}]", "Content-Type: application/json"), 413},
		{"a compressed body", eventsAddr, authorized(publishing, "{}", "Content-Type: application/json", "Content-Encoding: gzip"), 415},
		{"an event for 100000 rooms", eventsAddr, authorized(publishing, "{\"rooms\":["+strings.Repeat("\"x\",", 100000)+"\"x\"]}", "Content-Type: application/json"), 400},
		{"a huge body without a token", eventsAddr, "POST /v1/channels/ticks/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\n\r\n", 401},
		{"a body for the operator", adminAddr, "GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\n\r\n", 401},
		{"packets over the limit", clientsAddr, "POST " + pollPath + "&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\n\r\n", 400},
	})
	// Without end, in a stream: the line is refused, and the stream goes on.
	c, err := a.raw(a.events)
	if err == nil {
		err = c.send(publishing + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + publisherToken + "\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
	}
	for range 8 {
		if err == nil {
			err = c.send(fmt.Sprintf("%x\r\n%s\r\n", 1<<20, strings.Repeat("x", 1<<20)))
		}
	}
	if err == nil {
		err = c.send("1\r\n\n\r\n")
	}
	if err == nil {
		err = c.send("14\r\n{\"rooms\":[\"nobody\"]}\r\n1\r\n\n\r\n0\r\n\r\n")
	}
	if err != nil {
		a.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	answers, err := readLines(resp.Body)
	if err != nil || len(answers) != 2 || !strings.Contains(answers[0], "\"status\":413") || !strings.Contains(answers[1], "\"offset\"") {
		a.Errorf("a line of 8 MB and one event are answered %q (%v)", answers, err)
	}
}

// deepJSON is nested as deeply as its length allows.
func (a *arena) deepJSON() {
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	open := strings.Repeat("[", 30<<10)
	a.exchanges([]exchange{
		{"an event 30000 deep", eventsAddr, authorized(publishing, "{\"data\":"+nest(30000)+"}", "Content-Type: application/json"), 400},
		{"an event that never closes", eventsAddr, authorized(publishing, "{\"data\":"+strings.Repeat("[", 1<<20), "Content-Type: application/json"), 400},
		{"an array of arrays", eventsAddr, authorized(publishing, strings.Repeat("[", 1<<20), "Content-Type: application/json"), 400},
	})
	a.says([]message{
		{"plain, 15000 deep", plainKind, "{\"type\":\"emit\",\"event\":\"x\",\"ref\":1,\"data\":" + nest(15000) + "}", "{\"type\":\"error\"", 0},
		{"plain, never closed", plainKind, "{\"type\":\"emit\",\"event\":\"x\",\"ref\":1,\"data\":" + open, "{\"type\":\"error\"", 0},
		{"plain, a ref", plainKind, "{\"type\":\"ping\",\"ref\":" + nest(100) + "}", "{\"type\":\"error\"", 0},
		{"packets, 30000 deep", packetsKind, "42/ticks,1[\"x\"," + nest(30000) + "]", "", 1002},
		{"packets, never closed", packetsKind, "42/ticks,1[\"x\"," + open, "", 1002},
		{"a connect, 11000 deep", packetsKind, "40/recovery," + strings.Repeat("{\"a\":", 6000) + nest(5000) + strings.Repeat("}", 6000), "", 1002},
	})
}

// next is between the texts of a message.
const next = "\x1e"

// message is what a client sends, and what comes of it: an answer, or a close code.
type message struct {
	name   string
	kind   func(*arena) (*raw, error)
	says   string
	answer string
	code   int
}

func plainKind(a *arena) (*raw, error) { return a.join("/ws/ticks") }

func packetsKind(a *arena) (*raw, error) {
	c, err := a.upgrade("/socket.io/?EIO=4&transport=websocket")
	if err == nil {
		err = c.send(text("40/ticks,"))
	}
	if err != nil {
		return nil, err
	}
	return c, c.expect("40/ticks,{")
}

// says has each said again and again.
func (a *arena) says(all []message) {
	a.all(len(all), func(i int) error {
		m := all[i]
		return besiege(func() error {
			c, err := m.kind(a)
			if err != nil {
				return err
			}
			defer c.Close()
			for each := range strings.SplitSeq(m.says, next) {
				if err == nil {
					err = c.send(text(each))
				}
			}
			switch {
			case err != nil:
			case m.code != 0:
				err = c.closed(m.code)
			default:
				err = c.expect(m.answer)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			return nil
		})
	})
}

// notUTF8 is bytes that are no text, and escapes that stand for none.
func (a *arena) notUTF8() {
	a.exchanges([]exchange{
		{"an event", eventsAddr, authorized(publishing, "{\"data\":\"\xff\"}", "Content-Type: application/json"), 400},
		{"a room in a query", clientsAddr, handshake("/ws/ticks?room=%ff"), 400},
		{"a surrogate in a query", clientsAddr, handshake("/ws/ticks?room=%ed%a0%80"), 400},
		{"a room of a stream", clientsAddr, "GET /sse/ticks?room=%c0%af HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	})
	a.says([]message{
		{"a byte", plainKind, "\xff", "", 1007},
		{"within JSON", plainKind, "{\"type\":\"ping\",\"ref\":\"\xc3\x28\"}", "", 1007},
		{"a surrogate", plainKind, "{\"type\":\"join\",\"rooms\":[\"\xed\xa0\x80\"]}", "", 1007},
		{"longer than it need be", plainKind, "{\"type\":\"join\",\"rooms\":[\"\xc0\xaf\"]}", "", 1007},
		{"cut off", plainKind, "{\"type\":\"ping\"}\xe2\x82", "", 1007},
		{"half a pair, escaped", plainKind, "{\"type\":\"join\",\"rooms\":[\"\\ud800\"]}", "{\"type\":\"joined\",\"rooms\":[\"\ufffd\"]", 0},
		{"packets", packetsKind, "42/ticks,[\"\xff\"]", "", 1007},
		{"a namespace", packetsKind, "40/\xff,", "", 1007},
	})
}

// brokenPackets are not Socket.IO.
func (a *arena) brokenPackets() {
	a.says([]message{
		{"an unknown type", packetsKind, "9", "", 1002},
		{"an unknown type of a message", packetsKind, "49", "", 1002},
		{"attachments without end", packetsKind, "4599999999999999999999-/ticks,[\"x\"]", "", 1002},
		{"11 attachments", packetsKind, "4511-/ticks,[\"x\"]", "", 1002},
		{"a placeholder of nothing", packetsKind, "450-/ticks,[\"x\",{\"_placeholder\":true,\"num\":0}]", "", 1002},
		{"text where attachments are due", packetsKind, "451-/ticks,[\"x\",{\"_placeholder\":true,\"num\":0}]" + next + "2", "", 1002},
		{"an ack id that is too large", packetsKind, "42/ticks,99999999999999999999[\"x\"]", "", 1002},
		{"a reserved name", packetsKind, "42/ticks,[\"disconnect\"]", "", 1002},
		{"an event of a namespace that is not connected to", packetsKind, "42/recovery,[\"x\"]", "", 1002},
		{"a namespace of 1 KB", packetsKind, "40/" + strings.Repeat("x", 1<<10) + ",", "", 1002},
		{"a ping, which only a server sends", packetsKind, "2", "", 1002},
		{"what means nothing", packetsKind, "0{}" + next + "5" + next + "6" + next + "42/ticks,1[\"x\"]", "43/ticks,1[", 0},
	})
}
