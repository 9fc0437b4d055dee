// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

const (
	// refresh is the time between two regular reads of a set.
	refresh = 10 * time.Minute
	// Gap is the least time between two reads that somebody asks for who has met an unknown
	// key.
	Gap = 30 * time.Second
	// firstRetry and lastRetry bound the time from a failed read to the next, which doubles.
	firstRetry = 2 * time.Second
	lastRetry  = 5 * time.Minute
	// forgetAfter is how long a set is kept that nobody asks for.
	forgetAfter = time.Hour
	// maxSets is how many URLs are known; maxReads how many are read at a time.
	maxSets  = 4096
	maxReads = 32
	// lookEvery is how often sets are looked at for whether they are due.
	lookEvery = time.Second
)

// Errors of Keys.
var (
	// ErrPending means that the keys are being fetched for the first time.
	ErrPending = errors.New("its keys are being fetched")
	errTooMany = errors.New("its keys are not fetched: there are too many jwksURLs")
)

// Source has the key sets of those URLs that it is asked for.
type Source struct {
	// Static.
	fetch func(ctx context.Context, url string) (json.RawMessage, error)
	wake  chan struct{}
	reads chan struct{} // has a place for each read under way

	mu sync.Mutex
	// Guarded by mu.
	sets     map[string]*set
	onChange func()
}

// set is what is known of a URL.
type set struct {
	keys  json.RawMessage // nil: none yet
	err   error           // of the last read
	asked time.Time       // by Keys
	read  time.Time       // began last
	due   time.Time
	retry time.Duration
	under bool
}

// New returns a Source that fetches when Start runs.
func New(options Options) *Source {
	f := newFetcher(options)
	return newSource(f.fetch)
}

func newSource(fetch func(context.Context, string) (json.RawMessage, error)) *Source {
	return &Source{fetch: fetch, wake: make(chan struct{}, 1), reads: make(chan struct{}, maxReads), sets: map[string]*set{}}
}

// Subscribe sets what is called after what Keys answers has changed.
func (s *Source) Subscribe(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onChange = f
}

// Keys returns a URL's set as it was last read, in the compact form of keyset.Compact. The
// error says in words for the Channel's author why there is none.
func (s *Source) Keys(url string) (json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.sets[url]
	if one == nil {
		if len(s.sets) >= maxSets {
			return nil, errTooMany
		}
		one = &set{retry: firstRetry}
		s.sets[url] = one
		s.look()
	}
	one.asked = time.Now()
	switch {
	case one.keys != nil:
		return one.keys, nil
	case one.err != nil:
		return nil, one.err
	}
	return nil, ErrPending
}

// Refresh has a set read soon, but not more often than Gap allows: somebody has met a
// token of a key that is not in it.
func (s *Source) Refresh(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.sets[url]; one != nil && time.Since(one.read) > Gap {
		one.due = time.Time{}
		s.look()
	}
}

func (s *Source) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Start fetches until the context ends.
func (s *Source) Start(ctx context.Context) error {
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for _, url := range s.due(time.Now()) {
			select {
			case s.reads <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			under.Go(func() {
				defer func() { <-s.reads }()
				s.readOne(ctx, url)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// due returns the URLs to read now, and forgets those that nobody asks for.
func (s *Source) due(now time.Time) (urls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for url, one := range s.sets {
		switch {
		case one.under:
		case now.Sub(one.asked) > forgetAfter:
			delete(s.sets, url)
		case !one.due.After(now):
			one.under, one.read = true, now
			urls = append(urls, url)
		}
	}
	return urls
}

// readOne reads a set. What a failed read leaves is what was known before.
func (s *Source) readOne(ctx context.Context, url string) {
	keys, err := s.fetch(ctx, url)
	s.mu.Lock()
	one := s.sets[url]
	before, failed := string(one.keys), text(one.err)
	one.under, one.err = false, err
	if err == nil {
		one.keys, one.retry, one.due = keys, firstRetry, time.Now().Add(refresh)
	} else {
		one.due = time.Now().Add(one.retry)
		one.retry = min(2*one.retry, lastRetry)
	}
	changed := before != string(one.keys) || one.keys == nil && failed != text(err)
	notify := s.onChange
	s.mu.Unlock()
	if changed && notify != nil && ctx.Err() == nil {
		notify()
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
