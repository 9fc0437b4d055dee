// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import "testing"

func TestAStormIsOverOnce(t *testing.T) {
	var s storms
	for i, step := range []struct {
		opened, now int64
		over        bool
	}{
		{0, 0, false},
		{500, 500, false}, // not many
		{500, 500, false},
		{20000, 20000, false}, // under way
		{23000, 23000, false},
		{23010, 23010, true}, // calm
		{23010, 23010, false},
		{23700, 23010, false}, // a trickle, less than a sixteenth
		{23700, 23010, false},
		{24400, 23010, false},
		{24400, 23010, true}, // stragglers
		{26000, 23010, false},
		{28000, 23010, false},
		{28001, 23010, true},
		{28001, 100, false}, // everybody goes
		{28001, 90, true},
		{28001, 90, false},
		{28001, 30000, false}, // a storm that a busy loop has not come to yet
		{28001, 30000, false},
		{57911, 30000, false},
		{57911, 30000, true},
	} {
		if got := s.over(step.opened, step.now); got != step.over {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
