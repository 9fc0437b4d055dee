// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import "golang.org/x/sys/unix"

// Take takes queued frames off a detached connection, oldest first, for as long
// as fn takes them. It may be called during Handler.Closed, too.
func (l *Loop) Take(s Slot, fn func(f *Frame) bool) {
	c := l.at(s)
	q := &c.queue
	for q.head != 0 {
		f := l.nodes[q.head].frame
		if !fn(f) {
			return
		}
		l.written += uint64(len(f.Bytes))
		if f.Event {
			l.delivered++
		}
		l.unlink(c, 0, q.head)
	}
}

// Queued reports whether something waits to be sent.
func (l *Loop) Queued(s Slot) bool { return l.at(s).queue.head != 0 }

// QueuedBytes is how much waits to be sent.
func (l *Loop) QueuedBytes(s Slot) int { return int(l.at(s).queue.bytes) }

// Deflate reports whether the peer takes compressed messages.
func (l *Loop) Deflate(s Slot) bool { return l.at(s).deflate }

// Move gives the socket of one connection to a detached one: what was queued for
// it goes first, what it has sent is the other's. The first is gone then.
func (l *Loop) Move(from, to Slot) {
	f, t := l.at(from), l.at(to)
	if f.state != open || t.state != open || f.fd == NoSocket || t.fd != NoSocket {
		panic("loop: moving what cannot be moved")
	}
	t.fd, t.kind, t.deflate, t.in, t.lastRead = f.fd, f.kind, f.deflate, f.in, f.lastRead
	if f.queue.head != 0 {
		l.nodes[f.queue.tail].next = t.queue.head
		if t.queue.head == 0 {
			t.queue.tail = f.queue.tail
		}
		t.queue.head, t.queue.sent = f.queue.head, f.queue.sent
		t.queue.bytes += f.queue.bytes
	}
	events := uint32(unix.EPOLLIN)
	if t.blocked = f.blocked; t.blocked {
		events |= unix.EPOLLOUT
	}
	f.fd, f.queue, f.in = NoSocket, queue{}, nil
	l.watch(to, t, unix.EPOLL_CTL_MOD, events)
	if t.queue.head != 0 {
		l.soil(to, t)
	}
	l.moved = to
	l.drop(from, f)
}
