// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import "testing"

func TestAStormIsOverOnce(t *testing.T) {
	var s storms
	for i, step := range []struct {
		opened, now uint64
		over        bool
	}{
		{0, 0, false},
		{500, 500, false}, // not many
		{500, 500, false},
		{20000, 20000, false}, // under way
		{23000, 23000, false},
		{23010, 23010, true}, // calm
		{23010, 23010, false},
		{24000, 23010, false}, // a trickle, less than a quarter
		{25500, 23010, false},
		{28000, 23010, false},
		{28001, 23010, true},
		{28001, 100, false}, // everybody goes
		{28001, 90, true},
		{28001, 90, false},
	} {
		if got := s.over(step.opened, step.now); got != step.over {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
