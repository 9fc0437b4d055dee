// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hist

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBucketsAreInOrderAndNarrow(t *testing.T) {
	last := -1
	for v := int64(0); v < math.MaxInt64/51*50; v += 1 + v/50 {
		i := bucket(v)
		if i < last || i >= buckets {
			t.Fatalf("value %d is in bucket %d, a smaller one in %d", v, i, last)
		}
		last = i
		if over := top(i) - v; over < 0 || over > v/steps {
			t.Fatalf("bucket %d of %d ends at %d", i, v, top(i))
		}
	}
	if i := bucket(math.MaxInt64); i != buckets-1 || top(i) != math.MaxInt64 {
		t.Fatalf("the largest value is in bucket %d, which ends at %d", i, top(i))
	}
}

func TestQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	values := make([]int64, 10000)
	for i := range values {
		values[i] = int64(math.Exp(random.Float64() * 20))
		h.Add(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := values[max(int(math.Ceil(q*float64(len(values))))-1, 0)]
		if got := h.Quantile(q); got < want || got > want+want/steps {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if h.Max() != values[len(values)-1] || h.Quantile(1) != h.Max() || h.Count() != 10000 {
		t.Errorf("max %d, count %d", h.Max(), h.Count())
	}
}

func TestSmallValuesAreExact(t *testing.T) {
	var h Histogram
	for _, v := range []int64{-5, 1, 2, 3} {
		h.Add(v)
	}
	if h.Quantile(0.25) != 0 || h.Quantile(0.5) != 1 || h.Quantile(0.75) != 2 || h.Mean() != 1.5 {
		t.Errorf("quantiles %d %d %d, mean %v", h.Quantile(0.25), h.Quantile(0.5), h.Quantile(0.75), h.Mean())
	}
}

func TestEmpty(t *testing.T) {
	var h Histogram
	if h.Quantile(0.99) != 0 || h.Max() != 0 || h.Mean() != 0 {
		t.Error("an empty histogram has values")
	}
}

// TestMergeThroughJSON adds up two halves as the processes of a run do.
func TestMergeThroughJSON(t *testing.T) {
	var whole, sum Histogram
	var half [2]Histogram
	for i := range int64(1000) {
		whole.Add(i * 1000)
		half[i%2].Add(i * 1000)
	}
	for i := range half {
		b, err := json.Marshal(&half[i])
		if err != nil {
			t.Fatal(err)
		}
		var h Histogram
		if err := json.Unmarshal(b, &h); err != nil {
			t.Fatal(err)
		}
		sum.Merge(&h)
	}
	if sum != whole {
		t.Error("the halves do not add up to the whole")
	}
	if err := json.Unmarshal([]byte(`{"n":1,"counts":{"99999":1}}`), &sum); err == nil {
		t.Error("a bucket that does not exist is taken")
	}
}
