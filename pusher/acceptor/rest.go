// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package acceptor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxWaiting is how many connections may wait for Rest.Accept. What comes on
// top is told to come back.
const MaxWaiting = 512

// Busy is what a connection hears that nobody has time for.
const Busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// Rest is a net.Listener of the connections that an Acceptor has not upgraded.
type Rest struct {
	addr  net.Addr
	conns chan net.Conn
	busy  func(said []byte) string

	mu     sync.Mutex // guards sends on conns, which Close closes
	closed bool
}

func newRest(addr net.Addr, busy func(said []byte) string) *Rest {
	return &Rest{addr: addr, conns: make(chan net.Conn, MaxWaiting), busy: busy}
}

// Accept waits for a connection. Its error is net.ErrClosed after Close.
func (r *Rest) Accept() (net.Conn, error) {
	if c, ok := <-r.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// Addr is that of the Acceptor's listener.
func (r *Rest) Addr() net.Addr { return r.addr }

// Close ends Accept and the connections that wait. The Acceptor's own listener
// is left as it is.
func (r *Rest) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	close(r.conns)
	for c := range r.conns {
		_ = c.Close()
	}
	return nil
}

// give takes a socket over, of which read has been read. An error means that the
// socket is closed.
func (r *Rest) give(fd int, read []byte) error {
	c, err := newConn(fd, read)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return c.Close()
	}
	select {
	case r.conns <- c:
		return nil
	default:
		_, _ = c.Write([]byte(r.busy(read))) // it fits into an empty socket, or the client has gone
		return c.Close()
	}
}

// conn is a connection of which the first bytes have been read already.
type conn struct {
	net.Conn
	early []byte
}

// newConn takes a socket over, also when it fails.
func newConn(fd int, early []byte) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "tcp:"+strconv.Itoa(fd))
	if f == nil {
		return nil, fmt.Errorf("acceptor: descriptor %d: %w", fd, unix.EBADF)
	}
	c, err := net.FileConn(f)
	if tcp, ok := c.(*net.TCPConn); ok {
		err = tcp.SetKeepAlive(false) // Go has it on
	}
	if err = errors.Join(err, f.Close()); err != nil {
		if c != nil {
			_ = c.Close()
		}
		return nil, fmt.Errorf("acceptor: a connection for net/http: %w", err)
	}
	return &conn{Conn: c, early: append([]byte(nil), early...)}, nil
}

// Read reads what came early first.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

// Buffered is how many bytes Read would give that are not in the socket.
func (c *conn) Buffered() int { return len(c.early) }

// CloseWrite ends this half of the connection. net/http asks for it when it has
// answered a request that it will not read to its end: closing all of it with
// bytes unread is a reset, which can take the answer with it.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// SyscallConn is that of the socket.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return sc.SyscallConn()
}
