// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

const key = "dGhlIHNhbXBsZSBub25jZQ=="

// request builds a handshake of a request line and fields, with CRLF.
func request(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

var fields = []string{
	"Host: push.example.com", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: " + key, "Sec-WebSocket-Version: 13",
}

func with(line string, more ...string) string {
	return request(append(append([]string{line}, fields...), more...)...)
}

func without(field string) string {
	lines := []string{"GET /ws/a HTTP/1.1"}
	for _, f := range fields {
		if !strings.HasPrefix(f, field) {
			lines = append(lines, f)
		}
	}
	return request(lines...)
}

const line = "GET /ws/a HTTP/1.1"

var handshakes = map[string]string{
	"plain":             with(line),
	"query":             with("GET /ws/a?room=x%20y&token=a.b-c_ HTTP/1.1"),
	"any case":          strings.NewReplacer("Upgrade: websocket", "uPgRaDe: WebSocket", "Connection: Upgrade", "connection:keep-alive ,\tupgrade").Replace(with(line)),
	"what browsers add": with(line, "Origin: https://example.com", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "User-Agent: x (y; z) w/1", "Cookie: a=b; c=d", "Sec-WebSocket-Protocol: klaxon.v1.json, bearer.x"),
	"slash at the end":  with("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1"),
	"empty field":       with(line, "Origin:", "X-Empty: \t"),
	"no final padding":  with(line, "X: y "),
}

var others = map[string]string{
	"nothing":                "",
	"half":                   with(line)[:60],
	"no end":                 strings.TrimSuffix(with(line), "\r\n"),
	"POST":                   with("POST /ws/a HTTP/1.1"),
	"HTTP/1.0":               with("GET /ws/a HTTP/1.0"),
	"two spaces":             with("GET  /ws/a HTTP/1.1"),
	"space in the target":    with("GET /ws/a b HTTP/1.1"),
	"absolute form":          with("GET http://x/ws/a HTTP/1.1"),
	"fragment":               with("GET /ws/a?b#c HTTP/1.1"),
	"escaped path":           with("GET /ws/%61 HTTP/1.1"),
	"path to be cleaned":     with("GET /ws/../a HTTP/1.1"),
	"double slash":           with("GET //ws/a HTTP/1.1"),
	"no path":                with("GET ?a HTTP/1.1"),
	"not ASCII":              with("GET /ws/ä HTTP/1.1"),
	"bare LF":                strings.ReplaceAll(with(line), "\r\n", "\n"),
	"bare CR":                with(line, "X: a\rb"),
	"NUL":                    with(line, "X: a\x00b"),
	"NUL in a name":          with(line, "X\x00: a"),
	"folded":                 with(line, "X: a\r\n b"),
	"space before a colon":   with(line, "X : a"),
	"no colon":               with(line, "X"),
	"no name":                with(line, ": a"),
	"two Hosts":              with(line, "Host: push.example.com"),
	"two Origins":            with(line, "Origin:", "Origin: https://example.com"),
	"two keys":               with(line, "Sec-WebSocket-Key: "+key),
	"two Upgrades":           with(line, "Upgrade: h2c"),
	"two protocol fields":    with(line, "Sec-WebSocket-Protocol: a", "sec-websocket-protocol: b"),
	"two extension fields":   with(line, "Sec-WebSocket-Extensions: a", "Sec-WebSocket-Extensions: b"),
	"two slashes at the end": with("GET /a// HTTP/1.1"),
	"two Authorizations":     with(line, "Authorization: Bearer a", "Authorization: Bearer b"),
	"a body":                 with(line, "Content-Length: 5"),
	"an empty body":          with(line, "Content-Length: 0"),
	"chunks":                 with(line, "Transfer-Encoding: chunked"),
	"no Host":                without("Host"),
	"no Upgrade":             without("Upgrade"),
	"no Connection":          without("Connection"),
	"no key":                 without("Sec-WebSocket-Key"),
	"no version":             without("Sec-WebSocket-Version"),
	"another version":        strings.Replace(with(line), ": 13", ": 8", 1),
	"a short key":            strings.Replace(with(line), key, "dGhlIHNhbXBsZQ==", 1),
	"a key not in base64":    strings.Replace(with(line), key, "dGhlIHNhbX!sZSBub25jZQ==", 1),
	"an odd host":            strings.Replace(with(line), "push.example.com", "a b", 1),
	"an empty host":          strings.Replace(with(line), " push.example.com", "", 1),
	"more fields than most":  with(line, strings.Split(strings.Repeat("X: y,", 100)+"X: y", ",")...),
}

func TestParse(t *testing.T) {
	for name, s := range handshakes {
		const early = "\x81\x80 bytes of the first frame"
		r, n, ok := Parse([]byte(s + early))
		if !ok || n != len(s) {
			t.Errorf("%s: understood: %v, with %d bytes of %d", name, ok, n, len(s))
		} else if string(r.Path) != path(s) || string(r.Host) != "push.example.com" || string(r.Key) != key {
			t.Errorf("%s: read as %q", name, r)
		}
	}
	for name, s := range others {
		if r, _, ok := Parse([]byte(s)); ok {
			t.Errorf("%s: taken for a handshake: %q", name, r)
		}
	}
}

// TestAnswer has the example of RFC 6455 section 1.3.
func TestAnswer(t *testing.T) {
	for _, a := range []Answer{{}, {Protocol: "klaxon.v1.json"}, {Extensions: "permessage-deflate"}, {Protocol: "klaxon.v1.json", Extensions: "x; y"}} {
		a.Key = []byte(key)
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(a.Append(nil))), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		h := resp.Header
		if resp.StatusCode != http.StatusSwitchingProtocols || h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
			h.Get("Upgrade") != "websocket" || h.Get("Connection") != "Upgrade" || h.Get("Sec-WebSocket-Protocol") != a.Protocol || h.Get("Sec-WebSocket-Extensions") != a.Extensions {
			t.Errorf("answer %s %v", resp.Status, h)
		}
	}
}

func TestSelects(t *testing.T) {
	r := Request{Protocols: []byte("bearer.klaxon.v1.json ,\tklaxon.v1.json")}
	if !r.Selects("klaxon.v1.json") || r.Selects("Klaxon.v1.json") || r.Selects("klaxon") {
		t.Error("a subprotocol is selected that was not offered, or the other way round")
	}
}

// FuzzNetHTTPAgrees: whatever is taken for a handshake, net/http reads in the
// same way, and leaves the same bytes behind it.
func FuzzNetHTTPAgrees(f *testing.F) {
	for _, set := range []map[string]string{handshakes, others} {
		for _, s := range set {
			f.Add([]byte(s))
			f.Add([]byte(s + "\x81\x80...."))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, ok := Parse(b)
		if !ok {
			return
		}
		in := bufio.NewReaderSize(bytes.NewReader(b), len(b)+16)
		req, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b[:n], err)
		}
		if left := in.Buffered(); left != len(b)-n {
			t.Errorf("net/http leaves %d bytes, not %d", left, len(b)-n)
		}
		if req.Body != http.NoBody || req.ContentLength != 0 || req.Close {
			t.Errorf("net/http sees a body, or the end of the connection: %q", b[:n])
		}
		for _, c := range []struct{ what, ours, theirs string }{
			{"path", string(r.Path), req.URL.Path},
			{"query", string(r.Query), req.URL.RawQuery},
			{"host", string(r.Host), req.Host},
			{"origin", string(r.Origin), req.Header.Get("Origin")},
			{"authorization", string(r.Authorization), req.Header.Get("Authorization")},
			{"protocols", string(r.Protocols), req.Header.Get("Sec-Websocket-Protocol")},
			{"key", string(r.Key), req.Header.Get("Sec-Websocket-Key")},
		} {
			if c.ours != c.theirs {
				t.Errorf("the %s is %q here and %q in net/http", c.what, c.ours, c.theirs)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	s := []byte(handshakes["what browsers add"])
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := Parse(s); !ok {
			b.Fatal("not understood")
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Answer{Key: []byte(key), Protocol: "klaxon.v1.json"}.Append(nil)
	}
}

// path is that of a request line.
func path(request string) string {
	target := strings.Fields(request)[1]
	p, _, _ := strings.Cut(target, "?")
	return p
}
