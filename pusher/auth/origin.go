// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"fmt"
	"net"
	"strings"
)

// originPattern is one entry of a channel's allowed origins.
type originPattern struct {
	any bool
	origin
	// suffix is true when host, which then begins with a dot, stands for all
	// names that end with it.
	suffix bool
}

// origin is a web origin (RFC 6454 section 4) of http or https. Scheme and host
// are in lower case, the port is never empty.
type origin struct {
	scheme, host, port string
}

// Origin says whether a page of the origin may connect to the channel, when the
// request went to requestHost (the Host header, with or without a port).
// Clients without an Origin, which are not browsers, are let through. The error
// is always an *Error.
func (v *Verifier) Origin(channelName, originHeader, requestHost string) error {
	ch := v.channels[channelName]
	if ch == nil {
		return errUnknownChannel
	}
	if originHeader == "" {
		return nil
	}
	if ch.origins.allow(originHeader, requestHost) {
		return nil
	}
	return &Error{CodeOriginRefused, "pages of this origin may not connect to the channel: see its allowedOrigins"}
}

// SomeOrigin reports whether a page of the origin may connect to any channel at
// all, for requests that have not named one yet.
func (v *Verifier) SomeOrigin(originHeader, requestHost string) bool {
	return originHeader == "" || v.origins.allow(originHeader, requestHost)
}

// origins are those whose pages may connect. A set, because a Pusher's Channels may
// allow thousands together.
type origins struct {
	patterns map[originPattern]struct{}
	own      bool // that of the request's host
}

func (s *origins) add(p originPattern) {
	if s.patterns == nil {
		s.patterns = map[originPattern]struct{}{}
	}
	s.patterns[p] = struct{}{}
}

// include adds what others allow.
func (s *origins) include(others origins) {
	s.own = s.own || others.own
	for p := range others.patterns {
		s.add(p)
	}
}

func (s *origins) has(p originPattern) bool {
	_, ok := s.patterns[p]
	return ok
}

func (s *origins) allow(header, requestHost string) bool {
	if s.has(originPattern{any: true}) {
		return true
	}
	o, ok := parseOrigin(header)
	if !ok {
		return false
	}
	if s.own && o.servedBy(requestHost) || s.has(originPattern{origin: o}) {
		return true
	}
	// "*.example.com" is kept as ".example.com" and matches what ends with it.
	for i := 1; i < len(o.host); i++ {
		parent := origin{o.scheme, o.host[i:], o.port}
		if o.host[i] == '.' && s.has(originPattern{origin: parent, suffix: true}) {
			return true
		}
	}
	return false
}

func parseOriginPattern(s string) (originPattern, error) {
	if s == "*" {
		return originPattern{any: true}, nil
	}
	scheme, rest, _ := strings.Cut(s, "://")
	plain, suffix := strings.CutPrefix(rest, "*.")
	o, ok := parseOrigin(scheme + "://" + plain)
	if !ok {
		return originPattern{}, fmt.Errorf("%q is not an origin", s)
	}
	if suffix {
		o.host = "." + o.host
	}
	return originPattern{origin: o, suffix: suffix}, nil
}

// parseOrigin reads scheme://host[:port] with the scheme http or https, in any
// case and with nothing around it. "null" and lists are no such thing.
func parseOrigin(s string) (origin, bool) {
	s = lower(s)
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return origin{}, false
	}
	host, port, ok := splitHost(rest)
	if !ok {
		return origin{}, false
	}
	if port == "" {
		port = defaultPort(scheme)
	}
	return origin{scheme, host, port}, true
}

// servedBy reports whether requestHost is the origin's own host and port. Who
// ends TLS is not known here, so a Host without a port has the default port of
// the origin's scheme.
func (o origin) servedBy(requestHost string) bool {
	host, port, ok := splitHost(lower(requestHost))
	if !ok {
		return false
	}
	if port == "" {
		port = defaultPort(o.scheme)
	}
	return host == o.host && port == o.port
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// splitHost reads host[:port] in lower case: a name whose labels are not empty,
// or an address. The port is empty or a number without leading zeros.
func splitHost(s string) (host, port string, ok bool) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if !isPort(port) {
			return "", "", false
		}
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		return host, port, found && net.ParseIP(inner) != nil && strings.Contains(inner, ":")
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || !isLabel(label) {
			return "", "", false
		}
	}
	return host, port, true
}

func isPort(s string) bool {
	if len(s) == 0 || len(s) > 5 || s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// lower folds ASCII letters only: a letter of another script must not become one.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
