// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/acceptor"
)

const (
	// maxHandshakes is how many connections net/http may have at once: those that
	// send their request in pieces, or are plain HTTP. More wait.
	maxHandshakes = 512
	// handshakePatience is how long a request is served for sure. Before its head is there it
	// is for as long as there are places.
	handshakePatience = 3 * time.Second
	// handshakeTimeout is how long each half of a request may take.
	handshakeTimeout = 10 * time.Second
	// reservedFDs are kept for handshakes, publishers, probes and files.
	reservedFDs = maxHandshakes + acceptor.MaxWaiting + maxPublishers + maxAdmins + 128
)

// handshakes is a listener of as many connections at once that are neither closed, nor
// taken over by a loop, nor a client's that polls. Install its note as ConnState and
// keepConn as ConnContext.
type handshakes struct {
	*places
	roomy func() bool // for another client
}

func limitHandshakes(ln net.Listener, roomy func() bool) *handshakes {
	return &handshakes{limitPlaces(ln, maxHandshakes, handshakePatience), roomy}
}

// entertain gives the place of a request's connection back: it belongs to a client
// that polls, which counts as a connected client. Where there is no room for more
// of those it keeps its place.
func (h *handshakes) entertain(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok && h.roomy() {
		h.release(c)
	}
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
