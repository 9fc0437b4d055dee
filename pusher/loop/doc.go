// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package loop owns client sockets: epoll, reads, writes, heartbeats, closes.
//
// A Loop is one goroutine that owns its connections outright. All reads, all
// writes and all state of a connection happen there, so a connection has no
// lock, no goroutine and no timer of its own, and while it is idle no buffer
// either: its state is a slot in a slab. Others reach a Loop through one bounded
// inbox (Post) and are made to wait when it is full.
//
// Promises: what is sent to a connection leaves in the order it was sent;
// whatever is queued for it at the end of a turn leaves in one system call; a
// peer that does not read, or dies half way through a frame, holds up nobody
// else; unsent bytes of a connection are bounded, and every drop is counted by
// its reason. A Loop that fails ends the process.
//
// It speaks RFC 6455 framing for its sockets (pings, pongs, the closing
// handshake) but must not know channels, rooms, users or what messages say.
package loop
