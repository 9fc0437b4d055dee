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
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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
	// slice is how long connections are taken before others on this core have a turn.
	slice = time.Millisecond
	// maxBackoff is the longest pause when descriptors or memory have run out.
	maxBackoff = time.Second
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
	// false; net/http then answers the request. Several goroutines may call it.
	Upgrade(c *Conn) bool
}

// Acceptor sorts the connections of one listener.
type Acceptor struct {
	// A listener's own RawConn cannot be read, so this is a duplicate of it.
	socket   *os.File
	raw      syscall.RawConn
	addr     net.Addr
	upgrader Upgrader
	log      *slog.Logger
	rest     *Rest
	closed   atomic.Bool
}

// Listen makes an Acceptor that listens on a TCP address.
func Listen(addr string, u Upgrader, log *slog.Logger) (*Acceptor, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // accepting and writing cost more, and options are not handed down
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("acceptor: %w", err)
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		panic("acceptor: a TCP listener of another type")
	}
	socket, err := tcp.File()
	if err = errors.Join(err, tcp.Close()); err != nil {
		return nil, fmt.Errorf("acceptor: taking the listener over: %w", err)
	}
	a := &Acceptor{socket: socket, addr: ln.Addr(), upgrader: u, log: log, rest: newRest(ln.Addr())}
	if a.raw, err = socket.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("acceptor: %w", err), socket.Close())
	}
	// Accepted sockets have what the listener has.
	err = errors.Join(
		a.set(unix.TCP_DEFER_ACCEPT, deferAccept),
		a.set(unix.TCP_NODELAY, 1),
		a.set(unix.TCP_NOTSENT_LOWAT, notSent),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("acceptor: options of the listener: %w", err), socket.Close())
	}
	return a, nil
}

// set sets a TCP option of the listener, and so of the sockets that it accepts.
func (a *Acceptor) set(option, value int) error {
	var failed error
	err := a.raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) })
	return errors.Join(err, failed)
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

// Close ends listening, and with it Run. Connections that were taken are left alone.
func (a *Acceptor) Close() error {
	a.closed.Store(true)
	return a.socket.Close()
}

// Rest is the listener of the connections that are not upgraded here.
func (a *Acceptor) Rest() *Rest { return a.rest }

// Run accepts until Close; it then returns nil. It may run on
// several goroutines at once.
func (a *Acceptor) Run() error {
	var (
		buf     = make([]byte, readSize)
		backoff time.Duration
		begun   = time.Now()
	)
	for {
		fd, remote, errno, err := a.accept()
		switch {
		case a.closed.Load():
			if err == nil && errno == 0 {
				_ = unix.Close(fd)
			}
			return nil
		case err != nil:
			return fmt.Errorf("acceptor: %w", err)
		case errno == unix.EMFILE || errno == unix.ENFILE || errno == unix.ENOBUFS || errno == unix.ENOMEM:
			backoff = min(max(2*backoff, 5*time.Millisecond), maxBackoff)
			a.log.Warn("cannot accept connections for lack of descriptors or memory", "error", errno, "pause", backoff)
			time.Sleep(backoff)
			continue
		case errno != 0:
			return fmt.Errorf("acceptor: accept: %w", errno)
		}
		backoff = 0
		a.sort(fd, remote, buf)
		if now := time.Now(); now.Sub(begun) > slice {
			runtime.Gosched()
			begun = now
		}
	}
}

// sort reads a connection's request and gives the connection to who is to have it.
func (a *Acceptor) sort(fd int, remote netip.AddrPort, buf []byte) {
	n, errno := recv(fd, buf)
	if errno != 0 && errno != unix.EAGAIN || errno == 0 && n == 0 {
		_ = unix.Close(fd) // the client has gone
		return
	}
	read := buf[:max(n, 0)]
	if r, used, ok := upgrade.Parse(read); ok {
		if a.upgrader.Upgrade(&Conn{FD: fd, Remote: remote, Request: &r, Early: read[used:]}) {
			return
		}
	}
	if err := a.rest.give(fd, read); err != nil {
		a.log.Warn("a client's connection was lost", "error", err)
	}
}

// accept waits for a connection.
func (a *Acceptor) accept() (fd int, remote netip.AddrPort, errno unix.Errno, err error) {
	err = a.raw.Read(func(ln uintptr) bool {
		for {
			fd, remote, errno = accept4(int(ln))
			switch errno { //nolint:exhaustive // errors of a connection that has ended already
			case unix.EINTR, unix.ECONNABORTED, unix.EPROTO:
				continue
			}
			return errno != unix.EAGAIN
		}
	})
	return fd, remote, errno, err
}
