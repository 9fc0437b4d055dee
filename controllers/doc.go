// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers makes what Channels and Pushers ask for true in the
// cluster, and says in their status how far it is.
//
// The PusherReconciler gathers the Channels of a Pusher with their Secrets,
// compiles settings, applies the rendered objects, nudges pods to read new
// settings and asks them what they serve. It alone writes a Pusher's status.
// What it finds out about each Channel it leaves on a board in memory. The
// ChannelReconciler gives a Channel its place (a Pusher of its own, or the one
// it names) and turns the board's report into the Channel's status, which it
// alone writes. So an object has one author, and an edit of one Channel
// touches no other's status.
//
// Each reconciler has its flow, its work (apply, gather, rollout) and its
// status in separate files; status is computed by pure functions. Nothing here
// seizes an object that something else controls, and nothing polls without a
// bound. It must not know how settings are compiled or objects look.
package controllers
