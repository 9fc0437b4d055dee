// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// Slot names a connection within its Loop. It is used again after the
// connection has gone, so keep it no longer than until Handler.Closed.
type Slot uint32

const noSlot = ^Slot(0)

// state of a connection.
type state uint8

const (
	// free: nobody's.
	free state = iota
	// open: the handler knows it.
	open
	// closing: a close frame is queued or sent; what comes is read for the
	// peer's own close frame only. The handler has let go of it.
	closing
	// failed: as closing, but what comes cannot be understood any more.
	failed
	// gone: the descriptor is closed; the slot becomes free at the turn's end.
	gone
)

// conn is one connection. All of it is owned by the loop.
type conn struct {
	fd    int32  // NoSocket: detached
	gen   uint32 // tells events of this connection from those of the slot's last
	state state
	kind  Kind
	// deflate: permessage-deflate was negotiated.
	deflate bool
	// dropOldest: what to do when the buffer is full. Otherwise disconnect.
	dropOldest bool
	// dirty: on the loop's list of connections with something to write.
	dirty bool
	// blocked: the socket took less than there was; EPOLLOUT is armed.
	blocked bool
	// pinged: a ping has been sent since the last read.
	pinged bool

	wheelPos             uint16
	wheelPrev, wheelNext Slot
	due                  tick // on the wheel
	lastRead             tick
	pingedAt             tick
	deadline             tick // of the handler, or of the closing handshake

	queue queue
	limit uint32 // of queue.bytes

	in *inbound // a partial frame or message; nil nearly always
}

// inbound is what has been read of a frame or message that is not whole yet.
type inbound struct {
	partial []byte
	message frames.Assembler
}

// at returns the connection of a slot. The pointer stays good.
func (l *Loop) at(s Slot) *conn { return l.conns.At(uint32(s)) }

func (l *Loop) newSlot() (Slot, *conn) {
	if len(l.freeSlots) == 0 {
		base := l.conns.Len()
		l.conns.Grow(base)
		for s := l.conns.Len(); s > base; s-- {
			l.freeSlots = append(l.freeSlots, Slot(s-1))
		}
	}
	s := l.freeSlots[len(l.freeSlots)-1]
	l.freeSlots = l.freeSlots[:len(l.freeSlots)-1]
	c := l.at(s)
	*c = conn{gen: c.gen + 1, wheelPos: offWheel, due: never, deadline: never}
	return s, c
}

// Close begins the closing handshake: the close frame goes out behind what is
// queued, and the handler is told at once. Closing twice does nothing.
func (l *Loop) Close(s Slot, code wire.CloseCode, reason string) {
	if c := l.at(s); c.state == open {
		l.closeWith(s, c, code, reason)
	}
}

func (l *Loop) closeWith(s Slot, c *conn, code wire.CloseCode, reason string) {
	c.state = closing
	switch {
	case c.fd == NoSocket:
		// The handler may Take what is left.
		l.stats.closed(code)
		l.handler.Closed(s, code, reason)
		l.drop(s, c)
		return
	case c.kind == EventStream:
		l.soil(s, c) // so that the end of its queue is noticed, also when it is empty
	default:
		l.enqueue(s, c, &Frame{Bytes: frames.EncodeClose(code, reason)})
	}
	// By the clock: the wheel may have a stall to catch up with.
	c.deadline = l.clock() + ticks(closeTimeout)
	l.schedule(s, c, c.deadline)
	l.stats.closed(code)
	l.handler.Closed(s, code, reason)
}

// fail closes a connection whose input cannot be understood.
func (l *Loop) fail(s Slot, c *conn, code wire.CloseCode, reason string) {
	c.in = nil
	if c.state == open {
		l.closeWith(s, c, code, reason)
	}
	c.state = failed
}

// drop closes the descriptor at once. The slot can be used again after this turn.
func (l *Loop) drop(s Slot, c *conn) {
	if c.state == gone || c.state == free {
		return
	}
	was := c.state
	c.state = gone
	l.unschedule(c)
	l.clear(c)
	c.in = nil
	if c.fd != NoSocket {
		l.discard(int(c.fd))
		closeFD(int(c.fd))
	}
	l.goneSlots = append(l.goneSlots, s)
	l.stats.connections.Add(-1)
	if was == open {
		l.handler.Closed(s, wire.CloseAbnormal, "the connection ended")
	}
}

// reap gives the slots of this turn's dropped connections back.
func (l *Loop) reap() {
	for _, s := range l.goneSlots {
		l.at(s).state = free
		l.freeSlots = append(l.freeSlots, s)
	}
	l.goneSlots = l.goneSlots[:0]
}

// expire is called when the connection's deadline on the wheel has come.
func (l *Loop) expire(s Slot, c *conn) {
	now := l.wheel.now
	if c.state != open {
		l.drop(s, c)
		return
	}
	if now >= c.deadline {
		c.deadline = never
		l.handler.Expired(s)
		if c.state != open {
			return
		}
	}
	if c.kind == WebSocket && !l.heartbeat(s, c, now) {
		return
	}
	l.reschedule(s, c)
}

// heartbeat pings a silent peer and closes a dead one. It reports whether the
// connection is still open.
func (l *Loop) heartbeat(s Slot, c *conn, now tick) bool {
	if c.pinged && now >= c.pingedAt+ticks(l.heartbeatTimeout()) {
		// The answer may be there, unread because the loop was busy.
		l.readable(s, c)
		switch {
		case c.state != open || !c.pinged:
		case !c.blocked && l.holds(c, pingFrame):
			// Nor has the loop come to writing the ping: the peer has had no time at all.
			c.pingedAt = l.clock()
		default:
			l.closeWith(s, c, wire.CloseHeartbeat, wire.CloseHeartbeat.Reason())
		}
		if c.state != open {
			return false
		}
	}
	if !c.pinged && now >= c.lastRead+ticks(l.heartbeatInterval()) {
		// By the clock, not by the wheel, which may be catching up after a stall:
		// the peer has the whole timeout from when the ping leaves.
		c.pinged, c.pingedAt = true, l.clock()
		l.enqueue(s, c, pingFrame)
	}
	return true
}

// Read takes what the peer may have sent while the loop was busy, before it is
// taken for dead. The connection may be closed then.
func (l *Loop) Read(s Slot) {
	if c := l.at(s); c.state == open && c.fd != NoSocket {
		l.readable(s, c)
	}
}

// clock is the tick that the wheel should be at.
func (l *Loop) clock() tick { return tick(time.Since(l.start) / tickLength) } //nolint:gosec // 13 years of ticks

// reschedule puts the connection's next deadline on the wheel.
func (l *Loop) reschedule(s Slot, c *conn) {
	if c.state != open {
		return
	}
	due := never
	switch {
	case c.kind != WebSocket:
	case c.pinged:
		due = c.pingedAt + ticks(l.heartbeatTimeout())
	default:
		due = c.lastRead + ticks(l.heartbeatInterval())
	}
	l.schedule(s, c, min(due, c.deadline))
}
