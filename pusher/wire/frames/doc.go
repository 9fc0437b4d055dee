// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package frames reads and writes WebSocket frames (RFC 6455 section 5), as a
// server does and without I/O.
//
// Parse takes what has been read so far and returns the first whole frame or
// asks for more; it keeps nothing, so an idle connection costs nothing here.
// Assembler joins fragmented messages and exists only while one is under way.
// Every violation is an *Error that carries the close code to answer with.
//
// It must not know what messages mean, nor who reads or writes them.
package frames
