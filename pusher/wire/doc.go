// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire holds the words that everything under pusher shares (events,
// positions, close codes) and, in its sub-packages, the clients' protocols.
//
// Everything here is pure: bytes in, actions or bytes out. No socket, no
// goroutine, no clock. So protocols are tested as transcripts and fuzzed.
package wire
