// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import "github.com/klaxon-dev/klaxon/cmd/klaxon/bench/hist"

// Live is what the connections have done so far.
type Live struct {
	// Delivered is how many events were received, by connections that read all
	// the time; Behind, by those that had stopped.
	Delivered, Behind uint64
	// Ready and Failed are how many connections became ready, or did not.
	Ready, Failed uint64
}

// Connected is how connecting went.
type Connected struct {
	Ready, Failed int
	// Began and Ended are the first and last moment of it, as mark.Now has them.
	Began, Ended int64
	// Latency is from a connection's first packet until it was ready, in nanoseconds.
	Latency hist.Histogram
	// Failures counts by reason.
	Failures map[string]int
}

func (c *Connected) add(o *Connected) {
	c.Ready += o.Ready
	c.Failed += o.Failed
	if c.Began == 0 || o.Began < c.Began {
		c.Began = o.Began
	}
	c.Ended = max(c.Ended, o.Ended)
	c.Latency.Merge(&o.Latency)
	count(&c.Failures, o.Failures)
}

// Received is what the connections received between Begin and End.
type Received struct {
	Delivered uint64 // events
	Reads     uint64 // system calls that brought something
	Bytes     uint64 // that they brought
	// Latency is from when an event was due until it was read, in nanoseconds.
	Latency hist.Histogram
	Faults
	// Closed counts connections that ended, by reason; ClosedSlow those of them
	// that had stopped reading.
	Closed, ClosedSlow map[string]int
}

// Faults are what must not happen.
type Faults struct {
	// Duplicated events came more than once; Reordered ones after a later one;
	// Foreign ones were for another channel or room.
	Duplicated, Reordered, Foreign uint64
	// Missing events never came, without a word; Dropped ones neither, but a
	// gap told so. Gaps counts the gaps.
	Missing, Dropped, Gaps uint64
}

func (r *Received) add(o *Received) {
	r.Delivered += o.Delivered
	r.Reads += o.Reads
	r.Bytes += o.Bytes
	r.Latency.Merge(&o.Latency)
	r.Duplicated += o.Duplicated
	r.Reordered += o.Reordered
	r.Foreign += o.Foreign
	r.Missing += o.Missing
	r.Dropped += o.Dropped
	r.Gaps += o.Gaps
	count(&r.Closed, o.Closed)
	count(&r.ClosedSlow, o.ClosedSlow)
}

// Members is how many connections of each group read now.
type Members struct {
	Reading []int
}

func (m *Members) add(o *Members) {
	if m.Reading == nil {
		m.Reading = make([]int, len(o.Reading))
	}
	for i, n := range o.Reading {
		m.Reading[i] += n
	}
}

// Total is how many connections read.
func (m *Members) Total() int {
	total := 0
	for _, n := range m.Reading {
		total += n
	}
	return total
}

func count(sum *map[string]int, more map[string]int) {
	if *sum == nil {
		*sum = map[string]int{}
	}
	for reason, n := range more {
		(*sum)[reason] += n
	}
}
