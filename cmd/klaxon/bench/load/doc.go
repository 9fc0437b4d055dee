// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package load is the many clients of a benchmark: it opens connections, counts
// what they receive, and checks that each receives exactly what was published for it.
//
// A Fleet splits the connections among worker processes, which run the same
// executable again: one process has too few descriptors, and its garbage
// collector and scheduler would be measured too. A worker is one thread with one
// epoll descriptor over non-blocking sockets. It parses no more than frame headers and
// looks for package mark's marks in what is left, so that one core of clients can
// saturate a server that has one core.
//
// A connection belongs to one group, a room of a channel, and must receive each
// event of that group once and in order, and no other.
//
// How a connection speaks is a Protocol, data that flags can change. A transport
// that is no WebSocket is another reader beside the one in frames.go.
package load
