// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/hex"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// The names of the headers of attributes, except that of the type of the data.
var headers = [...]struct{ header, attribute string }{
	{"Ce-Specversion", "specversion"},
	{"Ce-Id", "id"},
	{"Ce-Source", "source"},
	{"Ce-Type", "type"},
	{"Ce-Subject", "subject"},
	{"Ce-Klaxonroom", "klaxonroom"},
	{"Ce-Klaxonuser", "klaxonuser"},
	{"Ce-Klaxonsession", "klaxonsession"},
	{"Ce-Traceparent", "traceparent"},
}

// isBinaryMode reports whether a request has a CloudEvent's attributes in its headers
// and nowhere else. One that is required is enough: who forgets another shall
// be told.
func isBinaryMode(h http.Header) bool {
	const structured = "application/cloudevents"
	for i := range headers[:4] {
		if _, ok := h[headers[i].header]; ok {
			t := h.Get("Content-Type")
			return len(t) < len(structured) || !strings.EqualFold(t[:len(structured)], structured)
		}
	}
	return false
}

// decodeHeaders reads a CloudEvent of which body is the data.
func decodeHeaders(h http.Header, body []byte, ch *settings.Channel) (*wire.Event, *problem) {
	var c cloudEvent
	for i := range headers {
		for _, value := range h[headers[i].header] {
			s, ok := decodeHeader(value)
			if !ok {
				return nil, invalid("%s: is not UTF-8", headers[i].attribute)
			}
			if p := c.set(headers[i].attribute, s); p != nil {
				return nil, p
			}
		}
	}
	ev, p := c.event(ch.CloudEvents)
	if p != nil {
		return nil, p
	}
	kind, p := kindOf("Content-Type", h.Get("Content-Type"))
	if p != nil {
		return nil, p
	}
	return ev, kind.fill(ev, body, ch.Limits.EventBytes)
}

// decodeHeader reads an attribute from a header (HTTP Protocol Binding for CloudEvents
// 1.0.2, section 3.1.3.2): first a string in quotes, then percent-encoding, each once.
// A % that encodes nothing stands for itself, because some senders do not encode. It
// reports false when the result is not UTF-8.
func decodeHeader(s string) (string, bool) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	if strings.IndexByte(s, '%') >= 0 {
		s = unescape(s)
	}
	return s, utf8.ValidString(s)
}

// unquote reads what is within the quotes of a quoted-string (RFC 7230 section 3.2.6).
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// unescape decodes %xy.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if octet, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b = append(b, octet...)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
