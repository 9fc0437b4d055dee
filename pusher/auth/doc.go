// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package auth answers who a client or a publisher is and what they may do:
// tokens, rooms and origins, by one snapshot of the settings.
//
// It promises that a Verifier never changes (new settings make a new one), that
// it is safe for concurrent use and does no I/O, and that the message of each
// Error can be shown to whoever was refused: it holds no part of a token and no
// secret. Cryptography is go-jose's alone. Which algorithms a token may use
// follows from the kind of its issuer, never from the token: symmetric ones for
// the HMAC issuers of clients, asymmetric ones for ServiceAccounts.
//
// It must not know HTTP, sockets or Kubernetes: tokens, origins and hosts are
// strings that somebody else has found.
package auth
