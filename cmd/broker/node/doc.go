// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node runs one nats-server with JetStream inside this process, alone
// or as one of three, for pushers of one cluster.
//
// It owns the server's options, its credentials and certificates (read again
// when they change on disk), its probes, metrics and status, and its end.
//
// Promises. What a publisher got an acknowledgement for survives the loss of
// the process (one node: of the machine as well, because every write is
// synced), and with three nodes the loss of any one node with its disk. Clients
// reach one account and nothing of the system's. /healthz and /startupz need no
// quorum, so that three nodes can start at once; /readyz and /status do. Run
// ends within StopTimeout of its context's end. A server that can serve no
// more ends the process: nothing limps. Two processes never use one store at the
// same time, where the file system has locks.
//
// It must not know Kubernetes, Channels, or what is published.
package node
