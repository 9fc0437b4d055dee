// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sse writes Server-Sent Events (WHATWG HTML section 9.2): the blocks of
// a text/event-stream body.
//
// Every function returns whole blocks, each ended by its empty line, so that they
// can be written one behind the other in any order; EncodeWelcome's comes first.
// The id of a block is a position in the channel: a client that reconnects sends
// the last one as Last-Event-ID. Whatever a name or data holds, a block never
// breaks into two.
//
// It must not know of HTTP: status, headers and the end of the body are the
// server's.
package sse
