// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// pollPath is where clients poll.
const pollPath = "/socket.io/?EIO=4&transport=polling"

// request asks something by HTTP, on a connection of its own.
func (s *server) request(method, url, body string, lines ...string) (status int, answer string, err error) {
	req, err := http.NewRequest(method, "http://"+url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		req.Header.Set(name, value)
	}
	resp, err := s.asks.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// answered checks what a request is answered with.
func (s *server) answered(method, url, body string, want int, lines ...string) (string, error) {
	status, answer, err := s.request(method, url, body, lines...)
	if err == nil && status != want {
		err = fmt.Errorf("%s %.100s is answered %d %.200s, want %d", method, url, status, answer, want)
	}
	return answer, err
}

// polls begins a session of Engine.IO that polls.
func (a *arena) polls() (sid string, err error) {
	opening, err := a.answered(http.MethodGet, a.clients+pollPath, "", http.StatusOK)
	if err != nil {
		return "", err
	}
	var says struct{ SID string }
	err = json.Unmarshal([]byte(strings.TrimPrefix(opening, "0")), &says)
	return says.SID, err
}

// abort resets a connection.
func abort(c net.Conn) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return errors.New("not a TCP connection")
	}
	return errors.Join(tcp.SetLinger(0), tcp.Close())
}

// narrow has the kernel take no more of what nobody reads than it would in the beginning.
func narrow(c net.Conn) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return errors.New("not a TCP connection")
	}
	return tcp.SetReadBuffer(256 << 10)
}

// publish sends an event.
func (s *server) publish(body string) error {
	_, err := s.answered(http.MethodPost, s.events+"/v1/channels/ticks/events", body, http.StatusOK,
		"Authorization: Bearer "+publisherToken, "Content-Type: application/json")
	return err
}

// neverRead is a tenth more clients, of all protocols, that are sent more than they
// read. Each is closed as too slow.
func (a *arena) neverRead() {
	before := a.closes(a.T, 4008)
	greedy := []func() (*raw, error){
		func() (*raw, error) { return a.join("/ws/ticks?room=flood") },
		func() (*raw, error) { return a.join("/ws/ticks?room=flood", offersDeflate) },
		func() (*raw, error) {
			c, err := a.raw(a.clients)
			if err == nil {
				err = c.send("GET /sse/ticks?room=flood HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			if err == nil {
				_, err = c.r.ReadString('{') // of the welcome
			}
			return c, err
		},
		func() (*raw, error) {
			c, err := a.upgrade("/socket.io/?EIO=4&transport=websocket")
			if err == nil {
				err = c.send(text("40/ticks,{\"rooms\":[\"flood\"]}"))
			}
			if err == nil {
				err = c.expect("40/ticks,{")
			}
			return c, err
		},
		func() (*raw, error) { // polls once and never again
			sid, err := a.polls()
			if err == nil {
				_, err = a.answered(http.MethodPost, a.clients+pollPath+"&sid="+sid, "40/ticks,{\"rooms\":[\"flood\"]}", http.StatusOK)
			}
			return nil, err
		},
	}
	var all []*raw
	for i, begin := range greedy {
		c, err := begin()
		if err != nil {
			a.Fatalf("attacker %d: %v", i, err)
		}
		if c != nil {
			if err := narrow(c.Conn); err != nil {
				a.Fatal(err)
			}
			all = append(all, c)
		}
	}
	event := fmt.Sprintf("{\"rooms\":[\"flood\"],\"data\":%q}", noise(60<<10))
	if err := besiege(func() error { return a.publish(event) }); err != nil {
		a.Fatal(err)
	}
	if !within(patience, func() bool {
		return a.publish(event) == nil && a.closes(a.T, 4008) == before+len(greedy)
	}) {
		a.Errorf("%d were closed with 4008, not %d", a.closes(a.T, 4008)-before, len(greedy))
	}
	for i, c := range all {
		var err error
		if i == 2 {
			err = c.ended(patience)
		} else {
			err = c.closed(4008)
		}
		if err != nil {
			a.Errorf("attacker %d: %v", i, err)
		}
	}
}

// noise is text that deflate makes little of.
func noise(n int) string {
	var b bytes.Buffer
	for x := uint64(88172645463325252); b.Len() < n; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		fmt.Fprintf(&b, "%x", x)
	}
	return b.String()[:n]
}

// readLines reads to the end.
func readLines(r io.Reader) ([]string, error) {
	b, err := io.ReadAll(r)
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), err
}
