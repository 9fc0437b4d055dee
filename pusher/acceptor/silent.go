// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package acceptor

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a connection may be silent.
const patience = 10 * time.Second

// silent are connections whose request has not come yet. The kernel holds them
// back as a rule, but no longer than deferAccept, and not at all while it answers
// with SYN cookies, which is in a storm. They cost a descriptor and an entry here
// until they speak, their patience is over, or the descriptor is needed for one
// that does speak.
type silent struct {
	visitors map[int]visitor // by descriptor
	order    []turn          // as they came; some have gone
	next     uint64
}

type visitor struct {
	remote netip.AddrPort
	until  time.Time
	number uint64
}

// turn is a visitor's place in the order.
type turn struct {
	fd     int
	number uint64
}

func (s *silent) len() int { return len(s.visitors) }

func (s *silent) add(fd int, v visitor) {
	if s.visitors == nil {
		s.visitors = map[int]visitor{}
	}
	s.next++
	v.number = s.next
	s.visitors[fd] = v
	s.order = append(s.order, turn{fd, v.number})
}

// take returns a visitor who is silent no more.
func (s *silent) take(fd int) (visitor, bool) {
	v, ok := s.visitors[fd]
	delete(s.visitors, fd)
	s.oldest() // drops those from the order who have gone
	return v, ok
}

// oldest is who came first of those who are there.
func (s *silent) oldest() (fd int, v visitor, ok bool) {
	for len(s.order) > 0 {
		fd = s.order[0].fd
		if v, ok = s.visitors[fd]; ok && v.number == s.order[0].number {
			return fd, v, true
		}
		s.order = s.order[1:]
	}
	s.visitors, s.order = nil, nil // a storm's memory
	return -1, visitor{}, false
}

// due is when the next one's patience is over, or latest if that comes first.
func (s *silent) due(latest time.Time) time.Time {
	if _, v, ok := s.oldest(); ok && v.until.Before(latest) {
		return v.until
	}
	return latest
}

// expire ends those whose patience is over.
func (s *silent) expire(now time.Time) {
	for {
		if _, v, ok := s.oldest(); !ok || v.until.After(now) {
			return
		}
		s.closeOldest()
	}
}

// closeOldest reports whether there was one.
func (s *silent) closeOldest() bool {
	fd, _, ok := s.oldest()
	if ok {
		delete(s.visitors, fd)
		_ = unix.Close(fd) // epoll forgets it
	}
	return ok
}

func (s *silent) close() {
	for s.closeOldest() {
	}
}
