// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package door stands in for the Service that clients connect to: one address,
// behind which connections go to the backends in turn.
//
// As a Service, it knows connections and not what is said on them; one that has
// been made stays where it is; a backend that is left out gets no new ones; and one
// that has died takes its connections with it.
package door

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// dialTimeout is how long a backend may take to accept.
const dialTimeout = time.Second

// Door is one address for several backends.
type Door struct {
	// Static.
	listener net.Listener
	ctx      context.Context //nolint:containedctx // of all its connections
	close    context.CancelFunc
	running  sync.WaitGroup

	// Guarded by mu.
	mu       sync.Mutex
	backends []string
	next     int
}

// Open listens on a port of loopback that the system chooses.
func Open() (*Door, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &Door{listener: l}
	d.ctx, d.close = context.WithCancel(context.Background())
	d.running.Go(d.accept)
	return d, nil
}

// Addr is where clients connect to.
func (d *Door) Addr() string { return d.listener.Addr().String() }

// Close ends all connections.
func (d *Door) Close() {
	d.close()
	_ = d.listener.Close()
	d.running.Wait()
}

// Let has new connections go to a backend, too.
func (d *Door) Let(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.backends, addr) {
		d.backends = append(d.backends, addr)
	}
}

// Leave has no new connections go to a backend.
func (d *Door) Leave(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backends = slices.DeleteFunc(d.backends, func(b string) bool { return b == addr })
}

func (d *Door) accept() {
	for {
		c, err := d.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of descriptors, say: some will be free again
			time.Sleep(10 * time.Millisecond)
			continue
		}
		d.running.Go(func() { d.serve(c) })
	}
}

// turn is all backends, the one whose turn it is first.
func (d *Door) turn() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.backends) == 0 {
		return nil
	}
	d.next = (d.next + 1) % len(d.backends)
	return slices.Concat(d.backends[d.next:], d.backends[:d.next])
}

// serve joins a client to the first backend that accepts.
func (d *Door) serve(client net.Conn) {
	defer client.Close()
	for _, addr := range d.turn() {
		ctx, cancel := context.WithTimeout(d.ctx, dialTimeout)
		backend, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		cancel()
		if err == nil {
			d.join(client, backend)
			return
		}
	}
}

// join carries bytes both ways until both have ended, or one has failed.
func (d *Door) join(client, backend net.Conn) {
	defer backend.Close()
	stop := context.AfterFunc(d.ctx, func() {
		_ = client.Close()
		_ = backend.Close()
	})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		carry(backend, client)
	}()
	carry(client, backend)
	<-done
}

// carry carries one way. What has ended well ends there as well; what has failed
// fails on both sides.
func carry(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(*net.TCPConn)
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	_ = to.Close()
	_ = from.Close()
}
