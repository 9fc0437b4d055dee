// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"net"
	"syscall"

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

// Kind is what a connection speaks, as far as its loop must know.
type Kind uint8

const (
	// WebSocket is frames in both directions (RFC 6455). The loop pings silent peers.
	WebSocket Kind = iota
	// Packets is the same, but heartbeats are the Handler's affair.
	Packets
	// EventStream is bytes as they are and ends with the connection. What the
	// peer sends means nothing, and there is no closing handshake.
	EventStream
)

// NoSocket is the descriptor of a detached connection.
const NoSocket = -1

// Socket is a connected, non-blocking socket whose handshake is done, but perhaps
// for its answer.
type Socket struct {
	// FD is the descriptor, or NoSocket: such a connection is a queue that the
	// Handler empties by Take, until a socket is moved to it.
	FD   int
	Kind Kind
	// Deflate is whether permessage-deflate (RFC 7692) was negotiated.
	Deflate bool
	// Answer is to be written before everything else.
	Answer []byte
	// Early is what the client has sent behind its handshake.
	Early []byte
}

// maxAdoptions is how many sockets may wait for the loop. More would make events
// wait behind them in a storm: half a millisecond is enough.
const maxAdoptions = 64

// Adopt makes the loop the owner of a socket and gives hello to Handler.Open,
// waiting while too many others wait. It reports false, and the descriptor is
// closed, once the loop has stopped.
func (l *Loop) Adopt(s Socket, hello any) bool {
	a := &adoption{l: l, socket: s, hello: hello}
	l.stats.connections.Add(1)
	select {
	case l.adoptions <- struct{}{}:
		if l.Post(a) {
			return true
		}
	case <-l.done:
	}
	a.Drop()
	return false
}

type adoption struct {
	l      *Loop
	socket Socket
	hello  any
}

// Size is that of the early bytes.
func (a *adoption) Size() int { return len(a.socket.Early) }

// Drop is called instead of Run when the loop ends.
func (a *adoption) Drop() {
	if a.socket.FD != NoSocket {
		closeFD(a.socket.FD)
	}
	a.l.stats.connections.Add(-1)
}

// Run puts the connection into a slot.
func (a *adoption) Run() {
	l := a.l
	<-l.adoptions
	l.stats.opened.Add(1)
	s, c := l.newSlot()
	c.fd, c.state, c.lastRead = int32(a.socket.FD), open, l.wheel.now //nolint:gosec // descriptors are small
	c.kind, c.deflate = a.socket.Kind, a.socket.Deflate
	c.limit = 64 << 10
	if len(a.socket.Answer) > 0 {
		l.enqueue(s, c, &Frame{Bytes: a.socket.Answer})
	}
	l.reschedule(s, c)
	// Before Open, which may fill the socket: what is left then waits for an event.
	var err error
	if c.fd != NoSocket {
		err = l.tryWatch(s, c, unix.EPOLL_CTL_ADD, unix.EPOLLIN)
	}
	c.blocked = err != nil // nothing is written
	l.handler.Open(s, a.hello)
	switch {
	case err != nil:
		// The kernel is short of memory or of watches: this connection cannot stay.
		l.drop(s, c)
	case c.state != gone && len(a.socket.Early) > 0:
		l.received(s, c, a.socket.Early)
	}
}
