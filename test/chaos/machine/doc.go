// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package machine runs a Pusher and its broker as processes of this machine: the
// programs as they are released, each with an address of its own on loopback, its
// settings and store in one directory.
//
// Everything that it starts ends with it: the kernel kills the processes when the
// one that started them ends, however it does. A process in a network of its own
// takes that network with it, if this program was killed while its link was cut only
// after minutes.
package machine
