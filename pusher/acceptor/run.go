// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package acceptor

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/wire/upgrade"
)

const (
	// batch is how many connections are taken before those are looked after whose
	// request has come late.
	batch = 64
	// slice is how long there is work here before others on this core have a turn.
	slice = time.Millisecond
	// maxBackoff is the longest pause when descriptors or memory have run out.
	maxBackoff = time.Second
	// asleep is how long Run waits at most.
	asleep = time.Hour
)

// Run accepts until Close; it then returns nil. It must be called once.
func (a *Acceptor) Run() error {
	defer a.silent.close()
	events := make([]unix.EpollEvent, batch)
	for {
		n, err := a.poll.Wait(events, a.silent.due(time.Now().Add(asleep)))
		if a.isClosed() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("acceptor: %w", err)
		}
		a.begun = time.Now()
		for i := range n {
			if fd := int(events[i].Fd); fd != a.listener {
				a.speaks(fd)
			} else if err := a.acceptSome(); err != nil {
				return err
			}
		}
		a.silent.expire(time.Now())
	}
}

// acceptSome takes connections and sorts them.
func (a *Acceptor) acceptSome() error {
	for range batch {
		fd, remote, errno := a.accept()
		switch errno {
		case 0:
		case unix.EAGAIN, unix.EBADF: // none, or closed
			return nil
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			if a.silent.closeOldest() {
				continue
			}
			a.backoff = min(max(2*a.backoff, 5*time.Millisecond), maxBackoff)
			a.log.Warn("cannot accept connections for lack of descriptors or memory", "error", errno, "pause", a.backoff)
			time.Sleep(a.backoff)
			return nil
		default:
			return fmt.Errorf("acceptor: accept: %w", errno)
		}
		a.backoff = 0
		a.sort(fd, remote)
	}
	return nil
}

// accept takes a connection off the listener.
func (a *Acceptor) accept() (fd int, remote netip.AddrPort, errno unix.Errno) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return -1, remote, unix.EBADF
	}
	for {
		fd, remote, errno = accept4(a.listener)
		switch errno { //nolint:exhaustive // the others are for the caller
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO: // a connection that has ended already
			continue
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			// The kernel looks for a descriptor before it looks for a connection.
			if !readable(a.listener) {
				errno = unix.EAGAIN
			}
		}
		return fd, remote, errno
	}
}

// sort reads a connection's request and gives the connection to who is to have it.
func (a *Acceptor) sort(fd int, remote netip.AddrPort) {
	defer a.yield()
	n, errno := recv(fd, a.buf)
	switch {
	case errno == unix.EAGAIN:
		a.hold(fd, remote)
		return
	case errno != 0 || n == 0:
		_ = unix.Close(fd) // the client has gone
		return
	}
	if r, used, ok := upgrade.Parse(a.buf[:n]); ok {
		a.makeRoom()
		if a.upgrader.Upgrade(&Conn{FD: fd, Remote: remote, Request: &r, Early: a.buf[used:n]}) {
			return
		}
	}
	if err := a.rest.give(fd, a.buf[:n]); err != nil {
		a.log.Warn("a client's connection was lost", "error", err)
	}
}

// hold waits for the request of a connection.
func (a *Acceptor) hold(fd int, remote netip.AddrPort) {
	a.makeRoom()
	if err := a.watch(unix.EPOLL_CTL_ADD, fd); err != nil {
		_ = unix.Close(fd)
		if !a.isClosed() {
			a.log.Warn("a client's connection was lost", "error", err)
		}
		return
	}
	a.silent.add(fd, visitor{remote: remote, until: time.Now().Add(patience)})
}

// watch begins or ends waiting for a connection's request. After Close it does
// neither.
func (a *Acceptor) watch(op, fd int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return net.ErrClosed
	}
	return a.poll.Control(op, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) //nolint:gosec // a descriptor
}

// makeRoom lets go of the connections that have been silent for longest when
// there are no descriptors left for those who speak.
func (a *Acceptor) makeRoom() {
	for a.silent.len() > 0 && a.silent.len() >= a.upgrader.Room() {
		a.silent.closeOldest()
	}
}

// speaks sorts a connection that was silent.
func (a *Acceptor) speaks(fd int) {
	v, ok := a.silent.take(fd)
	if !ok {
		return // it had to make room for another one of the same batch
	}
	if a.watch(unix.EPOLL_CTL_DEL, fd) != nil {
		_ = unix.Close(fd) // nothing else ends the watch
		return
	}
	a.sort(fd, v.remote)
}

// yield lets others on this core have a turn.
func (a *Acceptor) yield() {
	if now := time.Now(); now.Sub(a.begun) > slice {
		runtime.Gosched()
		a.begun = time.Now()
	}
}
