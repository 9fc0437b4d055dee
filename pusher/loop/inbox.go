// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Work is something for a Loop to do on its goroutine. It must not block.
type Work interface {
	Run()
}

// inboxLimit bounds how much work may wait. A publisher whose event finds every
// place taken waits until the loop has emptied the inbox.
const inboxLimit = 4096

// inbox hands work over to a loop. It is double-buffered: the loop swaps the
// filled slice for an empty one and works on it without the lock.
type inbox struct {
	// Static.
	wakeFD int

	// Guarded by mu.
	mu     sync.Mutex
	room   sync.Cond
	items  []Work
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
	for len(b.items) >= inboxLimit && !b.closed {
		b.room.Wait()
	}
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.items = append(b.items, w)
	// Written under the lock, so that the descriptor cannot be closed in between.
	if len(b.items) == 1 {
		b.wake()
	}
	b.mu.Unlock()
	return true
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
	b.items = spare
	if len(items) >= inboxLimit {
		b.room.Broadcast()
	}
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
