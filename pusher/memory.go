// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"runtime/debug"
	"time"
)

const (
	// memoryLook is how often the server looks whether a storm is over.
	memoryLook = time.Second
	// stormSize is how many connections must have come and gone since memory was
	// last given back, and a sixteenth of those that there are: a storm has stragglers.
	stormSize = 1000
)

// storms notices the end of a storm of reconnects. Each client that comes or
// goes leaves garbage behind, and Go keeps the heap that a storm needed for the
// next one. Here the next one is weeks away, and the memory is somebody else's.
type storms struct {
	counted int64 // connections opened and closed when memory was last given back
	last    int64 // at the last look
}

// over takes the numbers of connections that were ever opened and that there
// are now, with those that a loop has not opened yet. It reports true once after
// a storm, when things have calmed down.
func (s *storms) over(opened, now int64) bool {
	moved := 2*opened - now // opened and closed; less than before while many wait to be opened
	since, lately := moved-s.counted, moved-s.last
	s.last = moved
	if since < max(stormSize, now/16) || lately > since/20 {
		return false
	}
	s.counted = moved
	return true
}

// tidyHistory is how often the broker is asked to let go of what is too old.
const tidyHistory = 10 * time.Second

// tidyBroker has the broker drop what is too old, and what nobody listens to, until
// the Server drains.
func (srv *Server) tidyBroker() {
	tick := time.NewTicker(tidyHistory)
	defer tick.Stop()
	for {
		select {
		case <-srv.drained:
			return
		case <-tick.C:
			if k, ok := srv.broker.(keeper); ok {
				k.Tidy()
			}
			srv.detachIdle()
			srv.parked.tidy()
		}
	}
}

// releaseMemory gives memory back to the kernel after each storm, until the
// Server drains.
func (srv *Server) releaseMemory() {
	look := time.NewTicker(memoryLook)
	defer look.Stop()
	var s storms
	for {
		select {
		case <-srv.drained:
			return
		case <-look.C:
		}
		var opened, now int64
		for _, sh := range srv.shards {
			stats := sh.loop.Stats()
			opened += int64(stats.Opened()) //nolint:gosec // a count
			now += stats.Connections()
		}
		if s.over(opened, now) {
			debug.FreeOSMemory()
		}
	}
}
