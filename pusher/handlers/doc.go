// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package handlers tells backends what clients do, and reads what they answer. A call
// is an HTTP POST of one CloudEvent (version 1.0, binary mode), signed as Standard
// Webhooks has it; docs/handlers.md is normative for both directions.
//
// It promises that a backend that is slow, gone or wrong costs its own callers an error
// and nobody else anything: each target has a number of calls that may be under way, a
// number that may wait for that, a time for each, and is left alone for a while once it
// has failed often enough. What is repeated has the same id.
//
// It must not know what sessions and loops are: who calls keeps the order of a client's
// calls, and does what an answer asks for.
package handlers
