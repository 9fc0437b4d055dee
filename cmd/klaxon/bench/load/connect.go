// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
)

// maxSources is how many addresses of the loopback network are used as sources.
const maxSources = 200

// edge is EPOLLET, which package unix has as a negative number.
const edge = 1 << 31

// The challenge of every handshake and its answer: those of RFC 6455, section
// 1.3. Nothing is gained by a random one here.
const (
	challenge = "dGhlIHNhbXBsZSBub25jZQ=="
	accept    = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// target is an address to connect to.
type target struct {
	addr     unix.Sockaddr
	family   int
	loopback bool // IPv4
}

func newTarget(t netip.AddrPort) target {
	ip := t.Addr().Unmap()
	if ip.Is4() {
		return target{&unix.SockaddrInet4{Port: int(t.Port()), Addr: ip.As4()}, unix.AF_INET, ip.IsLoopback()}
	}
	return target{&unix.SockaddrInet6{Port: int(t.Port()), Addr: ip.As16()}, unix.AF_INET6, false}
}

// connect opens as many connections as may be now, and answers when none is left.
func (w *worker) connect() error {
	now := mark.Now()
	due := len(w.conns)
	if w.job.Rate > 0 {
		due = min(due, int(float64(now-w.connected.Began)/1e9*w.job.Rate*w.job.Share))
	}
	parallel := max(1, int(float64(w.job.Parallel)*w.job.Share))
	for w.next < due && w.pending < parallel {
		w.dial(&w.conns[w.next])
		w.next++
	}
	if w.pending > 0 && now-w.progress > int64(w.job.Timeout) {
		w.giveUp()
	}
	if w.next < len(w.conns) || w.pending > 0 {
		return nil
	}
	w.connecting = false
	w.connected.Ended = mark.Now()
	return w.answer(&w.connected)
}

// giveUp fails the handshakes that are under way and begins no more.
func (w *worker) giveUp() {
	for i := range w.conns {
		switch c := &w.conns[i]; {
		case i >= w.next:
			c.state = opening
			w.pending++
			w.drop(c, "not tried: the server had stopped answering")
		case c.state.pending():
			w.drop(c, "timeout")
		}
	}
	w.next = len(w.conns)
}

// dial begins to open a connection.
func (w *worker) dial(c *conn) {
	c.state, c.began = opening, mark.Now()
	w.pending++
	w.progress = c.began
	t := w.targets[c.number%len(w.targets)]
	err := w.open(c, t)
	for errors.Is(err, unix.EADDRNOTAVAIL) && t.loopback && w.source < maxSources {
		w.source++ // this source's ports are used up
		err = w.open(c, t)
	}
	if err != nil {
		w.drop(c, "connect: "+err.Error())
	}
}

func (w *worker) open(c *conn, t target) error {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
	}
	var err error
	if c.fd, err = unix.Socket(t.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		c.fd = -1
		return err
	}
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// A reset instead of a parting: thousands of sockets in TIME_WAIT would keep
	// the next run from its ports.
	_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if w.source > 0 {
		_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err := unix.Bind(c.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1 + w.source}}); err != nil {
			return err
		}
	}
	if err := unix.Connect(c.fd, t.addr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return w.watch(c.fd, c.number-w.job.First, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|edge)
}

// request sends the handshake.
func (w *worker) request(c *conn) {
	v := w.job.values(c.number)
	b := append(w.msg[:0], "GET "...)
	b = w.path.Append(b, &v)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, w.job.Host...)
	b = append(b, "\r\n"...)
	if !w.job.Protocol.Stream {
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+challenge+"\r\n"...)
	}
	if p := w.job.Protocol.Subprotocol; p != "" {
		b = append(b, "Sec-WebSocket-Protocol: "+p+"\r\n"...)
	}
	if n := len(w.job.Tokens); n > 0 {
		b = append(b, "Authorization: Bearer "+w.job.Tokens[c.number%n]+"\r\n"...)
	}
	for _, h := range w.headers {
		b = append(h.Append(b, &v), "\r\n"...)
	}
	w.msg = append(b, "\r\n"...)
	c.state = requested
	w.write(c, w.msg)
}

// response reads the handshake's answer and returns what follows it; ok is
// false when it has not arrived whole, or the connection has failed.
func (w *worker) response(c *conn, p []byte) (rest []byte, ok bool) {
	head, rest, whole := bytes.Cut(p, []byte("\r\n\r\n"))
	if !whole {
		c.keep(p)
		return nil, false
	}
	status, _, _ := bytes.Cut(head, []byte("\r\n"))
	wanted := "HTTP/1.1 101"
	if w.job.Protocol.Stream {
		wanted = "HTTP/1.1 200"
	}
	if !bytes.HasPrefix(status, []byte(wanted)) {
		w.drop(c, "refused: "+string(bytes.TrimPrefix(status, []byte("HTTP/1.1 "))))
		return nil, false
	}
	if !w.job.Protocol.Stream && !bytes.Contains(head, []byte(accept)) {
		w.drop(c, "the handshake's answer is wrong")
		return nil, false
	}
	v := w.job.values(c.number)
	for _, m := range w.first {
		w.send(c, opText, m.Append(nil, &v))
	}
	if c.fd < 0 {
		return nil, false
	}
	c.state = greeted
	if w.job.Protocol.Ready == "" {
		w.setReady(c)
	}
	return rest, true
}

func (w *worker) setReady(c *conn) {
	now := mark.Now()
	c.state = ready
	w.pending--
	w.progress = now
	w.ready++
	w.connected.Ready++
	w.connected.Latency.Add(now - c.began)
}
