// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package client is what the command line says to a push server: it publishes
// over the events API and listens over plain WebSocket.
//
// It owns the wording of what goes wrong on the way, and promises to stop soon
// after its context does. It must not know flags, files or terminals: it reads
// from and writes to what it is given.
package client
