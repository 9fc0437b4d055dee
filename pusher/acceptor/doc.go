// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package acceptor takes connections off a listening socket and sorts them.
//
// A client that connects to a push server nearly always sends one small
// WebSocket handshake and nothing else until it is answered. The kernel holds
// such a connection back until the request is there (TCP_DEFER_ACCEPT), so one
// accept and one read are enough to decide: what upgrade.Parse understands is
// offered to the Upgrader, which takes the descriptor over, and a connection
// has never met Go's poller, a goroutine or a buffer of its own. In a storm the
// kernel cannot hold back (SYN cookies); connections that come without a request
// then wait for it in an epoll instance here, and are taken the same way. All else
// (requests that come in pieces, plain HTTP, whatever is malformed) goes on to
// the Rest, a net.Listener for net/http, with the bytes that were read.
//
// Promises: a descriptor has one owner at any time; no byte is lost on the way;
// a client that is slow with its request holds up nobody.
package acceptor
