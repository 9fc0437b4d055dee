// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// readable reads once and handles what is whole. What does not fit into one
// read is left for the next turn, so that one busy peer holds up nobody.
func (l *Loop) readable(s Slot, c *conn) {
	n, errno := read(int(c.fd), l.readBuf)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if errno != 0 || n == 0 {
		l.drop(s, c)
		return
	}
	l.stats.bytesIn.Add(uint64(n)) //nolint:gosec // a count
	l.received(s, c, l.readBuf[:n])
}

// maxDiscard bounds what is read of a connection only to be thrown away, in bytes.
const maxDiscard = 4 << 20

// discard throws away what the peer has sent and nobody reads any more. The
// kernel resets a connection that is closed with unread bytes (RFC 2525 section
// 2.17), and a reset may destroy what the peer has not read yet: the close frame.
func (l *Loop) discard(fd int) {
	for range maxDiscard / readSize {
		if n, errno := skip(fd, l.readBuf); n == 0 || errno != 0 && errno != unix.EINTR {
			return
		}
	}
}

// received handles bytes from the peer.
func (l *Loop) received(s Slot, c *conn, data []byte) {
	c.lastRead = l.wheel.now
	if c.pinged {
		c.pinged = false
		l.reschedule(s, c)
	}
	if c.state == failed || c.kind == EventStream {
		return
	}
	if c.in != nil && len(c.in.partial) > 0 {
		c.in.partial = append(c.in.partial, data...)
		data = c.in.partial
	}
	for len(data) > 0 {
		f, used, err := frames.Parse(data, frames.Rules{MaxMessage: l.maxMessage(c), Deflate: c.deflate})
		if err != nil {
			l.violated(s, c, err)
			return
		}
		if used == 0 {
			break
		}
		data = data[used:]
		l.moved = noSlot
		if l.frame(s, c, f); l.moved != noSlot {
			s, c = l.moved, l.at(l.moved)
		}
		if c.state != open && c.state != closing {
			return
		}
	}
	l.keep(c, data)
}

// keep stores what is left of an unfinished frame, or lets the buffer go.
func (l *Loop) keep(c *conn, rest []byte) {
	switch {
	case len(rest) > 0:
		if c.in == nil {
			c.in = &inbound{}
		}
		c.in.partial = append(c.in.partial[:0], rest...)
	case c.in != nil && c.in.message.Idle():
		c.in = nil
	case c.in != nil:
		c.in.partial = nil
	}
}

func (l *Loop) violated(s Slot, c *conn, err error) {
	var violation *frames.Error
	if !errors.As(err, &violation) {
		panic("loop: parser error of an unknown kind: " + err.Error())
	}
	reason := violation.Reason
	if c.kind == Packets && violation.Code == wire.CloseTooBig {
		reason = "" // as clients of Engine.IO know it
	}
	l.fail(s, c, violation.Code, reason)
}

func (l *Loop) frame(s Slot, c *conn, f frames.Frame) {
	switch f.Op {
	case frames.Close:
		l.closeFrame(s, c, f.Payload)
		return
	case frames.Ping:
		if c.state == open {
			l.pong(s, c, f.Payload)
		}
		return
	case frames.Pong:
		return
	}
	if c.state != open {
		return
	}
	message := &l.whole
	if c.in == nil && !f.Fin {
		c.in = &inbound{}
	}
	if c.in != nil {
		message = &c.in.message
	}
	m, done, err := message.Push(f, l.maxMessage(c))
	if done && m.Compressed {
		m.Payload, err = l.inflater.Inflate(m.Payload, l.maxMessage(c))
	}
	if done && err == nil {
		err = m.Check()
	}
	switch {
	case err != nil:
		l.violated(s, c, err)
	case done && m.Op == frames.Binary:
		l.handler.Binary(s, m.Payload)
	case done:
		l.handler.Text(s, m.Payload)
	}
}

// pong answers a ping. Only the latest of several pings in a row is answered
// when the earlier answers are still unsent, as RFC 6455 section 5.5.3 allows:
// a peer that pings and never reads must not make the queue grow.
func (l *Loop) pong(s Slot, c *conn, payload []byte) {
	if c.queue.bytes > maxUnsentPong {
		return
	}
	l.enqueue(s, c, &Frame{Bytes: frames.Encode(frames.Pong, payload)})
}

func (l *Loop) maxMessage(c *conn) int {
	if c.kind == Packets {
		return l.config.MaxPacket
	}
	return l.config.MaxMessage
}

// maxUnsentPong is how many unsent bytes a connection may have and still get a pong.
const maxUnsentPong = 4 << 10

// closeFrame ends the closing handshake, or answers a peer that begins it.
func (l *Loop) closeFrame(s Slot, c *conn, payload []byte) {
	if c.state == closing {
		l.flushConn(s, c) // our own close frame may still be queued
		l.drop(s, c)
		return
	}
	code, _, err := frames.ParseClose(payload)
	if err != nil {
		l.violated(s, c, err)
		return
	}
	l.closeWith(s, c, code, "")
	// Everything is said on both sides: what can be written now is written, and
	// the server closes first (RFC 6455 section 7.1.1).
	if l.flushConn(s, c); c.queue.head == 0 {
		l.drop(s, c)
	}
}

const maxIovecs = 64

// flushConn writes what is queued until there is nothing left or the socket
// takes no more.
func (l *Loop) flushConn(s Slot, c *conn) {
	if c.fd == NoSocket {
		if c.queue.head != 0 {
			l.handler.Waiting(s)
		}
		return
	}
	for c.queue.head != 0 {
		want := 0
		n, errno := 0, unix.Errno(0)
		if first := l.nodes[c.queue.head]; first.next == 0 {
			b := first.frame.Bytes[c.queue.sent:]
			want = len(b)
			n, errno = send(int(c.fd), b)
		} else {
			var vecs int
			vecs, want = l.gather(c)
			n, errno = sendv(int(c.fd), l.iovecs[:vecs])
			clear(l.iovecs[:vecs])
		}
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0 && errno != unix.EAGAIN:
			l.drop(s, c)
			return
		}
		l.sent(c, uint32(max(n, 0))) //nolint:gosec // at most what was queued
		if n < want {
			l.block(s, c)
			return
		}
	}
	if c.blocked {
		c.blocked = false
		l.watch(s, c, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
	}
	if c.state == closing && c.kind == EventStream {
		l.drop(s, c)
	}
}

// gather points the loop's iovecs at the head of the queue.
func (l *Loop) gather(c *conn) (vecs, bytes int) {
	skip := c.queue.sent
	for i := c.queue.head; i != 0 && vecs < maxIovecs; i = l.nodes[i].next {
		b := l.nodes[i].frame.Bytes[skip:]
		skip = 0
		l.iovecs[vecs].Base = &b[0]
		l.iovecs[vecs].SetLen(len(b))
		vecs++
		bytes += len(b)
	}
	return vecs, bytes
}

// sent takes n written bytes off the queue.
func (l *Loop) sent(c *conn, n uint32) {
	q := &c.queue
	q.bytes -= n
	l.written += uint64(n)
	for n > 0 {
		f := l.nodes[q.head].frame
		rest := uint32(len(f.Bytes)) - q.sent //nolint:gosec // frames are bounded
		if n < rest {
			q.sent += n
			return
		}
		n -= rest
		next := l.nodes[q.head].next
		l.releaseNode(q.head)
		q.head, q.sent = next, 0
		if next == 0 {
			q.tail = 0
		}
		if f.Event {
			l.delivered++
		}
	}
}

// block waits for the socket to take more.
func (l *Loop) block(s Slot, c *conn) {
	if !c.blocked {
		c.blocked = true
		l.watch(s, c, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

// watch changes the events that the loop is told of.
func (l *Loop) watch(s Slot, c *conn, op int, events uint32) {
	if err := l.tryWatch(s, c, op, events); err != nil {
		panic("loop: epoll_ctl: " + err.Error())
	}
}

func (l *Loop) tryWatch(s Slot, c *conn, op int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(s), Pad: int32(c.gen)} //nolint:gosec // bits, read back as they are
	return l.poll.Control(op, int(c.fd), &ev)
}
