// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Detach takes the socket out of a net.Conn: it returns a duplicate descriptor
// and closes the net.Conn, so that Go's poller and its finalizers have nothing
// to do with the socket any more. The duplicate is non-blocking as the original
// was. Whatever readers held back must be given to Adopt by the caller.
func Detach(nc net.Conn) (fd int, err error) {
	defer func() {
		if cerr := nc.Close(); cerr != nil && err == nil {
			closeFD(fd)
			err = fmt.Errorf("loop: detach: close: %w", cerr)
		}
	}()
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("loop: detach: %T has no descriptor", nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("loop: detach: %w", err)
	}
	var dupErr error
	if err := raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, fmt.Errorf("loop: detach: %w", err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("loop: detach: %w", dupErr)
	}
	return fd, nil
}

// Adopt makes the loop the owner of a connected, non-blocking socket whose
// WebSocket handshake is done. early is what was read behind the handshake.
// It reports false, and the descriptor is closed, once the loop has stopped.
func (l *Loop) Adopt(fd int, early []byte, hello any) bool {
	a := &adoption{l: l, fd: fd, early: early, hello: hello}
	l.stats.connections.Add(1)
	if l.Post(a) {
		return true
	}
	a.Drop()
	return false
}

type adoption struct {
	l     *Loop
	fd    int
	early []byte
	hello any
}

// Size is that of the early bytes.
func (a *adoption) Size() int { return len(a.early) }

// Drop is called instead of Run when the loop ends.
func (a *adoption) Drop() {
	closeFD(a.fd)
	a.l.stats.connections.Add(-1)
}

// Run puts the connection into a slot.
func (a *adoption) Run() {
	l := a.l
	// A peer that is gone without a word is noticed by unacknowledged data as
	// early as a heartbeat would. Where that cannot be set, the heartbeat does.
	patience := l.config.HeartbeatInterval + l.config.HeartbeatTimeout
	_ = unix.SetsockoptInt(a.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience/time.Millisecond))
	s, c := l.newSlot()
	c.fd, c.state, c.lastRead = int32(a.fd), open, l.wheel.now //nolint:gosec // descriptors are small
	c.limit = 64 << 10
	l.reschedule(s, c)
	l.handler.Open(s, a.hello)
	if err := l.tryWatch(s, c, unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
		// The kernel is short of memory or of watches: this connection cannot stay.
		l.drop(s, c)
		return
	}
	if len(a.early) > 0 {
		l.received(s, c, a.early)
	}
}
