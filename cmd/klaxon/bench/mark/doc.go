// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mark makes and finds the mark that every event of a benchmark carries
// in its data: which group it is for, its number there, and when it was due.
//
//	~g000017s0000000042t0000123456789012345~xxxxxxxx
//
// It is ASCII that neither JSON nor any other envelope changes, and of fixed
// length, so that a client finds it by one search, without parsing the envelope.
// It knows nothing of envelopes, channels or rooms.
package mark
