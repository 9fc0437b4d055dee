// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package presence knows who is in a Channel and in its rooms, over all replicas.
//
// Each replica counts its own sessions, by user, and says what has changed. It says
// so in absolute numbers and to whoever watches, so that nothing has to be stored,
// what is said twice does no harm, and who has missed something asks again. A
// replica that is not there any more takes its sessions with it.
//
// Those who watch are told at most once a second, and of a user who has gone only
// when it stays away: a client that reconnects has not left.
//
// It must not know what a session is, nor how replicas reach each other.
package presence
