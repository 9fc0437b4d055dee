// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package slab

import "testing"

func TestValuesStayWhereTheyAreWhileTheSlabGrows(t *testing.T) {
	var s Slab[int]
	if s.Len() != 0 {
		t.Fatalf("an empty slab has %d values", s.Len())
	}
	s.Grow(0)
	first, before := s.At(0), s.Len()
	*first = 7
	s.Grow(before - 1)
	if s.Len() != before {
		t.Errorf("grew from %d to %d without need", before, s.Len())
	}
	s.Grow(5 * before)
	if s.Len() <= 5*before || *s.At(5 * before) != 0 {
		t.Errorf("%d values after growing to %d", s.Len(), 5*before)
	}
	if s.At(0) != first || *s.At(0) != 7 {
		t.Error("the first value has moved")
	}
}
