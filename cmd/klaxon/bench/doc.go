// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bench measures a push server: how fast it takes connections, how fast
// and how exactly events arrive, what that costs.
//
// A Plan is connections, a publisher and a list of phases; Run carries it out and
// makes a Report, which is written as JSON, printed as a table, or compared with
// another. It promises that latency counts from when an event was due, so that a
// server that holds its publisher up does not look better for it, and that an
// event that is lost, doubled, out of order or in the wrong place is reported.
// What the clients do is package load's, publishing package events's.
//
// It must not know the server: everything goes through its public ports, and what
// is read of its process is what the kernel shows of any.
package bench
