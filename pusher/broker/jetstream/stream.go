// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

const (
	// repairSize is how many messages of a log are kept even when its history is
	// off: what a replica has missed is fetched from them.
	repairSize = 256
	// extraAge is how much longer than promised messages are kept, and markAge how
	// much older than promised the last message is when a mark takes its place.
	extraAge = 2 * time.Minute
	markAge  = time.Minute

	metaEpoch = "klaxon-epoch"
	// lookAgain is how often, and after what time, a stream that seems shorter than
	// it was is looked at before that is believed: a new leader may not have
	// applied all that is stored.
	lookAgain     = 3
	lookAgainTime = 300 * time.Millisecond
)

// limits is what the stream must keep of each log.
type limits struct {
	messages int64
	age      time.Duration
}

// wanted is what the logs of channels need.
func wanted(channels []settings.Channel) *limits {
	w := &limits{messages: repairSize, age: dedupWindow}
	for i := range channels {
		h := &channels[i].History
		w.messages = max(w.messages, h.Size+2) // one to know what was dropped by, one mark
		w.age = max(w.age, h.TTL.Std())
	}
	w.age += extraAge
	return w
}

// life is one life of the stream. All of its subjects have its epoch in them, so
// that nothing of one life is ever taken for something of another.
type life struct {
	// Static.
	epoch string
	// seen is the highest sequence that was seen in it.
	seen atomic.Uint64
}

func (l *life) saw(seq uint64) {
	for {
		old := l.seen.Load()
		if seq <= old || l.seen.CompareAndSwap(old, seq) {
			return
		}
	}
}

// stream is what is known of the stream.
type stream struct {
	wanted atomic.Pointer[limits]
	now    atomic.Pointer[life]
	age    atomic.Int64 // how long it keeps messages, in ns

	// Guarded by mu.
	mu      sync.Mutex
	ready   chan struct{} // closed once there is a life
	problem error

	// ensuring is held while the stream is asked for or changed.
	ensuring sync.Mutex
}

func (s *stream) life() *life { return s.now.Load() }

func (s *stream) maxAge() time.Duration { return time.Duration(s.age.Load()) }

// last is the highest sequence that was seen in the stream's life.
func (s *stream) last() (epoch string, seq uint64) {
	if l := s.life(); l != nil {
		return l.epoch, l.seen.Load()
	}
	return "", 0
}

func (s *stream) trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == nil && s.life() == nil {
		return errors.New("the stream has not been found yet")
	}
	return s.problem
}

// await returns the stream's life as soon as there is one.
func (b *Broker) await(ctx context.Context) (*life, error) {
	if l := b.stream.life(); l != nil {
		return l, nil
	}
	select {
	case <-b.stream.ready:
		return b.stream.life(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.ctx.Done():
		return nil, ErrClosed
	}
}

// ensure finds the stream, makes it if there is none, and lets it keep more if
// that is wanted. It never lets it keep less: another replica may have newer
// settings. When the stream has begun anew, so does everything here.
func (b *Broker) ensure(ctx context.Context) error {
	s := &b.stream
	s.ensuring.Lock()
	defer s.ensuring.Unlock()
	info, err := b.fit(ctx)
	s.mu.Lock()
	s.problem = err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.age.Store(int64(info.Config.MaxAge))
	prev, epoch := s.now.Load(), info.Config.Metadata[metaEpoch]
	if prev != nil && prev.epoch == epoch {
		prev.saw(info.State.LastSeq)
		return nil
	}
	next := &life{epoch: epoch}
	next.saw(info.State.LastSeq)
	s.now.Store(next)
	if prev == nil {
		close(s.ready)
		return nil
	}
	b.config.Log.Warn("the stream has begun anew", "epoch", epoch)
	b.kick() // attaches all logs to it
	return nil
}

// fit returns the stream as it is once it fits.
func (b *Broker) fit(ctx context.Context) (*js.StreamInfo, error) {
	api, err := js.New(b.nc)
	if err != nil {
		return nil, err
	}
	want := b.stream.wanted.Load()
	if want == nil {
		want = wanted(nil)
	}
	shorter := 0
	for {
		was, seen := b.stream.last() // before asking: more may come meanwhile
		info, err := b.findOrMake(ctx, api, want)
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", b.config.Stream, err)
		}
		c := info.Config
		epoch := c.Metadata[metaEpoch]
		switch {
		case epoch == "" || !c.AllowAtomicPublish || !c.AllowDirect:
			return nil, fmt.Errorf("stream %s is not ours, or NATS is older than 2.12", c.Name)
		case epoch == was && info.State.LastSeq < seen:
			if shorter++; shorter < lookAgain {
				if err := sleep(ctx, lookAgainTime); err != nil {
					return nil, err
				}
				continue
			}
			epoch = followOn(epoch)
		case c.MaxMsgsPerSubject >= want.messages && c.MaxAge >= want.age && c.Replicas == b.config.Replicas:
			return info, nil
		}
		change := b.streamConfig(epoch, &limits{max(c.MaxMsgsPerSubject, want.messages), max(c.MaxAge, want.age)})
		change.Storage = c.Storage
		if _, err := api.UpdateStream(ctx, change); err != nil {
			return nil, fmt.Errorf("change stream %s: %w", c.Name, err)
		}
	}
}

func (b *Broker) findOrMake(ctx context.Context, api js.JetStream, want *limits) (*js.StreamInfo, error) {
	found, err := api.Stream(ctx, b.config.Stream)
	if errors.Is(err, js.ErrStreamNotFound) {
		found, err = api.CreateStream(ctx, b.streamConfig(newEpoch(), want))
		if errors.Is(err, js.ErrStreamNameAlreadyInUse) { // another replica was faster
			found, err = api.Stream(ctx, b.config.Stream)
		}
	}
	if err != nil {
		return nil, err
	}
	return found.CachedInfo(), nil
}

func (b *Broker) streamConfig(epoch string, l *limits) js.StreamConfig {
	storage := js.FileStorage
	if b.config.Storage == Memory {
		storage = js.MemoryStorage
	}
	return js.StreamConfig{
		Name: b.config.Stream, Description: "The events of a Klaxon Pusher's Channels",
		Subjects: []string{b.subject(epoch, ">")}, Storage: storage, Replicas: b.config.Replicas,
		MaxMsgsPerSubject: l.messages, MaxAge: l.age, Discard: js.DiscardOld, Duplicates: dedupWindow,
		AllowDirect: true, AllowAtomicPublish: true,
		RePublish: &js.RePublish{Source: b.subject(epoch, ">"), Destination: b.liveSubject(epoch, ">")},
		Metadata:  map[string]string{metaEpoch: epoch},
	}
}

// subject is where a log's events are published, and liveSubject where they are
// published again once they are stored.
func (b *Broker) subject(epoch, token string) string {
	return b.config.Prefix + ".ev." + epoch + "." + token
}

func (b *Broker) liveSubject(epoch, token string) string {
	return b.config.Prefix + ".live." + epoch + "." + token
}

// newEpoch names one life of a stream: 40 random bits in lower-case base 32.
func newEpoch() string {
	var r [5]byte
	_, _ = rand.Read(r[:]) // never fails
	return encoding.EncodeToString(r[:])
}

// followOn is the epoch after one whose stream was found shorter: the same for all
// replicas that find it.
func followOn(epoch string) string {
	h := sha256.Sum256([]byte("after " + epoch))
	return encoding.EncodeToString(h[:5])
}

// tokenSize is the length of a token.
const tokenSize = 16

// tokenOf names a channel's log in subjects.
func tokenOf(c *settings.Channel) string {
	id := "name " + c.Name
	if c.UID != "" {
		id = "uid " + c.UID
	}
	h := sha256.Sum256([]byte(id))
	return encoding.EncodeToString(h[:10])
}

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// sleep waits, but no longer than the context.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
