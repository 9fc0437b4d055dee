// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package peers lets the replicas of a Pusher find and ask one another, over the
// NATS that carries their events.
//
// Each replica says every two seconds that it is there, and where its clients
// listener can be reached. Questions go to all and are answered by each; requests
// of clients that poll are passed on to the replica that has their session, by
// HTTP. Nothing is kept: who is silent for a while is gone.
//
// It must not know what is asked.
package peers
