// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package epoll waits for many descriptors at once.
//
// A goroutine that blocks in epoll_wait holds a thread and a processor of Go's
// scheduler, whose monitor takes the processor away again and keeps waking up for
// it: measured as 0.3 of the CPU of a delivery. So a Poll looks without waiting,
// which the scheduler need not know of, and waits as any goroutine does: its own
// descriptor is registered in Go's poller. The descriptors that it watches must
// never be registered there.
package epoll

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poll is an epoll instance. One goroutine waits; Control and Close may be called
// on any.
type Poll struct {
	fd    int
	file  *os.File // the same: what Go's poller waits for
	ready syscall.RawConn
	until time.Time // what Go's poller has been told
}

// New makes a Poll. It fails when the process has no descriptors left.
func New() (*Poll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os.NewFile takes it for a file on a disk
		return nil, errors.Join(fmt.Errorf("epoll in Go's poller: %w", err), unix.Close(fd))
	}
	p := &Poll{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if p.ready, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll in Go's poller: %w", err), p.file.Close())
	}
	return p, nil
}

// Control is epoll_ctl(2): op is one of unix.EPOLL_CTL_ADD, MOD and DEL.
func (p *Poll) Control(op, fd int, ev *unix.EpollEvent) error { return unix.EpollCtl(p.fd, op, fd, ev) }

// Close makes Wait fail. Descriptors that are watched stay open.
func (p *Poll) Close() error { return p.file.Close() }

// Now returns how many events are there, without waiting.
func (p *Poll) Now(events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), 0, 0, 0)
	switch errno {
	case 0:
		return int(n)
	case unix.EINTR:
		return 0
	}
	panic("epoll_wait: " + errno.Error())
}

// Wait waits for events and returns how many there are: 0 at the latest at the
// given time. The error means that the Poll is closed.
func (p *Poll) Wait(events []unix.EpollEvent, latest time.Time) (n int, err error) {
	if p.until.After(latest) || time.Until(p.until) <= 0 {
		p.until = latest
		if err := p.file.SetReadDeadline(latest); err != nil {
			return 0, fmt.Errorf("epoll in Go's poller: %w", err)
		}
	}
	err = p.ready.Read(func(uintptr) bool {
		n = p.Now(events)
		return n > 0
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, fmt.Errorf("epoll in Go's poller: %w", err)
	}
	return n, nil
}
