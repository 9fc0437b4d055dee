// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
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
	// handshakeTimeout is how long each half of a request may take.
	handshakeTimeout = 10 * time.Second
	// reservedFDs are kept for handshakes, publishers, probes and files.
	reservedFDs = maxHandshakes + acceptor.MaxWaiting + 512
)

// handshakes is a listener that waits while too many of its connections are
// neither closed nor taken over by a loop. Install its done as ConnState.
type handshakes struct {
	net.Listener
	places chan struct{}
}

func limitHandshakes(ln net.Listener) *handshakes {
	return &handshakes{Listener: ln, places: make(chan struct{}, maxHandshakes)}
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
func (h *handshakes) done(_ net.Conn, s http.ConnState) {
	if s == http.StateHijacked || s == http.StateClosed {
		<-h.places
	}
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
		return 0, errors.New("pusher: the limit of open files is too low: raise it above 1024 (ulimit -n)")
	}
	return n, nil
}
