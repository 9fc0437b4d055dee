// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// TestShedTakesTheSlowest: of nine that are behind the two that are so the most, and nobody
// who reads.
func TestShedTakesTheSlowest(t *testing.T) {
	h := start(t, Config{HeartbeatInterval: time.Hour})
	h.onOpen = func(s Slot, _ any) { h.loop.SetBuffer(s, 1<<20, settings.DropOldest) }
	for range 10 {
		adopt(t, h, nil)
	}
	var slots []Slot
	for range 10 {
		slots = append(slots, <-h.slots)
	}
	for i, s := range slots[1:] {
		fill(t, h, s, 20+i, 4000) // their sockets take a few
	}
	var shed int
	h.on(t, func() { shed = h.loop.Shed() })
	if shed != 2 {
		t.Fatalf("%d are shed", shed)
	}
	for range 2 {
		if s := <-h.gone; s != slots[8] && s != slots[9] {
			t.Errorf("slot %d is closed; the slowest are %v", s, slots[8:])
		}
	}
	h.on(t, func() {
		if n := h.loop.stats.Closes(wire.CloseSlow); n != 2 {
			t.Errorf("%d closes", n)
		}
		for _, s := range slots[:8] {
			if h.loop.at(s).state != open {
				t.Errorf("slot %d is not open", s)
			}
		}
	})
}
