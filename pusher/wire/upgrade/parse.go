// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade

import "bytes"

// maxFields is how many header fields a request may have. Browsers send about 15.
const maxFields = 64

// Request is a WebSocket handshake. Its fields are parts of the bytes that were
// parsed. Those that were not sent are nil.
type Request struct {
	// Path is the request target up to its query: plain segments, nothing escaped.
	Path []byte
	// Query is what follows the question mark, as it was sent.
	Query []byte
	// Host is a name or an address with or without a port.
	Host          []byte
	Origin        []byte
	Authorization []byte
	// Forwarded is X-Forwarded-For, as it was sent.
	Forwarded []byte
	// Protocols is the list of Sec-WebSocket-Protocol, as it was sent.
	Protocols []byte
	// Extensions is the list of Sec-WebSocket-Extensions, as it was sent.
	Extensions []byte
	// Key is Sec-WebSocket-Key: 16 bytes in base64.
	Key []byte
}

// head is what decides whether a request is a handshake at all.
type head struct {
	upgrade, connection, version []byte
}

// Parse reads a handshake that is whole. n is where the bytes behind it begin;
// they are the connection's first. It reports false for everything else: a
// request that has not come in full, that is no WebSocket handshake, or in which
// anything is unusual.
func Parse(b []byte) (r Request, n int, ok bool) {
	line, n, ok := cutLine(b, 0)
	if !ok || !r.target(line) {
		return Request{}, 0, false
	}
	var h head
	for range maxFields + 1 {
		if line, n, ok = cutLine(b, n); !ok {
			return Request{}, 0, false
		}
		if len(line) == 0 {
			return r, n, h.handshake() && r.Host != nil && isKey(r.Key)
		}
		if !r.field(&h, line) {
			break
		}
	}
	return Request{}, 0, false
}

// cutLine returns the line that begins at b[from:] and where the next begins.
// Lines end with CRLF; a bare CR or LF makes the request somebody else's.
func cutLine(b []byte, from int) (line []byte, next int, ok bool) {
	i := bytes.IndexByte(b[from:], '\n')
	if i < 1 || b[from+i-1] != '\r' {
		return nil, 0, false
	}
	return b[from : from+i-1], from + i + 1, true
}

// target reads the request line: GET, an absolute path, HTTP/1.1.
func (r *Request) target(line []byte) bool {
	rest, get := bytes.CutPrefix(line, []byte("GET "))
	target, http11 := bytes.CutSuffix(rest, []byte(" HTTP/1.1"))
	if !get || !http11 {
		return false
	}
	path, query, asked := bytes.Cut(target, []byte("?"))
	if !plainPath(path) || !all(query, queryByte) {
		return false
	}
	r.Path = path
	if asked {
		r.Query = query
	}
	return true
}

// plainPath reports whether a path has nothing that a server would decode or
// clean. It may end in a slash.
func plainPath(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	if len(path) > 1 {
		path = bytes.TrimSuffix(path, []byte("/"))
	}
	for segment := range bytes.SplitSeq(path[1:], []byte("/")) {
		if len(segment) == 0 || segment[0] == '.' || !all(segment, pathByte) {
			return false
		}
	}
	return true
}

// field reads a header line. It reports false when the line is malformed, when a
// field that matters comes twice, or when the request has a body.
func (r *Request) field(h *head, line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !all(line[:colon], nameByte) {
		return false
	}
	value := trim(line[colon+1:])
	if !all(value, valueByte) {
		return false
	}
	var into *[]byte
	switch name := line[:colon]; {
	case is(name, "host"):
		if len(value) == 0 || !all(value, hostByte) {
			return false
		}
		into = &r.Host
	case is(name, "origin"):
		into = &r.Origin
	case is(name, "authorization"):
		into = &r.Authorization
	case is(name, "x-forwarded-for"):
		into = &r.Forwarded
	case is(name, "sec-websocket-protocol"):
		into = &r.Protocols
	case is(name, "sec-websocket-extensions"):
		into = &r.Extensions
	case is(name, "sec-websocket-key"):
		into = &r.Key
	case is(name, "sec-websocket-version"):
		into = &h.version
	case is(name, "upgrade"):
		into = &h.upgrade
	case is(name, "connection"):
		into = &h.connection
	default:
		return !is(name, "content-length") && !is(name, "transfer-encoding") && !is(name, "trailer") && !is(name, "expect")
	}
	if *into != nil {
		return false
	}
	*into = value[:len(value):len(value)]
	return true
}

// trim takes off white space at both ends. What it returns is never nil, so that
// a field that was sent empty can be told from one that was not sent.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func (h *head) handshake() bool {
	return is(h.upgrade, "websocket") && string(h.version) == "13" && lists(h.connection, "upgrade")
}

// lists reports whether a comma-separated list has an item, in any case.
func lists(list []byte, item string) bool {
	for each := range bytes.SplitSeq(list, []byte(",")) {
		if is(bytes.Trim(each, " \t"), item) {
			return true
		}
	}
	return false
}

// is compares with a word in lower case, folding ASCII letters only.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isKey reports whether b is 16 bytes in base64: 22 letters and the padding.
func isKey(b []byte) bool {
	return len(b) == 24 && b[22] == '=' && b[23] == '=' && all(b[:22], base64Byte)
}

func all(b []byte, class uint8) bool {
	for _, c := range b {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// What a byte may be part of.
const (
	nameByte   uint8 = 1 << iota // a field's name: token, RFC 9110 section 5.6.2
	valueByte                    // a field's value: visible ASCII, space, tab
	pathByte                     // a path segment that needs no decoding
	queryByte                    // a query: visible ASCII but #
	hostByte                     // a host, with brackets and port
	base64Byte                   // base64 without padding
)

var classes = func() (t [256]uint8) {
	mark := func(class uint8, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= class
		}
	}
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	mark(nameByte, alphanumeric+"!#$%&'*+-.^_`|~")
	mark(pathByte, alphanumeric+"-._~")
	mark(hostByte, alphanumeric+"-._:[]")
	mark(base64Byte, alphanumeric+"+/")
	mark(valueByte, " \t")
	for c := byte('!'); c <= '~'; c++ {
		t[c] |= valueByte
		if c != '#' {
			t[c] |= queryByte
		}
	}
	return t
}()
