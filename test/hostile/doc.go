// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostile attacks a push server, the program as it is shipped, and holds
// it to what its pages promise: who breaks the rules is refused with the documented
// status or close code, or cut off in the documented time, and nobody else notices.
//
// Witnesses of every protocol listen to one Channel all the while. An event that one
// of them misses, has twice or has out of order fails the attack under which it
// happened. When an attack is over, descriptors, goroutines and sessions must be as
// many as before; when all are over, so must memory, about.
//
// The bounds of time are generous: the tests must pass on a busy machine, and a
// server that stalls exceeds them by far. Fuzzing finds what single bytes do to
// parsers; here is what only a whole process shows: who waits for whom.
package hostile
