// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/acceptor"
)

const (
	// maxHandshakes is how many connections net/http may have at once: those that
	// send their request in pieces, or are plain HTTP. More wait.
	maxHandshakes = 512
	// handshakeTimeout is how long each half of a request may take.
	handshakeTimeout = 10 * time.Second
	// reservedFDs are kept for handshakes, publishers, probes and files.
	reservedFDs = maxHandshakes + acceptor.MaxWaiting + maxPublishers + maxAdmins + 128
)

// handshakes is a listener that waits while too many of its connections are
// neither closed, nor taken over by a loop, nor a client's that polls. Install its
// done as ConnState and keepConn as ConnContext.
type handshakes struct {
	net.Listener
	places chan struct{}
	room   func() bool // for another client

	mu     sync.Mutex
	guests map[net.Conn]struct{} // whose place others have now
	count  atomic.Int64          // of guests
}

func limitHandshakes(ln net.Listener, room func() bool) *handshakes {
	return &handshakes{Listener: ln, places: make(chan struct{}, maxHandshakes), room: room, guests: map[net.Conn]struct{}{}}
}

// Accept waits for a place, then for a connection.
func (h *handshakes) Accept() (net.Conn, error) {
	h.places <- struct{}{}
	c, err := h.Listener.Accept()
	if err != nil {
		<-h.places
	}
	return c, err
}

// done gives a connection's place back when net/http lets go of it.
func (h *handshakes) done(c net.Conn, s http.ConnState) {
	if s != http.StateHijacked && s != http.StateClosed {
		return
	}
	h.mu.Lock()
	_, guest := h.guests[c]
	delete(h.guests, c)
	h.mu.Unlock()
	if guest {
		h.count.Add(-1)
		return
	}
	<-h.places
}

// entertain gives the place of a request's connection back: it belongs to a client
// that polls, which counts as a connected client. Where there is no room for more
// of those it keeps its place.
func (h *handshakes) entertain(r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(net.Conn)
	if !ok || !h.room() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, already := h.guests[c]; already {
		return
	}
	h.guests[c] = struct{}{}
	h.count.Add(1)
	<-h.places
}

type connKey struct{}

func keepConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connectionLimit is how many client connections the process has descriptors for.
// Go raises the soft limit to the hard one at start.
func connectionLimit() (int64, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("pusher: getrlimit: %w", err)
	}
	n := int64(min(r.Cur, 1<<30)) - reservedFDs
	if n < 1 {
		return 0, errors.New("pusher: the limit of open files is too low: raise it, for example to 65536 (ulimit -n)")
	}
	return n, nil
}

// oneEnd closes the connection behind a request of which another program could find
// the end elsewhere: one in chunks, which net/http takes with a length beside them as
// well, or in HTTP/1.0, whose chunks it passes over (RFC 9112 section 6.1). What a
// proxy in front takes for a part of the body is then never taken for a request.
func oneEnd(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
