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
	if l.Post(a) {
		return true
	}
	closeFD(fd)
	return false
}

type adoption struct {
	l     *Loop
	fd    int
	early []byte
	hello any
}

// Drop is called instead of Run when the loop ends.
func (a *adoption) Drop() { closeFD(a.fd) }

// Run puts the connection into a slot.
func (a *adoption) Run() {
	l := a.l
	// A peer that is gone without a word is noticed by unacknowledged data as
	// early as a heartbeat would.
	patience := l.config.HeartbeatInterval + l.config.HeartbeatTimeout
	if err := unix.SetsockoptInt(a.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience/time.Millisecond)); err != nil && err != unix.EOPNOTSUPP && err != unix.ENOPROTOOPT {
		closeFD(a.fd)
		return
	}
	s, c := l.newSlot()
	c.fd, c.state, c.lastRead = int32(a.fd), open, l.wheel.now //nolint:gosec // descriptors are small
	c.limit = 64 << 10
	l.stats.connections.Add(1)
	l.watch(s, c, unix.EPOLL_CTL_ADD, unix.EPOLLIN)
	l.reschedule(s, c)
	l.handler.Open(s, a.hello)
	if len(a.early) > 0 && c.state != gone {
		l.received(s, c, a.early)
	}
}
