// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package acceptor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/epoll"
	"github.com/klaxon-dev/klaxon/pusher/wire/upgrade"
)

const (
	// readSize is the largest request that is looked at here: a token of 16 KiB
	// and then some.
	readSize = 32 << 10
	// deferAccept is how long the kernel waits for a request, in seconds, before
	// it hands a silent connection over all the same.
	deferAccept = 5
	// notSent is how many bytes that are not under way yet the kernel takes of a
	// connection. It does not bound what is under way, so a distant client is
	// served at its full speed, but a client that has stopped reading costs this
	// much kernel memory instead of megabytes, and is noticed as much sooner.
	notSent = 16 << 10
)

// Conn is a connection whose handshake has been read and not answered.
type Conn struct {
	// FD is the socket: non-blocking, and known to nobody else.
	FD     int
	Remote netip.AddrPort
	// Request is valid during the call only.
	Request *upgrade.Request
	// Early is what came behind the request, valid during the call only.
	Early []byte
}

// Upgrader takes connections that want to be WebSockets.
type Upgrader interface {
	// Upgrade takes c.FD over and reports true, or leaves it alone and reports
	// false; net/http then answers the request.
	Upgrade(c *Conn) bool
	// Room is how many more descriptors there are for clients.
	Room() int
	// Busy is what a connection hears that nobody has time for, by what it has said so
	// far: the constant Busy, or what its kind of client understands.
	Busy(said []byte) string
}

// Acceptor sorts the connections of one listener.
type Acceptor struct {
	// Static.
	addr     net.Addr
	upgrader Upgrader
	log      *slog.Logger
	rest     *Rest
	poll     *epoll.Poll // the listener and the silent connections

	// Owned by Run.
	silent  silent
	buf     []byte
	begun   time.Time // of the slice
	backoff time.Duration

	// Guarded by mu.
	mu       sync.Mutex
	listener int
	closed   bool
}

// Listen makes an Acceptor that listens on a TCP address.
func Listen(addr string, u Upgrader, log *slog.Logger) (*Acceptor, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // accepting and writing cost more, and options are not handed down
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("acceptor: %w", err)
	}
	a := &Acceptor{addr: ln.Addr(), upgrader: u, log: log, rest: newRest(ln.Addr(), u.Busy), buf: make([]byte, readSize)}
	if a.listener, err = takeOver(ln); err != nil {
		return nil, fmt.Errorf("acceptor: taking the listener over: %w", err)
	}
	if a.poll, err = epoll.New(); err != nil {
		return nil, errors.Join(fmt.Errorf("acceptor: %w", err), unix.Close(a.listener))
	}
	// Accepted sockets have what the listener has.
	err = errors.Join(
		a.set(unix.TCP_DEFER_ACCEPT, deferAccept),
		a.set(unix.TCP_NODELAY, 1),
		a.set(unix.TCP_NOTSENT_LOWAT, notSent),
		a.poll.Control(unix.EPOLL_CTL_ADD, a.listener, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(a.listener)}), //nolint:gosec // a descriptor
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("acceptor: options of the listener: %w", err), a.Close())
	}
	return a, nil
}

// takeOver takes a listener out of Go's poller.
func takeOver(ln net.Listener) (fd int, err error) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		panic("acceptor: a TCP listener of another type")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, errors.Join(err, ln.Close())
	}
	var failed error
	err = raw.Control(func(was uintptr) { fd, failed = unix.FcntlInt(was, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, failed, ln.Close())
}

// set sets a TCP option of the listener, and so of the sockets that it accepts.
func (a *Acceptor) set(option, value int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return net.ErrClosed
	}
	return unix.SetsockoptInt(a.listener, unix.IPPROTO_TCP, option, value)
}

// SetPatience sets for how long written data may stay unacknowledged on
// connections that are accepted from now on. A peer that has gone without a word
// is noticed by then, at the latest (RFC 5482).
func (a *Acceptor) SetPatience(d time.Duration) error {
	if err := a.set(unix.TCP_USER_TIMEOUT, int(d/time.Millisecond)); err != nil {
		return fmt.Errorf("acceptor: TCP_USER_TIMEOUT: %w", err)
	}
	return nil
}

// Addr is what the listener listens on.
func (a *Acceptor) Addr() net.Addr { return a.addr }

// Rest is the listener of the connections that are not upgraded here.
func (a *Acceptor) Rest() *Rest { return a.rest }

// Close ends listening, and with it Run. Connections that somebody has taken are
// left alone. Closing again does nothing.
func (a *Acceptor) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	return errors.Join(unix.Close(a.listener), a.poll.Close())
}

func (a *Acceptor) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}
