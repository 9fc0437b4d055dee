// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import "maps"

// index is a map that gives memory back when it has become much smaller, which
// Go's own maps never do: rooms come by the hundred thousand and vanish again.
type index[K comparable, V any] struct {
	byKey map[K]V
	peak  int // since it was last made anew
}

// minShrink is below which a map is not worth making anew.
const minShrink = 1024

func (x *index[K, V]) get(k K) (V, bool) {
	v, ok := x.byKey[k]
	return v, ok
}

func (x *index[K, V]) len() int { return len(x.byKey) }

func (x *index[K, V]) put(k K, v V) {
	if x.byKey == nil {
		x.byKey = map[K]V{}
	}
	x.byKey[k] = v
	x.peak = max(x.peak, len(x.byKey))
}

// remove copies what is left once three quarters are gone, so its cost is
// constant over many calls.
func (x *index[K, V]) remove(k K) {
	delete(x.byKey, k)
	if x.peak < minShrink || len(x.byKey) > x.peak/4 {
		return
	}
	left := make(map[K]V, len(x.byKey))
	maps.Copy(left, x.byKey)
	x.byKey, x.peak = left, len(left)
}
