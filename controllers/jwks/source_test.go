// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// issuer answers as a test wants.
type issuer struct {
	mu    sync.Mutex
	keys  string
	err   error
	reads int
}

func (i *issuer) fetch(context.Context, string) (json.RawMessage, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reads++
	return json.RawMessage(i.keys), i.err
}

func (i *issuer) answer(keys string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.err = keys, err
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reads
}

// run has a Source run inside a bubble until the test ends.
func run(t *testing.T, i *issuer) (s *Source, changes *atomic.Int64) {
	t.Helper()
	s = newSource(i.fetch)
	changes = new(atomic.Int64)
	s.Subscribe(func() { changes.Add(1) })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, changes
}

func want(t *testing.T, s *Source, keys, failure string) {
	t.Helper()
	synctest.Wait()
	got, err := s.Keys("u")
	if string(got) != keys || text(err) != failure {
		t.Errorf("keys %q, %v; want %q, %s", got, err, keys, failure)
	}
}

func TestKeysOutliveTheirIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{keys: "first"}
		s, changes := run(t, i)
		if _, err := s.Keys("u"); !errors.Is(err, ErrPending) {
			t.Errorf("at once: %v", err)
		}
		want(t, s, "first", "")
		time.Sleep(refresh + 2*time.Second)
		want(t, s, "first", "")
		if i.count() != 2 || changes.Load() != 1 {
			t.Errorf("%d reads, %d changes", i.count(), changes.Load())
		}
		i.answer("", errors.New("away"))
		for range 100 {
			time.Sleep(refresh)
			want(t, s, "first", "")
		}
		i.answer("second", nil)
		time.Sleep(lastRetry + 2*time.Second)
		want(t, s, "second", "")
		if changes.Load() != 2 {
			t.Errorf("%d changes", changes.Load())
		}
	})
}

func TestAnIssuerThatIsAwayIsAskedEverMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{err: errors.New("cannot be reached")}
		s, changes := run(t, i)
		_, _ = s.Keys("u")
		want(t, s, "", "cannot be reached")
		time.Sleep(time.Hour / 2)
		want(t, s, "", "cannot be reached")
		if i.count() < 8 || i.count() > 20 {
			t.Errorf("%d reads in half an hour", i.count())
		}
		i.answer("", errors.New("answers 404"))
		time.Sleep(lastRetry + 2*time.Second)
		want(t, s, "", "answers 404")
		if changes.Load() != 2 {
			t.Errorf("%d changes", changes.Load())
		}
	})
}

func TestAnUnknownKeyHasTheSetReadSoonButNotAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{keys: "first"}
		s, _ := run(t, i)
		_, _ = s.Keys("u")
		want(t, s, "first", "")
		i.answer("second", nil)
		for range 50 { // 100 seconds
			s.Refresh("u")
			s.Refresh("nosuch")
			time.Sleep(2 * time.Second)
		}
		want(t, s, "second", "")
		if i.count() < 3 || i.count() > 5 {
			t.Errorf("%d reads", i.count())
		}
	})
}

func TestWhatNobodyAsksForIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{keys: "first"}
		s, _ := run(t, i)
		_, _ = s.Keys("u")
		time.Sleep(forgetAfter + refresh)
		synctest.Wait()
		if len(s.sets) > 0 {
			t.Error("it is still there")
		}
		reads := i.count()
		time.Sleep(forgetAfter)
		if i.count() != reads {
			t.Error("it is still read")
		}
	})
}

// TestIssuersThatHangDoNotHoldUpOthers, up to a bound.
func TestIssuersThatHangDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := &issuer{keys: "good"}
		s := newSource(func(ctx context.Context, url string) (json.RawMessage, error) {
			if url == "u" {
				return good.fetch(ctx, url)
			}
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan error, 1)
		go func() { done <- s.Start(ctx) }()
		for n := range maxReads - 1 {
			_, _ = s.Keys(fmt.Sprint("hangs-", n))
		}
		_, _ = s.Keys("u")
		time.Sleep(lookEvery)
		want(t, s, "good", "")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTooManyURLs(t *testing.T) {
	s := newSource(nil)
	for n := range maxSets {
		_, _ = s.Keys(fmt.Sprint(n))
	}
	if _, err := s.Keys("u"); !errors.Is(err, errTooMany) {
		t.Error(err)
	}
	if _, err := s.Keys("0"); !errors.Is(err, ErrPending) {
		t.Error(err)
	}
}
