// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hist

import (
	"encoding/json"
	"fmt"
	"math/bits"
)

const (
	// Values below 2*steps have a bucket each; above, each power of two is cut
	// into steps buckets.
	stepBits = 6
	steps    = 1 << stepBits
	buckets  = (63 - stepBits + 1) * steps
)

// Histogram counts values. The zero Histogram is empty and ready to use.
type Histogram struct {
	counts [buckets]uint64
	n      uint64
	sum    float64
	max    int64
}

// Add counts one value; a negative one is counted as 0.
func (h *Histogram) Add(v int64) {
	v = max(v, 0)
	h.counts[bucket(v)]++
	h.n++
	h.sum += float64(v)
	h.max = max(h.max, v)
}

// Merge adds what o has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// Count is how many values were added.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the largest value, exactly.
func (h *Histogram) Max() int64 { return h.max }

// Mean is the mean value; 0 when there is none.
func (h *Histogram) Mean() float64 { return h.sum / float64(max(h.n, 1)) }

// Quantile returns a value that at least the share q (0 to 1) of all values do
// not exceed. It is at most 1/64 above the smallest such value.
func (h *Histogram) Quantile(q float64) int64 {
	need := q * float64(h.n)
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if n > 0 && float64(seen) >= need {
			return min(top(i), h.max)
		}
	}
	return h.max
}

// bucket is the index of v's bucket.
func bucket(v int64) int {
	shift := max(bits.Len64(uint64(v))-stepBits-1, 0) //nolint:gosec // never negative
	return shift<<stepBits + int(v>>shift)
}

// top is the largest value of a bucket.
func top(i int) int64 {
	if i < 2*steps {
		return int64(i)
	}
	shift := i>>stepBits - 1
	return (int64(i-shift<<stepBits)+1)<<shift - 1
}

// packed is a Histogram in JSON: only buckets that count something.
type packed struct {
	N      uint64         `json:"n"`
	Sum    float64        `json:"sum"`
	Max    int64          `json:"max"`
	Counts map[int]uint64 `json:"counts,omitempty"`
}

// MarshalJSON writes the buckets that count something.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	p := packed{N: h.n, Sum: h.sum, Max: h.max, Counts: map[int]uint64{}}
	for i, n := range h.counts {
		if n > 0 {
			p.Counts[i] = n
		}
	}
	return json.Marshal(p)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var p packed
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*h = Histogram{n: p.N, sum: p.Sum, max: p.Max}
	for i, n := range p.Counts {
		if i < 0 || i >= buckets {
			return fmt.Errorf("a histogram has no bucket %d", i)
		}
		h.counts[i] = n
	}
	return nil
}
