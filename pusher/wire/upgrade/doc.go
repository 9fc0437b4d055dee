// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package upgrade reads a WebSocket's opening handshake and writes its answer
// (RFC 6455 section 4), for the fast path of the clients listener.
//
// In a storm of reconnects the handshake is what a push server does, and a
// general HTTP server spends most of it on what such a request does not need.
// Parse understands one kind of request only: a whole, well-formed WebSocket
// handshake by the strictest reading of RFC 9112. Of anything else it says that
// it is not for it, and net/http, which knows all of HTTP and answers errors,
// has its turn with the same bytes. So there is one decision here that matters:
// whatever Parse accepts, net/http must accept and understand in the same way.
// A fuzz test holds it to that.
//
// It must not know sockets, channels or tokens.
package upgrade
