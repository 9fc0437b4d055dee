// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"compress/flate"
	"fmt"
	"strings"
)

// frameAttacks break the framing of WebSocket.
var frameAttacks = []attack{
	{"frame bombs", (*arena).frameBombs},
}

// deflated compresses n zeros into one message.
func deflated(n int) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = w.Write(make([]byte, n))
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// frameBombs are closed with a code each.
func (a *arena) frameBombs() {
	bombs := []struct {
		name, says string
		code       int
	}{
		{"a huge length", head(0x81, 1<<62) + "x", 1009},
		{"a length with its highest bit set", head(0x81, 1<<63), 1002},
		{"one byte too many", head(0x81, 32<<10+1), 1009},
		{"fragments without end", frame(0x01, "x") + strings.Repeat(frame(0x00, strings.Repeat("x", 1000)), 40), 1009},
		{"a message within a message", frame(0x01, "x") + text("y"), 1002},
		{"a continuation of nothing", frame(0x80, "x"), 1002},
		{"a ping over 125 bytes", frame(0x89, strings.Repeat("x", 126)), 1002},
		{"a fragmented ping", frame(0x09, "x"), 1002},
		{"an unknown opcode", frame(0x83, "x"), 1002},
		{"reserved bits", frame(0xb1, "x"), 1002},
		{"no mask", "\x81\x01x", 1002},
		{"half a close code", frame(0x88, "x"), 1002},
		{"a close code that may not be sent", frame(0x88, "\x03\xed"), 1002},
		{"a close reason that is not UTF-8", frame(0x88, "\x03\xe8\xff"), 1007},
		{"binary", frame(0x82, "x"), 1003},
		{"a bomb of 30 MB in 30 KB", frame(0xc1, deflated(30<<20)), 1009},
		{"many small bombs in fragments", frame(0x41, deflated(64 << 10)[:10]) + frame(0x80, deflated(64 << 10)[10:]), 1009},
		{"compressed garbage", frame(0xc1, "\xff\xff\xff\xff"), 1007},
		{"a compressed ping", frame(0xc9, "x"), 1002},
	}
	a.all(len(bombs), func(i int) error {
		b := bombs[i]
		return besiege(func() error {
			c, err := a.join("/ws/ticks", offersDeflate)
			if err == nil {
				err = c.send(b.says)
			}
			if err == nil {
				err = c.closed(b.code)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			return nil
		})
	})
}
