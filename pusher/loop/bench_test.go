// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkInbox is what handing one item over costs, without the loop around it:
// a wake-up each when the loop keeps up, one for many when it does not.
func BenchmarkInbox(b *testing.B) {
	for name, batch := range map[string]int{"one": 1, "batch-of-64": 64} {
		b.Run(name, func(b *testing.B) {
			fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
			if err != nil {
				b.Fatal(err)
			}
			defer closeFD(fd)
			var box inbox
			box.init(fd)
			var spare []Work
			item := fn(func() {})
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				box.put(item)
				if n++; n == batch {
					drainEventfd(fd)
					taken := box.take(spare[:0])
					clear(taken)
					spare, n = taken, 0
				}
			}
		})
	}
}

// counted is work that counts itself.
type counted struct{ n *atomic.Int64 }

func (c counted) Run()    { c.n.Add(1) }
func (counted) Size() int { return 128 }

// BenchmarkPost is the way of one item from publishers to a loop that runs:
// one that waits until its item is done, and several that only wait for room.
func BenchmarkPost(b *testing.B) {
	running := func(b *testing.B) *Loop {
		l, err := New(&echo{}, Config{HeartbeatInterval: time.Minute, HeartbeatTimeout: time.Minute, MaxMessage: 1 << 10})
		if err != nil {
			b.Fatal(err)
		}
		go l.Run()
		b.Cleanup(l.Stop)
		return l
	}
	b.Run("and-wait", func(b *testing.B) {
		l, done := running(b), make(chan struct{})
		item := fn(func() { done <- struct{}{} })
		b.ReportAllocs()
		for b.Loop() {
			l.Post(item)
			<-done
		}
	})
	b.Run("publishers", func(b *testing.B) {
		l := running(b)
		var n atomic.Int64
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.Post(counted{&n})
			}
		})
		done := make(chan struct{})
		l.Post(fn(func() { close(done) })) // the last of all
		<-done
		if n.Load() != int64(b.N) {
			b.Fatalf("%d of %d items have run", n.Load(), b.N)
		}
	})
}
