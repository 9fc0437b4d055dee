// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package socketio is Socket.IO protocol version 5: namespaces, events, acks and
// binary attachments, above Engine.IO. Its source is the protocol's description,
// https://socket.io/docs/v4/socket-io-protocol/.
//
// Decoder reads what clients say, with the checks of the reference parser and a few
// more: it is a client's bytes that it reads, so every size is bounded and whatever
// is odd is an error, which ends the connection. It keeps something only while a
// binary packet is under way. The encoders write whole WebSocket frames, because an
// event is encoded once for all sessions of a namespace.
//
// It must not know who is connected to which namespace, nor what events mean.
package socketio
