// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package broker takes the events that publishers send and hands them on, in
// one order for each channel.
//
// It owns the order (epoch and sequence) and the memory of which ids were
// stored. It promises what the methods of Memory say; the package brokertest
// holds every broker to the same words.
//
// It must not know who publishes, who listens or how either is connected: it
// is given a function to deliver to.
package broker
