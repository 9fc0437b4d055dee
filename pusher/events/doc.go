// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package events is where publishers come in: the HTTP API of the events
// listener.
//
//	POST   /v1/channels/{channel}/events         one event, an array, an NDJSON stream, CloudEvents
//	GET    /v1/channels/{channel}/sessions       who is connected; ?user=, ?room=, ?limit=
//	DELETE /v1/channels/{channel}/sessions/{id}  ends a session
//
// It owns what a request looks like: strict decoding, limits, answers and
// problem details (RFC 9457). It promises that nothing is read from a caller who
// may not publish, that an array is stored whole or not at all, and that an
// event that is answered with an offset has been stored. A CloudEvent (HTTP
// Protocol Binding for CloudEvents 1.0.2) is the same event in whatever mode it comes.
//
// It must not know how tokens are verified, where events are kept or what a
// socket is: see the interfaces that Config holds.
package events
