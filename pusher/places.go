// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

const (
	// maxPublishers is how many connections the events listener has at once, and maxAdmins
	// the admin listener.
	maxPublishers = 1024
	maxAdmins     = 64
)

// places is a listener of so many connections at once, lest they take the descriptors
// that clients need. When all are taken, the one goes that has waited longest with
// nothing asked of it: one that has sent nothing yet, or is kept for a next request. Where
// all are being served, newcomers wait. Install its note as ConnState.
type places struct {
	net.Listener
	max int

	mu     sync.Mutex
	taken  int
	closed bool
	idle   list.List // of net.Conn; the one that has waited longest comes first
	where  map[net.Conn]*list.Element
	room   *sync.Cond
}

func limitPlaces(ln net.Listener, n int) *places {
	p := &places{Listener: ln, max: n, where: map[net.Conn]*list.Element{}}
	p.room = sync.NewCond(&p.mu)
	return p
}

// Accept waits for a connection, and for a place for it.
func (p *places) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http's to look at
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.taken >= p.max && !p.closed {
		if first := p.idle.Front(); first != nil {
			gone := p.leave(first.Value.(net.Conn))
			_ = gone.Close() // its place is free when net/http has noticed
		}
		p.room.Wait()
	}
	if p.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	p.taken++
	return c, nil
}

// Close ends the listener, and the wait for a place.
func (p *places) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.room.Broadcast()
	return p.Listener.Close() //nolint:wrapcheck // net/http's to look at
}

// leave takes a connection off those that nothing is asked of.
func (p *places) leave(c net.Conn) net.Conn {
	if e := p.where[c]; e != nil {
		p.idle.Remove(e)
		delete(p.where, c)
	}
	return c
}

// note follows what becomes of a connection.
func (p *places) note(c net.Conn, s http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(c)
	switch s {
	case http.StateNew, http.StateIdle:
		p.where[c] = p.idle.PushBack(c)
		if p.taken >= p.max {
			p.room.Signal() // it can go
		}
	case http.StateHijacked, http.StateClosed:
		p.taken--
		p.room.Signal()
	}
}
