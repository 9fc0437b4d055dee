// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package account decides what became of each event for each subscriber.
//
// A publisher knows which events were acknowledged, and where: that is the Log. A
// subscriber writes down what it saw, in order: that is its Story. Judge
// compares the two, and every event that the subscriber was to get has exactly one
// end: it was received once and in order, or the subscriber was told that it cannot have it,
// or it was lost silently.
//
// It must not know protocols, processes or clocks; times are given to it.
package account
