// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"math"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// pressure is how short memory is. Each client's share is bounded, but many slow clients
// have many shares: before the process is killed, and everybody is thrown off, others get
// the newcomers, and the slowest clients go.
type pressure struct {
	percent atomic.Int32 // of the memory that the process may have, in use
	full    atomic.Bool  // newcomers had better go elsewhere
	short   atomic.Bool  // nobody is let in, and the slowest are closed
	shed    atomic.Uint64
}

// relief is how many percent below the limit a process is when it is not full any more.
const relief = 10

// shortAt is from how many percent on the slowest clients go: half-way from the limit
// to all.
func shortAt(limit int64) int32 { return int32((limit + 100 + 1) / 2) } //nolint:gosec // at most 100

// watchMemory looks after memory until the Server drains. Without GOMEMLIMIT nobody knows
// how much there is.
func (srv *Server) watchMemory() {
	most := debug.SetMemoryLimit(-1)
	if most == math.MaxInt64 {
		return
	}
	look := time.NewTicker(memoryLook)
	defer look.Stop()
	use := newMemoryUse()
	for {
		select {
		case <-srv.drained:
			return
		case <-look.C:
		}
		short := shortAt(srv.current.Load().settings.Pusher.Limits.MemoryPercent)
		live, all := use.read()
		if percentOf(all, most) >= short && percentOf(live, most) < short {
			runtime.GC() // much of it may have come since the last
			live, _ = use.read()
		}
		if srv.press(percentOf(live, most)) > 0 {
			runtime.GC() // so that the next look sees what that has brought
		}
	}
}

func percentOf(n uint64, most int64) int32 {
	return int32(min(n*100/uint64(max(most, 1)), 1000))
}

// press takes how many percent of the memory are in use, and does what that asks for. It
// returns how many clients had to go.
func (srv *Server) press(percent int32) (shed int) {
	p, limit := &srv.pressure, srv.current.Load().settings.Pusher.Limits.MemoryPercent
	p.percent.Store(percent)
	full := limit > 0 && int64(percent) >= limit || p.full.Load() && int64(percent) > limit-relief
	if was := p.full.Swap(full); was != full {
		srv.log.Warn("memory", "full", full, "percent", percent, "limit", limit)
	}
	short := limit > 0 && percent >= shortAt(limit)
	p.short.Store(short)
	if !short {
		return 0
	}
	var n atomic.Int64
	srv.onLoops(func(sh *shard) { n.Add(int64(sh.loop.Shed())) })
	shed = int(n.Load())
	p.shed.Add(uint64(shed)) //nolint:gosec // a count
	srv.log.Warn("memory is short: the slowest clients are closed", "percent", percent, "closed", shed)
	return shed
}

// memoryUse reads how much memory is in use.
type memoryUse struct{ samples []runtimemetrics.Sample }

// What memoryUse reads. What is free or not used within the heap comes back to use
// before more is asked for.
const (
	memoryTotal = iota
	memoryReleased
	memoryFree
	memoryUnused
	memoryObjects
	memoryLive
)

func newMemoryUse() *memoryUse {
	return &memoryUse{[]runtimemetrics.Sample{
		memoryTotal:    {Name: "/memory/classes/total:bytes"},
		memoryReleased: {Name: "/memory/classes/heap/released:bytes"},
		memoryFree:     {Name: "/memory/classes/heap/free:bytes"},
		memoryUnused:   {Name: "/memory/classes/heap/unused:bytes"},
		memoryObjects:  {Name: "/memory/classes/heap/objects:bytes"},
		memoryLive:     {Name: "/gc/heap/live:bytes"},
	}}
}

// read returns what was in use after the last collection, and what is with all that has
// come since.
func (m *memoryUse) read() (live, all uint64) {
	runtimemetrics.Read(m.samples)
	n := func(i int) uint64 { return m.samples[i].Value.Uint64() }
	all = n(memoryTotal) - n(memoryReleased) - n(memoryFree) - n(memoryUnused)
	return all - n(memoryObjects) + min(n(memoryLive), n(memoryObjects)), all
}

// pressed adds to a status how short memory is.
func (p *pressure) pressed(st *settings.Status) {
	st.MemoryPercent, st.Full = p.percent.Load(), p.full.Load()
}
