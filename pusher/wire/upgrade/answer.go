// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 asks for it; it protects nothing
	"encoding/base64"
)

const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Answer completes a handshake.
type Answer struct {
	// Key is the request's.
	Key []byte
	// Protocol is the subprotocol that was selected; empty: none.
	Protocol string
	// Extensions are those that were agreed; empty: none.
	Extensions string
}

// Append appends the response.
func (a Answer) Append(dst []byte) []byte {
	var challenge [24 + len(acceptGUID)]byte
	n := copy(challenge[:], a.Key)
	n += copy(challenge[n:], acceptGUID)
	sum := sha1.Sum(challenge[:n]) //nolint:gosec // as above
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	if a.Protocol != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Protocol: "...), a.Protocol...)
	}
	if a.Extensions != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Extensions: "...), a.Extensions...)
	}
	return append(dst, "\r\n\r\n"...)
}

// Selects reports whether the client offers a subprotocol. Subprotocols are
// compared as they are (RFC 6455 section 11.3.4).
func (r *Request) Selects(protocol string) bool {
	for each := range bytes.SplitSeq(r.Protocols, []byte(",")) {
		if string(bytes.Trim(each, " \t")) == protocol {
			return true
		}
	}
	return false
}
