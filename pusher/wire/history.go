// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "time"

// Stored is an event that a broker keeps. Nobody changes it.
type Stored struct {
	Position  Position
	Event     *Event
	Published time.Time
}

// Range names a part of what a broker keeps of a channel.
type Range struct {
	// After is the position before the first event. The zero Position: from the
	// oldest that is kept.
	After Position
	// Upto is the sequence of the last event. 0: as far as there is.
	Upto uint64
	// Limit is how many events are wanted at most; at least 1.
	Limit int
}

// Page is what a broker answers to a Range: a part of it from its beginning.
type Page struct {
	Events []Stored
	// Through is how far the Page reaches: the Range's rest follows it.
	Through Position
	// More is whether there is a rest.
	More bool
	// Oldest is the earliest position that what follows is kept of.
	Oldest Position
}

// LostError means that events which follow a position are not kept any more, or
// never will be known, because the channel's log has begun anew.
type LostError struct {
	// Oldest is the earliest position that what follows is kept of.
	Oldest Position
	// Newest is where the log was when it was asked, which may be ahead of what has
	// been delivered here, and is not behind what has been anywhere.
	Newest Position
}

func (*LostError) Error() string {
	return "what follows that offset is not kept (any more)"
}

// Code is the stable word for the error that backends are shown.
func (*LostError) Code() string { return "history_lost" }
