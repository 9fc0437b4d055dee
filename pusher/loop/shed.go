// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"slices"
)

// shedPart of the connections that are behind are closed at once.
const shedPart = 8

// Shed closes, as too slow, those connections that have the most unsent bytes: an
// eighth of all whose peers take no more for now, at least one. It returns how many.
// It looks at every connection, and is for when memory is short.
func (l *Loop) Shed() int {
	type behind struct {
		slot  Slot
		bytes uint32
	}
	var all []behind
	for s := range Slot(l.conns.Len()) {
		if c := l.at(s); c.state == open && c.queue.bytes > 0 && (c.blocked || c.fd == NoSocket) {
			all = append(all, behind{s, c.queue.bytes})
		}
	}
	slices.SortFunc(all, func(a, b behind) int { return cmp.Compare(b.bytes, a.bytes) })
	slowest := all[:(len(all)+shedPart-1)/shedPart]
	for _, b := range slowest {
		l.tooSlow(b.slot, l.at(b.slot))
	}
	return len(slowest)
}
