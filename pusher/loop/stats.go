// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// LatencyBounds are the upper bounds of the latency histogram's buckets, in seconds.
var LatencyBounds = [...]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// Histogram counts observations by LatencyBounds. One goroutine observes, any may read.
type Histogram struct {
	counts  [len(LatencyBounds) + 1]atomic.Uint64
	sumNano atomic.Uint64
}

// Observe counts one observation of seconds.
func (h *Histogram) Observe(seconds float64) {
	i := 0
	for i < len(LatencyBounds) && seconds > LatencyBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sumNano.Add(uint64(max(seconds, 0) * 1e9))
}

// Read returns the counts by bucket, not cumulated (the last is above all
// bounds), and the sum in seconds.
func (h *Histogram) Read() (counts [len(LatencyBounds) + 1]uint64, sum float64) {
	for i := range counts {
		counts[i] = h.counts[i].Load()
	}
	return counts, float64(h.sumNano.Load()) / 1e9
}

// Stats are a loop's counters. Any goroutine may read them.
type Stats struct {
	connections atomic.Int64
	opened      atomic.Uint64
	deliveries  atomic.Uint64
	bytesIn     atomic.Uint64
	bytesOut    atomic.Uint64
	dropped     atomic.Uint64
	longestTurn atomic.Int64
	closes      map[wire.CloseCode]*atomic.Uint64
	otherCloses atomic.Uint64
	latency     Histogram
}

func (s *Stats) init() {
	s.closes = map[wire.CloseCode]*atomic.Uint64{}
	for _, i := range wire.CloseTable {
		s.closes[i.Code] = new(atomic.Uint64)
	}
}

func (s *Stats) closed(code wire.CloseCode) {
	if n := s.closes[code]; n != nil {
		n.Add(1)
		return
	}
	s.otherCloses.Add(1)
}

func (s *Stats) turn(d time.Duration) {
	if int64(d) > s.longestTurn.Load() {
		s.longestTurn.Store(int64(d))
	}
}

// Connections is how many descriptors the loop holds.
func (s *Stats) Connections() int64 { return s.connections.Load() }

// Opened is how many connections the loop has adopted.
func (s *Stats) Opened() uint64 { return s.opened.Load() }

// Deliveries is how many events have been written whole to a connection.
func (s *Stats) Deliveries() uint64 { return s.deliveries.Load() }

// BytesIn is how many bytes have been read.
func (s *Stats) BytesIn() uint64 { return s.bytesIn.Load() }

// BytesOut is how many bytes have been written.
func (s *Stats) BytesOut() uint64 { return s.bytesOut.Load() }

// Dropped is how many events were dropped because a connection's buffer was full.
func (s *Stats) Dropped() uint64 { return s.dropped.Load() }

// Closes is how many closes were begun or answered with a code of wire.CloseTable.
func (s *Stats) Closes(code wire.CloseCode) uint64 {
	if n := s.closes[code]; n != nil {
		return n.Load()
	}
	return s.otherCloses.Load()
}

// Latency is the time from an event's publishing to its last write on this loop.
func (s *Stats) Latency() *Histogram { return &s.latency }

// LongestTurn returns the longest turn since it was last called.
func (s *Stats) LongestTurn() time.Duration { return time.Duration(s.longestTurn.Swap(0)) }
