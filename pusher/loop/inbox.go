// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Work is something for a Loop to do on its goroutine.
type Work interface {
	// Run does it. It must not block.
	Run()
	// Size is how many bytes it keeps in memory, where they count.
	Size() int
}

// These bound how much work may wait. A publisher whose event finds no room
// waits until the loop has emptied the inbox.
const (
	inboxLimit = 4096
	inboxBytes = 16 << 20
)

// inbox hands work over to a loop. It is double-buffered: the loop swaps the
// filled slice for an empty one and works on it without the lock.
type inbox struct {
	// Static.
	wakeFD int

	// Guarded by mu.
	mu     sync.Mutex
	room   sync.Cond
	items  []Work
	bytes  int
	closed bool
}

func (b *inbox) init(wakeFD int) {
	b.wakeFD = wakeFD
	b.room.L = &b.mu
}

// put appends w, waiting for room, and wakes the loop if the inbox was empty.
// It reports false, and w will not run, once the inbox is closed.
func (b *inbox) put(w Work) bool {
	b.mu.Lock()
	for b.full() && !b.closed {
		b.room.Wait()
	}
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.items = append(b.items, w)
	b.bytes += w.Size()
	// Written under the lock, so that the descriptor cannot be closed in between.
	if len(b.items) == 1 {
		b.wake()
	}
	b.mu.Unlock()
	return true
}

func (b *inbox) full() bool { return len(b.items) >= inboxLimit || b.bytes >= inboxBytes }

// waiting reports whether there is something to take. When it says no, the next
// put wakes the loop.
func (b *inbox) waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items) > 0
}

// wake makes the loop's next or current wait for events return.
func (b *inbox) wake() {
	one := [8]byte{7: 1}
	if _, err := unix.Write(b.wakeFD, one[:]); err != nil && err != unix.EAGAIN {
		panic("loop: write to eventfd: " + err.Error())
	}
}

// take swaps the waiting work for spare, which must be empty.
func (b *inbox) take(spare []Work) []Work {
	b.mu.Lock()
	items := b.items
	if b.full() {
		b.room.Broadcast()
	}
	b.items, b.bytes = spare, 0
	b.mu.Unlock()
	return items
}

// close refuses further work and returns what still waits.
func (b *inbox) close() []Work {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	items := b.items
	b.items = nil
	b.room.Broadcast()
	return items
}
