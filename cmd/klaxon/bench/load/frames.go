// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
)

// state is how far a connection has come.
type state uint8

const (
	unopened  state = iota
	opening         // TCP connects
	requested       // the handshake is sent
	greeted         // and answered
	ready           // receives events
	closed
)

// pending reports whether the connection is being opened.
func (s state) pending() bool { return s > unopened && s < ready }

// conn is one connection.
type conn struct {
	fd     int // -1: none
	number int // among all connections of the fleet
	group  int
	state  state
	muted  bool  // does not read
	slow   bool  // did not read at some time since begin
	last   int   // number of the last event
	gap    int   // dropped events that were told and have not been missed yet
	holes  []int // missing events, up to maxHoles
	began  int64 // when it was opened
	part   []byte
}

// keep keeps what is no whole message yet, of what was read.
func (c *conn) keep(p []byte) {
	switch {
	case len(p) == 0:
		c.part = nil
	case len(c.part) > 0 && &c.part[0] == &p[0]:
	default:
		c.part = append([]byte(nil), p...)
	}
}

// drop closes a connection for a reason.
func (w *worker) drop(c *conn, reason string) {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
	}
	was := c.state
	c.fd, c.part, c.state = -1, nil, closed
	one := map[string]int{reason: 1}
	switch {
	case was == closed:
	case was == ready && c.slow:
		count(&w.received.ClosedSlow, one)
	case was == ready:
		count(&w.received.Closed, one)
	default:
		w.pending--
		w.progress = mark.Now()
		w.failed++
		w.connected.Failed++
		count(&w.connected.Failures, one)
	}
}

// event handles what epoll reports of a connection.
func (w *worker) event(c *conn, events uint32) {
	if c.fd < 0 || c.muted {
		return
	}
	if c.state == opening {
		if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err == nil {
				err = unix.Errno(errno)
			}
			w.drop(c, "connect: "+err.Error())
			return
		}
		if events&unix.EPOLLOUT != 0 {
			w.request(c)
		}
	}
	const ending = unix.EPOLLERR | unix.EPOLLHUP | unix.EPOLLRDHUP
	if events&(unix.EPOLLIN|ending) == 0 {
		return
	}
	for c.fd >= 0 && !c.muted {
		n, err := read(c.fd, w.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			w.drop(c, "read: "+err.Error())
			return
		case n == 0:
			w.drop(c, "ended without a close")
			return
		}
		w.received.Reads++
		w.received.Bytes += uint64(n) //nolint:gosec // not negative here
		w.data(c, w.buf[:n])
		if n < len(w.buf) && events&ending == 0 {
			return // epoll tells when there is more
		}
	}
}

// read is unix.Read without telling Go's scheduler: it cannot block.
func read(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// data handles what was read.
func (w *worker) data(c *conn, p []byte) {
	if len(c.part) > 0 {
		c.part = append(c.part, p...)
		p = c.part
	}
	if c.state == requested {
		rest, ok := w.response(c, p)
		if !ok {
			return
		}
		p = rest
	}
	for c.fd >= 0 && w.job.Protocol.Stream {
		block, rest, ok := bytes.Cut(p, []byte("\n\n"))
		if !ok {
			c.keep(p)
			return
		}
		p = rest
		w.message(c, block)
	}
	for c.fd >= 0 {
		op, body, rest, ok := cutFrame(p)
		if !ok {
			c.keep(p)
			return
		}
		p = rest
		w.frame(c, op, body)
	}
}

// Opcodes, RFC 6455 section 5.2.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// cutFrame cuts the first frame off; ok is false when it is not whole.
func cutFrame(p []byte) (op byte, body, rest []byte, ok bool) {
	if len(p) < 2 {
		return 0, nil, nil, false
	}
	head, n := 2, uint64(p[1]&0x7f)
	switch {
	case n == 126 && len(p) >= 4:
		head, n = 4, uint64(binary.BigEndian.Uint16(p[2:]))
	case n == 127 && len(p) >= 10:
		head, n = 10, binary.BigEndian.Uint64(p[2:])
	case n >= 126:
		return 0, nil, nil, false
	}
	if uint64(len(p)-head) < n { //nolint:gosec // head is at most len(p)
		return 0, nil, nil, false
	}
	end := head + int(n)
	return p[0] & 0x0f, p[head:end], p[end:], true
}

func (w *worker) frame(c *conn, op byte, body []byte) {
	switch op {
	case opPing:
		w.send(c, opPong, body)
	case opPong:
	case opClose:
		reason := "close"
		if len(body) >= 2 {
			reason = fmt.Sprintf("close %d %s", binary.BigEndian.Uint16(body), body[2:])
		}
		w.drop(c, reason)
	default:
		w.message(c, body)
	}
}

// send sends a frame with less than 64 KiB.
func (w *worker) send(c *conn, op byte, body []byte) {
	if c.fd < 0 {
		return
	}
	const masked = 0x80
	b := append(w.msg[:0], 0x80|op)
	if len(body) < 126 {
		b = append(b, masked|byte(len(body))) //nolint:gosec // checked
	} else {
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(len(body))) //nolint:gosec // see above
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78} // hides nothing from nobody: RFC 6455 section 10.3 is about proxies
	b = append(b, mask[:]...)
	for i, x := range body {
		b = append(b, x^mask[i%4])
	}
	w.msg = b
	w.write(c, b)
}

// write sends something small, which a socket that works takes whole.
func (w *worker) write(c *conn, b []byte) {
	n, err := unix.Write(c.fd, b)
	switch {
	case err != nil:
		w.drop(c, "write: "+err.Error())
	case n < len(b):
		w.drop(c, "write: the socket is full")
	}
}
