// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// MaxHead is the largest header of a server's frame.
const MaxHead = 10

// AppendHead appends the header of an unfragmented server frame with a payload of n bytes.
func AppendHead(dst []byte, op Op, n int) []byte {
	b0 := 0x80 | byte(op)
	switch {
	case n <= 125:
		return append(dst, b0, byte(n)) //nolint:gosec // checked above
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, b0, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, b0, 127), uint64(n))
	}
}

// Encode encodes one unfragmented server frame.
func Encode(op Op, payload []byte) []byte {
	b := make([]byte, 0, MaxHead+len(payload))
	return append(AppendHead(b, op, len(payload)), payload...)
}

// EncodeClose encodes a close frame. A reason that does not fit into the 123
// bytes of a control frame is cut at a character.
func EncodeClose(code wire.CloseCode, reason string) []byte {
	if code == wire.CloseNoStatus {
		return AppendHead(nil, Close, 0)
	}
	if len(reason) > maxControl-2 {
		reason = reason[:maxControl-2]
		for !utf8.ValidString(reason) && reason != "" {
			reason = reason[:len(reason)-1]
		}
	}
	reason = strings.ToValidUTF8(reason, "")
	b := AppendHead(nil, Close, 2+len(reason))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}
