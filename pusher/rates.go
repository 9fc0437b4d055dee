// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"fmt"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// rateBurst is how many seconds' worth of what has a rate may come at once.
const rateBurst = 2

// bucket is how much of its rate a client has used up.
type bucket struct {
	level float64 // of what has not run off yet
	at    time.Time
}

// pour reports whether there is room for n more, and takes it. A rate of 0 has no end.
func (b *bucket) pour(rate float64, n int, now time.Time) bool {
	if rate == 0 {
		return true
	}
	b.level = max(0, b.level-now.Sub(b.at).Seconds()*rate)
	b.at = now
	if b.level+float64(n) > rateBurst*rate {
		return false
	}
	b.level += float64(n)
	return true
}

// sharedBucket is one that several loops pour into.
type sharedBucket struct {
	mu sync.Mutex
	bucket
}

func (b *sharedBucket) pour(rate float64, n int, now time.Time) bool {
	if rate == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bucket.pour(rate, n, now)
}

// tooFast says why a session may not emit n events more now; nil: it may, and they are counted.
func (sh *shard) tooFast(s uint32, n int) *failure {
	ch, now := sh.sessions.At(s).channel, time.Now()
	if !sh.talkOf(s).emitted.pour(float64(ch.Limits.EmitRate), n, now) {
		ch.counters.refuse(refusedEmitRate)
		return &failure{Code: plain.CodeRate, Message: fmt.Sprintf("a client of this channel may emit, and publish to rooms, %d events a second: emit more slowly", ch.Limits.EmitRate)}
	}
	if !ch.counters.emitted.pour(float64(ch.Limits.TotalEmitRate), n, now) {
		ch.counters.refuse(refusedTotalRate)
		return &failure{Code: plain.CodeRate, Message: fmt.Sprintf("all clients of this channel together may emit %d events a second: try again later", ch.Limits.TotalEmitRate)}
	}
	return nil
}

// drip is a bucket in little room.
type drip struct {
	level float32 // of what has not run off yet
	at    uint32  // hundredths of a second since the shard's start
}

// asks reports whether a session may ask for something about n rooms, or for something
// else that counts as n, and takes it out of its rate.
func (sh *shard) asks(s uint32, n int) *failure {
	ses := sh.sessions.At(s)
	rate := float32(ses.channel.Limits.JoinRate)
	if rate == 0 {
		return nil
	}
	now := uint32(sh.now() / (10 * time.Millisecond)) //nolint:gosec // what wraps after a year is a moment's rate
	d := &ses.asked
	d.level = max(0, d.level-float32(now-d.at)/100*rate)
	d.at = now
	if d.level > 0 && d.level+float32(n) > rateBurst*rate {
		ses.channel.counters.refuse(refusedJoinRate)
		return &failure{Code: plain.CodeRate, Message: fmt.Sprintf(
			"a client of this channel may ask to join, leave and watch %d rooms a second, any other request counting as one: ask more slowly", ses.channel.Limits.JoinRate)}
	}
	d.level += float32(n)
	return nil
}
