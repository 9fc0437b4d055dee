// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// Frame is bytes to be written to one or many connections. It is never changed.
type Frame struct {
	Bytes []byte
	// Event: counts as a delivery, and may be dropped when a client is slow.
	Event bool
	// Topic is what an Event belongs to. The marker for dropped ones counts those
	// of one topic.
	Topic uint32
	// gap: stands for this many dropped events.
	gap uint32
}

var pingFrame = &Frame{Bytes: frames.Encode(frames.Ping, nil)}

// queue is what a connection has not been sent yet: nodes of the loop's arena.
type queue struct {
	head, tail uint32 // 0: none
	sent       uint32 // bytes of head that are sent
	bytes      uint32 // unsent
}

// node holds one queued frame. Nodes live in one slice per loop and are linked
// by index, so a queue costs no heap object and the collector one scan.
type node struct {
	frame *Frame
	next  uint32
}

// maxAnswers is how many unsent bytes beyond its buffer a connection may have in
// answers to what it asked for.
const maxAnswers = 64 << 10

// Send queues a frame for the connection. Frames for a connection that is
// closing are dropped. A peer that asks and asks and does not read the answers
// is closed as too slow.
func (l *Loop) Send(s Slot, f *Frame) {
	c := l.at(s)
	if c.state != open {
		return
	}
	if !f.Event && c.queue.bytes+uint32(len(f.Bytes)) > c.limit+maxAnswers { //nolint:gosec // frames are bounded far below
		if !c.blocked {
			l.flushConn(s, c)
		}
		if (c.blocked || c.fd == NoSocket && c.queue.head != 0) && c.state == open {
			l.tooSlow(s, c)
		}
	}
	if c.state == open {
		l.enqueue(s, c, f)
	}
}

// Fits reports whether n more bytes of events leave half of the connection's
// buffer free, once what can be written is. Nothing queued: anything fits. The
// connection may be closed then, which reports false.
func (l *Loop) Fits(s Slot, n int) bool {
	c := l.at(s)
	fits := func() bool {
		return c.queue.head == 0 || int64(c.queue.bytes)+int64(n) <= int64(c.limit)/2
	}
	if c.state == open && !fits() && !c.blocked {
		l.flushConn(s, c)
	}
	return c.state == open && fits()
}

func (l *Loop) enqueue(s Slot, c *conn, f *Frame) {
	n := uint32(len(f.Bytes)) //nolint:gosec // frames are bounded far below
	if f.Event && c.queue.bytes+n > c.limit && c.queue.head != 0 && !l.makeRoom(s, c, n) {
		return
	}
	l.push(c, f)
	l.soil(s, c)
}

// soil has the connection flushed at the end of the turn, if it can be.
func (l *Loop) soil(s Slot, c *conn) {
	if !c.dirty && !c.blocked {
		c.dirty = true
		l.dirty = append(l.dirty, s)
	}
}

func (l *Loop) push(c *conn, f *Frame) {
	i := l.newNode(f)
	if c.queue.tail == 0 {
		c.queue.head = i
	} else {
		l.nodes[c.queue.tail].next = i
	}
	c.queue.tail = i
	c.queue.bytes += uint32(len(f.Bytes)) //nolint:gosec // as above
}

func (l *Loop) newNode(f *Frame) uint32 {
	l.queued++
	if l.freeNode == 0 {
		l.nodes = append(l.nodes, node{frame: f})
		return uint32(len(l.nodes) - 1) //nolint:gosec // bounded by connections times their buffers
	}
	i := l.freeNode
	l.freeNode = l.nodes[i].next
	l.nodes[i] = node{frame: f}
	return i
}

func (l *Loop) releaseNode(i uint32) {
	l.queued--
	l.nodes[i] = node{next: l.freeNode}
	l.freeNode = i
}

// makeRoom deals with a connection whose buffer has no room for n bytes. It
// reports whether the frame may be queued.
func (l *Loop) makeRoom(s Slot, c *conn, n uint32) bool {
	if !c.blocked {
		// Not slow, only not served yet in this turn.
		if l.flushConn(s, c); c.state != open {
			return false
		}
		if c.queue.bytes+n <= c.limit || c.queue.head == 0 {
			return true
		}
	}
	if c.dropOldest {
		l.dropOldest(s, c, n)
		return true
	}
	l.stats.dropped.Add(1)
	l.tooSlow(s, c)
	return false
}

// tooSlow drops what is unsent and closes.
func (l *Loop) tooSlow(s Slot, c *conn) {
	l.stats.dropped.Add(l.keepPartial(c))
	l.closeWith(s, c, wire.CloseSlow, wire.CloseSlow.Reason())
}

// dropOldest drops whole unsent events, oldest first, until n bytes fit, and
// leaves one gap marker for each topic in their place. Control frames, answers
// and the frame that is partly sent stay.
func (l *Loop) dropOldest(s Slot, c *conn, n uint32) {
	l.gaps = l.gaps[:0]
	q := &c.queue
	before, i := uint32(0), q.head
	if q.sent > 0 {
		before, i = i, l.nodes[i].next
	}
	at := before // the markers go behind this node
	for i != 0 && (q.bytes+n > c.limit || len(l.gaps) == 0) {
		f, next := l.nodes[i].frame, l.nodes[i].next
		if !f.Event && f.gap == 0 {
			before, i = i, next
			continue
		}
		if len(l.gaps) == 0 {
			at = before
		}
		if f.gap == 0 {
			l.stats.dropped.Add(1)
		}
		l.note(f.Topic, max(f.gap, 1))
		l.unlink(c, before, i)
		i = next
	}
	for _, g := range l.gaps {
		if b := l.handler.Gap(s, g.topic, g.dropped); len(b) > 0 {
			l.insert(c, at, &Frame{Bytes: b, Topic: g.topic, gap: g.dropped})
		}
	}
}

// gap is how many events of a topic are dropped.
type gap struct{ topic, dropped uint32 }

// note counts dropped events by topic: nearly always there is one.
func (l *Loop) note(topic, n uint32) {
	for i := range l.gaps {
		if l.gaps[i].topic == topic {
			l.gaps[i].dropped += n
			return
		}
	}
	l.gaps = append(l.gaps, gap{topic, n})
}

// insert queues a frame behind a node (0: as the first).
func (l *Loop) insert(c *conn, at uint32, f *Frame) {
	q := &c.queue
	i := l.newNode(f)
	if at == 0 {
		l.nodes[i].next, q.head = q.head, i
	} else {
		l.nodes[i].next, l.nodes[at].next = l.nodes[at].next, i
	}
	if l.nodes[i].next == 0 {
		q.tail = i
	}
	q.bytes += uint32(len(f.Bytes)) //nolint:gosec // a few dozen
}

// unlink takes node i, which follows node before (0: is the head), out of the queue.
func (l *Loop) unlink(c *conn, before, i uint32) {
	q := &c.queue
	next := l.nodes[i].next
	if before == 0 {
		q.head = next
	} else {
		l.nodes[before].next = next
	}
	if q.tail == i {
		q.tail = before
	}
	q.bytes -= uint32(len(l.nodes[i].frame.Bytes)) //nolint:gosec // as when it was queued
	l.releaseNode(i)
}

// holds reports whether a frame has still to be sent.
func (l *Loop) holds(c *conn, f *Frame) bool {
	for i := c.queue.head; i != 0; i = l.nodes[i].next {
		if l.nodes[i].frame == f {
			return true
		}
	}
	return false
}

// keepPartial empties the queue but for a frame that is partly sent, and
// returns how many events went.
func (l *Loop) keepPartial(c *conn) (events uint64) {
	q := &c.queue
	keep := uint32(0)
	i := q.head
	if q.sent > 0 {
		keep, i = q.head, l.nodes[q.head].next
	}
	for i != 0 {
		next := l.nodes[i].next
		if l.nodes[i].frame.Event {
			events++
		}
		l.unlink(c, keep, i)
		i = next
	}
	return events
}

// clear empties the queue.
func (l *Loop) clear(c *conn) {
	for i := c.queue.head; i != 0; {
		next := l.nodes[i].next
		l.releaseNode(i)
		i = next
	}
	c.queue = queue{}
}
