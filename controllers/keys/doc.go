// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keys makes all secrets that the parts of a Pusher share of one seed, which
// the operator keeps in a Secret that nothing else reads: passwords, and the
// certificates of a managed broker with the authority that vouches for them.
//
// It is pure: the same seed gives the same keys at the same time, so that nothing
// else has to be stored, restored or agreed upon, and certificates become others by
// themselves long before they end. Whoever has the seed has them all.
package keys
