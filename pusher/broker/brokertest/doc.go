// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package brokertest holds brokers to their contract: what the methods of a
// broker promise is said in the package broker, and tested here in words that
// fit any broker, one that delivers at once and one that delivers later, from
// another process.
//
// It must not know any broker: a test passes in a Factory.
package brokertest
