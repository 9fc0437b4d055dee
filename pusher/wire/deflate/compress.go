// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"strconv"

	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// level is flate's. A writer for each message on its own is reset each time, which
// costs the higher levels 10 µs for their tables. BenchmarkLevel, on JSON of orders:
//
//	        1 KiB         4 KiB         16 KiB
//	1       8 µs, 34 %    16 µs, 26 %    69 µs, 24 %
//	5      20 µs, 33 %    37 µs, 24 %   147 µs, 21 %
//	9      23 µs, 32 %    50 µs, 23 %   351 µs, 20 %
//
// Level 1 takes half the time or less, and the others save 1 to 4 % of the plain
// size more. Huffman codes alone are hardly faster, and leave 60 %.
const level = flate.BestSpeed

// keep is the largest buffer that is kept for the next message, in bytes.
const keep = 64 << 10

// rsv1 marks the first frame of a compressed message (RFC 7692 section 6).
const rsv1 frames.Op = 0x40

// syncTail ends what flate writes on a flush and is left out of a message
// (RFC 7692 section 7.2.1).
var syncTail = []byte{0x00, 0x00, 0xff, 0xff}

// Compressor compresses messages, each on its own. Its zero value is ready. It
// is not for concurrent use.
type Compressor struct {
	w   *flate.Writer
	out sink
}

// Frame returns an unfragmented server frame with the compressed payload. It
// returns nil if the frame would not be smaller than the plain one: send that.
// Only Text and Binary messages may be compressed.
func (c *Compressor) Frame(op frames.Op, payload []byte) []byte {
	if len(payload) <= 1 {
		return nil
	}
	c.out.buf, c.out.limit = c.out.buf[:0], len(payload)-1+len(syncTail)
	if !c.compress(payload) {
		return nil
	}
	body := bytes.TrimSuffix(c.out.buf, syncTail)
	b := make([]byte, 0, headSize(len(body))+len(body))
	b = append(frames.AppendHead(b, op|rsv1, len(body)), body...)
	if cap(c.out.buf) > keep {
		c.out.buf = nil
	}
	return b
}

// compress fills out. It reports false if that became too large.
func (c *Compressor) compress(payload []byte) bool {
	if c.w == nil {
		w, err := flate.NewWriter(&c.out, level)
		if err != nil {
			panic("deflate: level " + strconv.Itoa(level) + " is refused: " + err.Error())
		}
		c.w = w
	} else {
		c.w.Reset(&c.out)
	}
	if _, err := c.w.Write(payload); err != nil {
		return false
	}
	return c.w.Flush() == nil
}

// headSize is the size of a server frame's header for n bytes of payload.
func headSize(n int) int {
	switch {
	case n <= 125:
		return 2
	case n <= 0xffff:
		return 4
	default:
		return frames.MaxHead
	}
}

var errTooLarge = errors.New("larger than what went in")

// sink takes up to limit bytes, so that a payload that does not become smaller
// is found out early.
type sink struct {
	buf   []byte
	limit int
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	if len(s.buf)+len(p) > s.limit {
		return 0, errTooLarge
	}
	s.buf = append(s.buf, p...)
	return len(p), nil
}
