// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// rateBurst is how many seconds' worth of events may be published at once.
	rateBurst = 2
	// maxBuckets is how many publishers' rates are known before those are forgotten that
	// have published nothing lately.
	maxBuckets = 4096
)

// rates know how much of their rate publishers have used up.
type rates struct {
	mu      sync.Mutex
	buckets map[rateKey]*bucket
}

type rateKey struct{ channel, uid, identity string }

// bucket fills with events and runs off at the rate.
type bucket struct {
	level float64 // of what has not run off yet
	rate  float64
	at    time.Time
}

func (b *bucket) run(now time.Time) {
	b.level = max(0, b.level-now.Sub(b.at).Seconds()*b.rate)
	b.at = now
}

// take takes n events out of a publisher's rate and returns 0, or takes nothing and says
// how long to wait. More than fits at once is taken from a bucket that is empty.
func (r *rates) take(req *request, n int, now time.Time) time.Duration {
	rate := float64(req.settings.Limits.PublishRate)
	if rate == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucket(req, now)
	b.rate = rate
	b.run(now)
	if over := b.level + float64(n) - rateBurst*rate; over > 0 && b.level > 0 {
		return time.Duration(min(over, b.level) / rate * float64(time.Second))
	}
	b.level += float64(n)
	return 0
}

func (r *rates) bucket(req *request, now time.Time) *bucket {
	key := rateKey{req.channel, req.settings.UID, req.grant.Identity}
	if b := r.buckets[key]; b != nil {
		return b
	}
	if len(r.buckets) >= maxBuckets {
		for k, b := range r.buckets {
			if b.run(now); b.level == 0 {
				delete(r.buckets, k)
			}
		}
	}
	if r.buckets == nil {
		r.buckets = map[rateKey]*bucket{}
	}
	b := &bucket{at: now}
	r.buckets[key] = b
	return b
}

// tooFast tells a publisher when to come back.
func tooFast(req *request, wait time.Duration) *problem {
	p := newProblem(http.StatusTooManyRequests, codeRate,
		"more than the %d events a second that one publisher may publish to this channel through one replica (limits.publishRate): send them again after Retry-After, with the same ids",
		req.settings.Limits.PublishRate)
	p.retryAfter = strconv.Itoa(int(math.Ceil(wait.Seconds())))
	return p
}
