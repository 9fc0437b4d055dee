// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// cacheSize is how many tokens each half of a cache remembers. An entry takes
	// about a hundred bytes, besides what the token says.
	cacheSize = 4096
	// maxCached is how many bytes a client's token may say to be remembered.
	maxCached = 1024
)

// cache remembers whose a token is until the token ends, because a publisher
// sends the same one with every request and a browser with every reconnect, and
// verifying costs more than everything else about them. It belongs to one
// Verifier, so with new settings it begins anew. A token is known by its SHA-256.
//
// There are two halves: what is found in the old one moves to the fresh one, and
// when that is full it becomes the old one. So it is bounded, and what is in use
// stays.
type cache[T any] struct {
	mu         sync.Mutex
	fresh, old map[[sha256.Size]byte]entry[T]
}

type entry[T any] struct {
	value T
	until int64 // Unix seconds
}

// cacheKey is of a token that was sent to a channel, or to "" for all of them.
func cacheKey(channel, token string) [sha256.Size]byte {
	var room [512]byte
	b := append(append(append(room[:0], channel...), 0), token...)
	return sha256.Sum256(b)
}

func (c *cache[T]) get(key [sha256.Size]byte, now time.Time) (value T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.fresh[key]
	if !ok {
		if e, ok = c.old[key]; ok {
			c.put(key, e)
		}
	}
	if !ok || now.Unix() >= e.until {
		return value, false
	}
	return e.value, true
}

func (c *cache[T]) add(key [sha256.Size]byte, value T, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(key, entry[T]{value, until.Unix()})
}

func (c *cache[T]) put(key [sha256.Size]byte, e entry[T]) {
	if len(c.fresh) >= cacheSize {
		c.fresh, c.old = nil, c.fresh
	}
	if c.fresh == nil {
		c.fresh = map[[sha256.Size]byte]entry[T]{}
	}
	c.fresh[key] = e
}
