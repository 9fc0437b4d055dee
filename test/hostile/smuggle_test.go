// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// smuggled is the request that must never be answered: somebody else's, if a proxy in
// front took it for a part of a body.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// shape is a request in which two parsers may find different ends, and what it is
// answered with. Then the connection must end, without an answer to what is behind it.
type shape struct {
	name, says string
	want       int
}

// shapes of requests with a body, which begin with head. One that can be understood may
// be served and answered as any other.
func shapes(head string, served int) []shape {
	body := "{\"rooms\":[\"nobody\"]}"
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	return []shape{
		{"a length and chunks", head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + "0\r\n\r\n", served},
		{"chunks and a length", head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunk + "0\r\n\r\n", served},
		{"a length and folded chunks", head + "Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + chunk + "0\r\n\r\n", served},
		{"chunks in HTTP/1.0", strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "Connection: keep-alive\r\nContent-Length: 20\r\nTransfer-Encoding: chunked\r\n\r\n" + body, served},
		{"two lengths", head + "Content-Length: 20\r\nContent-Length: 5\r\n\r\n" + body, 400},
		{"two lengths in one", head + "Content-Length: 20, 5\r\n\r\n" + body, 400},
		{"a length with a sign", head + "Content-Length: +20\r\n\r\n" + body, 400},
		{"a negative length", head + "Content-Length: -20\r\n\r\n" + body, 400},
		{"a hexadecimal length", head + "Content-Length: 0x14\r\n\r\n" + body, 400},
		{"an empty length", head + "Content-Length: \r\n\r\n" + body, 400},
		{"a length with a space before the colon", head + "Content-Length : 20\r\n\r\n" + body, 400},
		{"chunks that are not chunked", head + "Transfer-Encoding: xchunked\r\n\r\n" + chunk + "0\r\n\r\n", 501},
		{"chunked twice", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + "0\r\n\r\n", 501},
		{"chunked and then something", head + "Transfer-Encoding: chunked, identity\r\n\r\n" + chunk + "0\r\n\r\n", 501},
		{"chunked behind a vertical tab", head + "Transfer-Encoding: \vchunked\r\n\r\n" + chunk + "0\r\n\r\n", 400},
		{"a name with a control character", head + "Transfer-Encoding\x00: chunked\r\n\r\n" + chunk + "0\r\n\r\n", 400},
		{"a value with a bare CR", head + "X: y\rTransfer-Encoding: chunked\r\n\r\n" + chunk + "0\r\n\r\n", 400},
		{"a line without a colon", head + "Transfer-Encoding chunked\r\n\r\n" + chunk + "0\r\n\r\n", 400},
		{"a first line that is folded", strings.Replace(head, "\r\n", "\r\n Transfer-Encoding: chunked\r\n", 1) + "\r\n", 400},
		{"two hosts", head + "Host: y\r\nContent-Length: 20\r\n\r\n" + body, 400},
		{"HTTP/1.1 without a host", strings.Replace(head, "Host: x\r\n", "", 1) + "Content-Length: 20\r\n\r\n" + body, 400},
		{"a version that is none", strings.Replace(head, "HTTP/1.1", "HTTP/1.1x", 1) + "\r\n", 400},
	}
}

// badChunks are bodies whose end cannot be found. Who reads them must refuse the request.
func badChunks(head string, _ int) []shape {
	head += "Transfer-Encoding: chunked\r\n\r\n"
	return []shape{
		{"a size that is none", head + "xyz\r\n{}\r\n0\r\n\r\n", 400},
		{"a size with a sign", head + "+2\r\n{}\r\n0\r\n\r\n", 400},
		{"a size that is too large", head + "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n", 400},
		{"a chunk longer than its size", head + "1\r\n{}\r\n0\r\n\r\n", 400},
		{"bare LF behind a size", head + "2\n{}\r\n0\r\n\r\n", 400},
		{"bare LF in an extension", head + "2;a\n{}\r\n0\r\n\r\n", 400},
		{"bare LF behind a chunk", head + "2\r\n{}\n0\r\n\r\n", 400},
		{"bare CR behind a size", head + "2\rx{}\r\n0\r\n\r\n", 400},
		{"an extension of 32 KB", head + "2;" + strings.Repeat("x", 32<<10) + "\r\n{}\r\n0\r\n\r\n", 400},
	}
}

// smuggle sends a shape with a request behind it.
func (a *arena) smuggle(addr string, s shape) error {
	c, err := a.raw(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.send(s.says + smuggled); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	var answers []int
	for {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		resp, err := http.ReadResponse(c.r, nil)
		if isTimeout(err) {
			return fmt.Errorf("%s: answered %v, and the connection is kept", s.name, answers)
		}
		if err != nil {
			break
		}
		answers = append(answers, resp.StatusCode)
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			break
		}
	}
	if !slices.Equal(answers, []int{s.want}) {
		return fmt.Errorf("%s: answered %v, want %d and the end", s.name, answers, s.want)
	}
	return nil
}

// target is a listener, how a request to it begins, and what it is answered with.
type target struct {
	addr   func(*server) string
	head   string
	served int
}

// smuggling attacks a listener with all shapes.
func smuggling(name string, at target, with ...func(string, int) []shape) attack {
	return attack{name, func(a *arena) {
		var all []shape
		for _, w := range with {
			all = append(all, w(at.head, at.served)...)
		}
		a.all(len(all), func(i int) error {
			return besiege(func() error { return a.smuggle(at.addr(a.server), all[i]) })
		})
	}}
}

var smugglers = []attack{
	smuggling("smuggling: clients", target{clientsAddr, "POST " + pollPath + "&sid=x HTTP/1.1\r\nHost: x\r\n", 400}, shapes),
	smuggling("smuggling: events", target{eventsAddr, strings.TrimSuffix(publication("X: x"), "\r\n"), 200}, shapes, badChunks),
	smuggling("smuggling: admin", target{adminAddr, "GET /status HTTP/1.1\r\nHost: x\r\n", 401}, shapes),
}

func clientsAddr(s *server) string { return s.clients }
func eventsAddr(s *server) string  { return s.events }
func adminAddr(s *server) string   { return s.admin }
