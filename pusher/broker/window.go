// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import "time"

const (
	// DedupWindow is how long a stored ID is known.
	DedupWindow = 2 * time.Minute
	// DedupBytes bounds the memory for the IDs of one channel.
	DedupBytes = 8 << 20
	// idCost is what one ID takes besides its own bytes: its entries in the map
	// and in the queue, with room for their growth.
	idCost = 128
)

// window knows the IDs that were stored last: every one that is not older than
// DedupWindow, as long as all of them cost at most DedupBytes. When they cost
// more the oldest are forgotten early: with IDs of 36 bytes (UUIDs) that is
// where a channel takes more than 426 events with an ID per second, all along.
// What it knows is exact, there are no false answers. The zero window is empty.
type window struct {
	seqs  map[string]uint64
	queue queue[windowEntry] // by age, the oldest first
	bytes int
}

type windowEntry struct {
	id  string
	seq uint64
	at  time.Time
}

func (w *window) find(id string) (uint64, bool) {
	seq, ok := w.seqs[id]
	return seq, ok
}

// add remembers an ID that find does not know.
func (w *window) add(id string, seq uint64, now time.Time) {
	if w.seqs == nil {
		w.seqs = map[string]uint64{}
	}
	w.seqs[id] = seq
	w.queue.push(windowEntry{id, seq, now})
	w.bytes += idCost + len(id)
	for w.bytes > DedupBytes {
		w.pop()
	}
}

// forget drops what is older than DedupWindow.
func (w *window) forget(now time.Time) {
	for w.queue.len() > 0 && now.Sub(w.queue.at(0).at) > DedupWindow {
		w.pop()
	}
	if w.queue.len() == 0 {
		w.seqs = nil // a map gives nothing back
	}
}

func (w *window) pop() {
	e := w.queue.at(0)
	w.bytes -= idCost + len(e.id)
	delete(w.seqs, e.id)
	w.queue.pop()
}
