// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package slab keeps many small values of one kind by number.
//
// A push server keeps something for each of its connections at three layers (the
// socket, the membership, the session). A slice would copy all of it whenever it
// grows and leave the old copy to the collector in the middle of a storm of
// reconnects; an object each would be an allocation and a pointer to follow for
// every idle client. Pages do neither: growing copies nothing, and pointers to
// values stay good. Pages are never given back, so that numbers can be used
// again at once. It knows nothing of what it keeps, and has no lock.
package slab

const pageSize = 1024

// Slab is values by number, from 0 to Len.
type Slab[T any] struct {
	pages []*[pageSize]T
}

// At returns the i-th value, which must be there. The pointer stays good.
func (s *Slab[T]) At(i uint32) *T { return &s.pages[i/pageSize][i%pageSize] }

// Len is how many values there are.
func (s *Slab[T]) Len() uint32 { return uint32(len(s.pages) * pageSize) } //nolint:gosec // memory ends earlier

// Grow adds zero values until there is an i-th.
func (s *Slab[T]) Grow(i uint32) {
	for i >= s.Len() {
		s.pages = append(s.pages, new([pageSize]T))
	}
}
