// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

import "strings"

const (
	name   = "permessage-deflate"
	agreed = name + "; server_no_context_takeover; client_no_context_takeover"
)

// Negotiate takes the value of Sec-WebSocket-Extensions (several lines joined by
// commas) and returns the answer to the first offer of permessage-deflate that
// can be accepted. It reports false if there is none, or if the header breaks
// the grammar of RFC 6455 section 9.1. The work is linear in the header's length.
//
// An offer is declined as RFC 7692 section 7.1 wants it: for a parameter that is
// unknown, comes twice or has a bad value. So is a server_max_window_bits below
// 15: compress/flate has a window of 32 KiB and no other. A client that offers
// client_max_window_bits may keep its window as it likes: any can be read.
func Negotiate(offers string) (answer string, ok bool) {
	s := scanner{rest: offers}
	for more := true; more; {
		s.space()
		if s.rest == "" || s.rest[0] == ',' { // empty elements of a list mean nothing
			more = s.next(',')
			continue
		}
		got, accepted := s.offer()
		if s.bad {
			return "", false
		}
		if accepted && answer == "" {
			answer = got
		}
		if more = s.next(','); !more && s.rest != "" {
			return "", false
		}
	}
	return answer, answer != ""
}

// Bits of the parameters that an offer has had.
const (
	serverNoContext = 1 << iota
	clientNoContext
	serverBits
	clientBits
)

// offer reads one offer and returns the answer, if it can be accepted.
func (s *scanner) offer() (answer string, accepted bool) {
	accepted = s.token() == name
	answer = agreed
	seen := 0
	for !s.bad && s.next(';') {
		s.space()
		p := param{name: s.token()}
		if s.next('=') {
			s.space()
			p.value, p.given = s.value(), true
		}
		bit := p.check()
		if bit == 0 || seen&bit != 0 {
			accepted = false // but the header must still be well-formed
		}
		seen |= bit
		if bit == serverBits {
			answer = agreed + "; server_max_window_bits=15"
		}
	}
	return answer, accepted && !s.bad
}

// param is a parameter of an offer. A value may be given and empty.
type param struct {
	name, value string
	given       bool
}

// check returns the parameter's bit, or 0 if the parameter cannot be accepted.
func (p param) check() int {
	switch p.name {
	case "server_no_context_takeover":
		if !p.given {
			return serverNoContext
		}
	case "client_no_context_takeover":
		if !p.given {
			return clientNoContext
		}
	case "server_max_window_bits":
		if p.value == "15" {
			return serverBits
		}
	case "client_max_window_bits":
		switch p.value {
		case "8", "9", "10", "11", "12", "13", "14", "15":
			return clientBits
		case "":
			if !p.given {
				return clientBits
			}
		}
	}
	return 0
}

// scanner takes a header value apart. Once it is bad, it finds nothing more.
// Package httphead reads the same grammar but takes two tokens without a
// separator for one, and an empty quoted value for none.
type scanner struct {
	rest string
	bad  bool
}

func (s *scanner) space() { s.rest = strings.TrimLeft(s.rest, " \t") }

// next skips the separator c and reports whether it was there.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// token reads a token (RFC 9110 section 5.6.2).
func (s *scanner) token() string {
	n := 0
	for n < len(s.rest) && isToken(s.rest[n]) {
		n++
	}
	s.bad = s.bad || n == 0
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

// value reads a token or a quoted string, which must be a token without its
// quotes (RFC 6455 section 9.1).
func (s *scanner) value() string {
	if s.rest == "" || s.rest[0] != '"' {
		return s.token()
	}
	var v []byte
	for i := 1; i < len(s.rest); i++ {
		c := s.rest[i]
		if c == '"' {
			s.rest = s.rest[i+1:]
			s.bad = s.bad || len(v) == 0
			return string(v)
		}
		if c == '\\' && i+1 < len(s.rest) {
			i++
			c = s.rest[i]
		}
		if !isToken(c) {
			break
		}
		v = append(v, c)
	}
	s.bad = true
	return ""
}

func isToken(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
		return true
	default:
		return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
	}
}
