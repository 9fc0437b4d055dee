// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plain is the protocol of plain WebSocket clients, klaxon.v1.json:
// JSON objects with a "type", one in each text message. docs/protocol.md is its
// specification for those who write clients.
//
// It owns the shape of both sides' messages and nothing else: what a join does
// or who may do it is decided elsewhere.
package plain
