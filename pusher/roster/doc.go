// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package roster keeps what must be known of sessions when the push server that had
// them is gone, in a bucket of NATS that all replicas of a Pusher share.
//
// A session has one owner. Whoever its client comes back to takes it over, by
// compare-and-set, and the owner before learns of that at its next write, if nothing
// else tells it. Records are dropped when they have not been written for a while, so
// nobody has to clean up after a replica that was killed.
//
// The bucket is in the memory of NATS: what is in it is worth little, and written
// often. When it has vanished it is made anew, and filled by those who have sessions.
//
// It must not know what a record says.
package roster
