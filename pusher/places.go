// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"container/list"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxPublishers is how many connections the events listener has at once, and maxAdmins
	// the admin listener.
	maxPublishers = 1024
	maxAdmins     = 256
	// adminPatience is how long a request on the admin listener is served for sure: none
	// takes as long that is not sent, or read, on purpose so slowly.
	adminPatience = time.Second
)

// places is a listener of so many connections at once, lest they take the descriptors
// that clients need. When all are taken, the one goes that has waited longest with
// nothing asked of it: one that has sent nothing yet, or is kept for a next request; then
// the one that has been served for longest, if that is longer than patience. Where there
// is none of these, newcomers wait. Install its note as ConnState.
type places struct {
	net.Listener
	max      int
	patience time.Duration // 0: who is served stays

	mu         sync.Mutex
	taken      int
	closed     bool
	idle, busy list.List // of *visitor; who came first comes first
	where      map[net.Conn]*list.Element
	dismissed  map[net.Conn]struct{} // whose place is free though net/http is not done with them
	room       *sync.Cond
}

// visitor is a connection that has a place.
type visitor struct {
	net.Conn
	in    *list.List
	since time.Time
}

func limitPlaces(ln net.Listener, n int, patience time.Duration) *places {
	p := &places{Listener: ln, max: n, patience: patience, where: map[net.Conn]*list.Element{}, dismissed: map[net.Conn]struct{}{}}
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
		if g := p.dispensable(); g != nil {
			p.leave(g.Conn)
			_ = g.Close()
			p.dismissed[g.Conn] = struct{}{}
			p.taken--
			continue
		}
		if p.patience > 0 {
			time.AfterFunc(p.patience, p.room.Broadcast)
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

// dispensable returns who goes first; nil: nobody.
func (p *places) dispensable() *visitor {
	if e := p.idle.Front(); e != nil {
		return e.Value.(*visitor)
	}
	if e := p.busy.Front(); e != nil && p.patience > 0 {
		if g := e.Value.(*visitor); time.Since(g.since) >= p.patience {
			return g
		}
	}
	return nil
}

func (p *places) leave(c net.Conn) {
	if e := p.where[c]; e != nil {
		e.Value.(*visitor).in.Remove(e)
		delete(p.where, c)
	}
}

func (p *places) enter(c net.Conn, in *list.List) {
	p.where[c] = in.PushBack(&visitor{c, in, time.Now()})
}

// note follows what becomes of a connection.
func (p *places) note(c net.Conn, s http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, gone := p.dismissed[c]; gone {
		if s == http.StateClosed || s == http.StateHijacked {
			delete(p.dismissed, c)
		}
		return
	}
	p.leave(c)
	switch s {
	case http.StateNew, http.StateIdle:
		p.enter(c, &p.idle)
		if p.taken >= p.max {
			p.room.Signal() // it can go
		}
	case http.StateActive:
		p.enter(c, &p.busy)
	case http.StateHijacked, http.StateClosed:
		p.taken--
		p.room.Signal()
	}
}
