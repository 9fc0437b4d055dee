// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slotSize keeps the counters of two workers out of each other's pages.
const slotSize = 4096

// counters are what a worker tells while it works. Only it writes them.
type counters struct {
	delivered atomic.Uint64 // events received, by connections that are not behind on purpose
	behind    atomic.Uint64 // events received by those that are
	ready     atomic.Uint64 // connections that became ready
	failed    atomic.Uint64 // connections that did not
}

// board is memory that a fleet shares with its workers.
type board struct {
	file   *os.File
	memory []byte
}

// newBoard makes a board for n workers.
func newBoard(n int) (*board, error) {
	fd, err := unix.MemfdCreate("klaxon-bench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create shared memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "klaxon-bench")
	if err := file.Truncate(int64(n) * slotSize); err != nil {
		file.Close()
		return nil, fmt.Errorf("size shared memory: %w", err)
	}
	return openBoard(file)
}

// openBoard maps a board; it owns the file from then on.
func openBoard(file *os.File) (*board, error) {
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("map shared memory: %w", err)
	}
	return &board{file: file, memory: memory}, nil
}

// slot is the i-th worker's counters.
func (b *board) slot(i int) *counters { return (*counters)(unsafe.Pointer(&b.memory[i*slotSize])) }

// sum adds up the counters of all workers.
func (b *board) sum() Live {
	var l Live
	for i := range len(b.memory) / slotSize {
		s := b.slot(i)
		l.Delivered += s.delivered.Load()
		l.Behind += s.behind.Load()
		l.Ready += s.ready.Load()
		l.Failed += s.failed.Load()
	}
	return l
}

func (b *board) close() {
	_ = unix.Munmap(b.memory) // nothing can be done about it, and the process ends
	b.file.Close()
}
