// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Op is a frame's opcode (RFC 6455 section 5.2).
type Op byte

// The opcodes.
const (
	Continuation Op = 0x0
	Text         Op = 0x1
	Binary       Op = 0x2
	Close        Op = 0x8
	Ping         Op = 0x9
	Pong         Op = 0xA
)

// Control reports whether frames of this kind may come between a message's fragments.
func (o Op) Control() bool { return o&0x8 != 0 }

// maxControl is the largest payload of a control frame (RFC 6455 section 5.5).
const maxControl = 125

// Frame is one frame. Payload is unmasked and lies in the buffer it was parsed from.
type Frame struct {
	Op  Op
	Fin bool
	// Compressed: the first frame of a compressed message (RFC 7692 section 6).
	Compressed bool
	Payload    []byte
}

// Rules are what was agreed with a client.
type Rules struct {
	// MaxMessage is the largest message that the client may send, in bytes.
	MaxMessage int
	// Deflate is whether messages may be compressed.
	Deflate bool
}

// Error is a violation by the client, with the close code that answers it.
type Error struct {
	Code   wire.CloseCode
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("websocket: %s (close %d)", e.Reason, e.Code) }

func protocolError(reason string) error {
	return &Error{Code: wire.CloseProtocol, Reason: reason}
}

// Parse reads the first frame of buf, as sent by a client, and unmasks it in
// place. It returns the number of bytes that the frame takes; 0 without an error
// asks for more bytes. A payload that is too large is an error as soon as its
// header is there.
func Parse(buf []byte, rules Rules) (Frame, int, error) {
	if len(buf) < 2 {
		return Frame{}, 0, nil
	}
	f := Frame{Op: Op(buf[0] & 0x0f), Fin: buf[0]&0x80 != 0}
	if rules.Deflate && (f.Op == Text || f.Op == Binary) {
		f.Compressed = buf[0]&rsv1 != 0
	}
	if err := checkHead(f, buf[0], buf[1]); err != nil {
		return Frame{}, 0, err
	}
	head, size, err := payloadSize(buf)
	if err != nil || head == 0 {
		return Frame{}, 0, err
	}
	if size > uint64(rules.MaxMessage) { //nolint:gosec // it is never negative
		return Frame{}, 0, TooBig(rules.MaxMessage)
	}
	end := head + 4 + int(size) //nolint:gosec // size is at most MaxMessage, an int
	if len(buf) < end {
		return Frame{}, 0, nil
	}
	mask := [4]byte(buf[head : head+4])
	f.Payload = buf[head+4 : end : end]
	ws.Cipher(f.Payload, mask, 0)
	return f, end, nil
}

// The bits that extensions use (RFC 6455 section 5.2).
const (
	rsv1     = 0x40
	reserved = 0x70
)

func checkHead(f Frame, b0, b1 byte) error {
	unknown := b0 & reserved
	if f.Compressed {
		unknown &^= rsv1
	}
	switch {
	case unknown != 0:
		return protocolError("reserved bits set without an extension")
	case f.Op > Binary && f.Op < Close || f.Op > Pong:
		return protocolError("unknown opcode")
	case b1&0x80 == 0:
		return protocolError("client frames must be masked")
	case f.Op.Control() && (!f.Fin || b1&0x7f > maxControl):
		return protocolError("control frame fragmented or over 125 bytes")
	}
	return nil
}

// payloadSize returns the length of the header without its mask, and of the
// payload. A header length of 0 asks for more bytes.
func payloadSize(buf []byte) (head int, size uint64, err error) {
	switch n := buf[1] & 0x7f; n {
	case 126:
		if len(buf) < 4 {
			return 0, 0, nil
		}
		return 4, uint64(binary.BigEndian.Uint16(buf[2:])), nil
	case 127:
		if len(buf) < 10 {
			return 0, 0, nil
		}
		size = binary.BigEndian.Uint64(buf[2:])
		if size>>63 != 0 {
			return 0, 0, protocolError("length has its highest bit set")
		}
		return 10, size, nil
	default:
		return 2, uint64(n), nil
	}
}

// Assembler joins the fragments of one message. Its zero value is ready.
type Assembler struct {
	op         Op
	compressed bool
	buf        []byte
}

// Message is a whole message as it was sent.
type Message struct {
	Op         Op
	Compressed bool
	Payload    []byte
}

// Check reports text that is not UTF-8. It is for messages that are not
// compressed (any more).
func (m Message) Check() error {
	if m.Op == Text && !utf8.Valid(m.Payload) {
		return &Error{Code: wire.CloseInvalidText, Reason: wire.CloseInvalidText.Reason()}
	}
	return nil
}

// TooBig is the error of a message over limit bytes.
func TooBig(limit int) error {
	return &Error{Code: wire.CloseTooBig, Reason: fmt.Sprintf("message over %d bytes", limit)}
}

// Idle reports whether no message is under way, so that the Assembler may go.
func (a *Assembler) Idle() bool { return a.op == 0 }

// Push takes a data frame. When it ends a message, Push returns the message;
// its bytes are valid until the next Push or the end of the frame's buffer.
// A message over limit bytes is an error.
func (a *Assembler) Push(f Frame, limit int) (m Message, done bool, err error) {
	switch {
	case f.Op == Continuation && a.op == 0:
		return Message{}, false, protocolError("continuation without a message")
	case f.Op != Continuation && a.op != 0:
		return Message{}, false, protocolError("message begun within another")
	case f.Op != Continuation && f.Fin:
		return Message{f.Op, f.Compressed, f.Payload}, true, nil
	case len(a.buf)+len(f.Payload) > limit:
		return Message{}, false, TooBig(limit)
	case f.Op != Continuation:
		a.op, a.compressed = f.Op, f.Compressed
	}
	a.buf = append(a.buf, f.Payload...)
	if !f.Fin {
		return Message{}, false, nil
	}
	m = Message{a.op, a.compressed, a.buf}
	*a = Assembler{}
	return m, true, nil
}

// ParseClose reads the payload of a close frame (RFC 6455 section 5.5.1).
// Without a code it returns CloseNoStatus.
func ParseClose(payload []byte) (wire.CloseCode, string, error) {
	if len(payload) == 0 {
		return wire.CloseNoStatus, "", nil
	}
	if len(payload) == 1 {
		return 0, "", protocolError("close frame with half a code")
	}
	code := binary.BigEndian.Uint16(payload)
	if !validCode(code) {
		return 0, "", protocolError("close code that may not be sent")
	}
	if !utf8.Valid(payload[2:]) {
		return 0, "", &Error{Code: wire.CloseInvalidText, Reason: "close reason is not UTF-8"}
	}
	return wire.CloseCode(code), string(payload[2:]), nil
}

// validCode reports whether a peer may send the code (RFC 6455 section 7.4 and
// the IANA registry for 1012 to 1014).
func validCode(c uint16) bool {
	switch {
	case c >= 3000 && c <= 4999:
		return true
	case c >= 1000 && c <= 1014:
		return c != 1004 && c != 1005 && c != 1006
	}
	return false
}

// First reads the first frame of a server's frames, which are whole and not
// masked, and returns how many bytes it takes.
func First(b []byte) (op Op, payload []byte, n int) {
	head, size, _ := payloadSize(b) // ours are well-formed
	n = head + int(size)            //nolint:gosec // as long as the slice
	return Op(b[0] & 0x0f), b[head:n], n
}
