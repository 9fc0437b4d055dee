// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Floor is a push server that does the least that any must do: for each event, one
// write of the same bytes to each connection's socket. What another server needs
// more than that is its own cost; what this one needs, the kernel takes.
//
//	-mode raw       each event is written as it comes
//	-mode coalesce  events that have come together are written together
//
// It has one event loop and no manners: the handshake must come in one piece, and
// a connection whose socket is full is dropped. GET /ws/CHANNEL on the port, POST
// /pub/CHANNEL on the next one.
package main

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

func main() {
	port := flag.Int("port", 7101, "port for clients; publishers have the next one")
	mode := flag.String("mode", "raw", "raw or coalesce")
	flag.Parse()
	runtime.LockOSThread()
	if err := run(*port, *mode); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// kind is what a descriptor is.
type kind uint8

const (
	unused    kind = iota
	clients        // listens
	events         // listens
	upgrading      // a client that has not shaken hands
	client
	publisher
)

// conn is what is known of a descriptor.
type conn struct {
	kind    kind
	channel *channel // of a client
	at      int      // its place there
	input   []byte   // of a publisher
}

// channel is the clients of one channel.
type channel struct {
	fds     []int
	waiting []byte // coalesce: what to write when all has been read
}

// loop is the server.
type loop struct {
	coalesce bool
	epoll    int
	conns    []conn // by descriptor
	channels map[string]*channel
	dirty    []*channel
	buf      []byte
	asked    string // channel of the handshake under way
	upgrader ws.Upgrader
}

func run(port int, mode string) error {
	if mode != "raw" && mode != "coalesce" {
		return fmt.Errorf("there is no mode %q", mode)
	}
	l := &loop{coalesce: mode == "coalesce", channels: map[string]*channel{}, buf: make([]byte, 256<<10)}
	l.upgrader.OnRequest = func(uri []byte) error {
		l.asked = string(bytes.TrimPrefix(uri, []byte("/ws/")))
		return nil
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(0); err != nil {
		return err
	}
	for i, k := range []kind{clients, events} {
		if err := l.listen(port+i, k); err != nil {
			return fmt.Errorf("listen on port %d: %w", port+i, err)
		}
	}
	ready := make([]unix.EpollEvent, 512)
	for {
		n, err := unix.EpollWait(l.epoll, ready, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for i := range max(n, 0) {
			l.readable(int(ready[i].Fd))
		}
		for _, c := range l.dirty {
			l.write(c, c.waiting)
			c.waiting = c.waiting[:0]
		}
		l.dirty = l.dirty[:0]
	}
}

func (l *loop) listen(port int, k kind) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	for level, option := range map[int]int{unix.SOL_SOCKET: unix.SO_REUSEADDR, unix.IPPROTO_TCP: unix.TCP_NODELAY} {
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil { // accepted sockets inherit it
			return err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return err
	}
	return l.watch(fd, k)
}

func (l *loop) watch(fd int, k kind) error {
	for fd >= len(l.conns) {
		l.conns = append(l.conns, conn{})
	}
	l.conns[fd] = conn{kind: k}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (l *loop) readable(fd int) {
	switch l.conns[fd].kind {
	case clients:
		l.accept(fd, upgrading)
	case events:
		l.accept(fd, publisher)
	case upgrading:
		l.upgrade(fd)
	case client:
		// What clients say, pongs and closes, is of no interest.
		if n, err := unix.Read(fd, l.buf); n == 0 || err != nil && err != unix.EAGAIN {
			l.drop(fd)
		}
	case publisher:
		l.publisher(fd)
	}
}

func (l *loop) accept(fd int, k kind) {
	for {
		c, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK)
		if err != nil {
			return
		}
		if l.watch(c, k) != nil {
			_ = unix.Close(c)
		}
	}
}

func (l *loop) drop(fd int) {
	c := &l.conns[fd]
	if all := c.channel; all != nil {
		last := all.fds[len(all.fds)-1]
		all.fds[c.at], l.conns[last].at = last, c.at
		all.fds = all.fds[:len(all.fds)-1]
	}
	*c = conn{}
	_ = unix.Close(fd)
}

// socket reads and writes a descriptor.
type socket int

func (s socket) Read(p []byte) (int, error)  { return unix.Read(int(s), p) }
func (s socket) Write(p []byte) (int, error) { return unix.Write(int(s), p) }

func (l *loop) upgrade(fd int) {
	if _, err := l.upgrader.Upgrade(socket(fd)); err != nil {
		l.drop(fd)
		return
	}
	c := l.channel(l.asked)
	l.conns[fd] = conn{kind: client, channel: c, at: len(c.fds)}
	c.fds = append(c.fds, fd)
}

func (l *loop) channel(name string) *channel {
	c := l.channels[name]
	if c == nil {
		c = &channel{}
		l.channels[name] = c
	}
	return c
}

// publisher takes as many requests as have come.
func (l *loop) publisher(fd int) {
	n, err := unix.Read(fd, l.buf)
	if n <= 0 {
		if err != unix.EAGAIN {
			l.drop(fd)
		}
		return
	}
	in := append(l.conns[fd].input, l.buf[:n]...)
	var answers []byte
	for {
		head, rest, whole := bytes.Cut(in, []byte("\r\n\r\n"))
		length := contentLength(head)
		if !whole || len(rest) < length {
			break
		}
		name, _, _ := bytes.Cut(bytes.TrimPrefix(head, []byte("POST /pub/")), []byte(" "))
		l.publish(l.channel(string(name)), rest[:length])
		in = rest[length:]
		answers = append(answers, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"...)
	}
	l.conns[fd].input = append(l.conns[fd].input[:0], in...)
	if len(answers) > 0 {
		_, _ = unix.Write(fd, answers) // small; a publisher that does not read waits for nothing
	}
}

func contentLength(head []byte) int {
	_, value, _ := bytes.Cut(head, []byte("Content-Length: "))
	value, _, _ = bytes.Cut(value, []byte("\r\n"))
	n, err := strconv.Atoi(string(value))
	if err != nil {
		return 0
	}
	return n
}

func (l *loop) publish(c *channel, body []byte) {
	var head []byte
	switch n := len(body); {
	case n < 126:
		head = []byte{0x81, byte(n)}
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(n))
	default:
		head = binary.BigEndian.AppendUint64([]byte{0x81, 127}, uint64(n))
	}
	if !l.coalesce {
		l.write(c, append(head, body...))
		return
	}
	if len(c.waiting) == 0 {
		l.dirty = append(l.dirty, c)
	}
	c.waiting = append(append(c.waiting, head...), body...)
}

// write writes to all clients. Go's scheduler is not told of the system calls: they
// do not block.
func (l *loop) write(c *channel, p []byte) {
	for i := len(c.fds) - 1; i >= 0; i-- {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(c.fds[i]), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		if errno != 0 || int(n) < len(p) {
			l.drop(c.fds[i])
		}
	}
}
