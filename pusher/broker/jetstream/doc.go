// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package jetstream is the broker of several replicas: NATS JetStream holds
// every Channel's log, and each replica delivers from it to its own sessions.
//
// It owns one stream for a Pusher, with one subject for a Channel's log, and the
// chain by which a replica knows that it has missed nothing: the stream
// republishes each event on a core subject together with its sequence and that of
// the log's event before. What does not follow is fetched from the stream first,
// so that nothing is delivered out of order, twice, or missed without a word.
//
// It promises what the methods of Broker say; the package brokertest holds it to
// the same words as the broker in memory. docs/adr/0011-nats-jetstream.md says
// why it is built like this and what it costs.
//
// It must not know who publishes, who listens or how either is connected, nor
// where NATS comes from: it is given options to connect with.
package jetstream
