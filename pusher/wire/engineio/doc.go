// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package engineio is Engine.IO protocol version 4 (EIO=4), the layer below
// Socket.IO: packets, the payloads of HTTP long-polling, the answers to a
// handshake, and a session's state. Its source is the protocol's description,
// https://socket.io/docs/v4/engine-io-protocol/.
//
// A packet is a digit and data. By WebSocket it is one text message, or one binary
// message for data that are bytes; by polling, packets are joined into one text.
//
// What it reads, it reads strictly: every client meets the same rules here, and
// what is accepted could have been written by AppendPacket. It must not know what
// messages mean, nor who carries packets.
package engineio
