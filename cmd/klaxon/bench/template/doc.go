// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package template fills in the texts that a benchmark sends: URLs, headers,
// messages, bodies. Words in braces stand for what differs from one connection or
// event to the next: {ch} {room} {i} {seq} {data}. Other braces are text, for
// most of these texts are JSON.
//
// Templates are parsed once and filled in without allocating. They know nothing
// of what they are used for, and quote nothing.
package template
