// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Deliver is what a broker calls for each stored event.
type Deliver func(channel string, pos wire.Position, ev *wire.Event)

// Broker is what is held to the contract.
type Broker interface {
	Publish(ctx context.Context, channel string, events []*wire.Event) ([]wire.Receipt, error)
	Position(channel string) (wire.Position, bool)
	Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error)
	SetChannels(channels []settings.Channel)
}

// Factory makes an empty broker; it ends it with t.Cleanup.
type Factory func(t *testing.T, deliver Deliver) Broker

// patience is how long a broker may take to deliver what it stored.
const patience = 20 * time.Second

// Run tests everything that every broker promises.
func Run(t *testing.T, f Factory) {
	for name, test := range map[string]func(*testing.T, Factory){
		"UnknownChannel":         testUnknownChannel,
		"OrderAndSequence":       testOrderAndSequence,
		"Duplicates":             testDuplicates,
		"MadeUpIDs":              testMadeUpIDs,
		"EventsArriveUnchanged":  testEventsArriveUnchanged,
		"NewEpochAfterRemoval":   testNewEpochAfterRemoval,
		"NothingAfterRemoval":    testNothingAfterRemoval,
		"CancelledStoresNothing": testCancelledStoresNothing,
		"ConcurrentPublishers":   testConcurrentPublishers,
		"ConcurrentDuplicates":   testConcurrentDuplicates,
		"ChannelsDoNotWait":      testChannelsDoNotWait,
		"ReadsBack":              testReadsBack,
		"ReadsInPages":           testReadsInPages,
		"LostIsSaid":             testLostIsSaid,
		"HistoryOff":             testHistoryOff,
		"OtherLimits":            testOtherLimits,
		"ReadWhilePublishing":    testReadWhilePublishing,
		"Model":                  testModel,
	} {
		t.Run(name, func(t *testing.T) { test(t, f) })
	}
}

// delivery is one call of Deliver.
type delivery struct {
	pos wire.Position
	ev  *wire.Event
}

// recorder keeps what is delivered, by channel.
type recorder struct {
	mu      sync.Mutex
	byName  map[string][]delivery
	changed chan struct{} // closed and replaced at each delivery
}

func newRecorder() *recorder {
	return &recorder{byName: map[string][]delivery{}, changed: make(chan struct{})}
}

func (r *recorder) deliver(channel string, pos wire.Position, ev *wire.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byName[channel] = append(r.byName[channel], delivery{pos, ev})
	close(r.changed)
	r.changed = make(chan struct{})
}

// wait returns the channel's deliveries once there are n of them.
func (r *recorder) wait(t *testing.T, channel string, n int) []delivery {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		got, changed := slices.Clone(r.byName[channel]), r.changed
		r.mu.Unlock()
		if len(got) > n {
			t.Fatalf("%s: %d deliveries, want %d", channel, len(got), n)
		}
		if len(got) == n {
			return got
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: %d deliveries, want %d", channel, len(got), n)
		}
	}
}

// all returns the channel's deliveries so far.
func (r *recorder) all(channel string) []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.byName[channel])
}

// waitPosition waits until the broker is at the position.
func waitPosition(t *testing.T, b Broker, channel string, want wire.Position) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got, ok := b.Position(channel)
		if ok && got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: position is %v (%v), want %v", channel, got, ok, want)
		}
	}
}

// size is how many events the logs of most tests keep.
const size = 1000

// keeping is a channel whose log keeps some events.
func keeping(name string, size int64) settings.Channel {
	return settings.Channel{Name: name, UID: "uid of " + name, History: settings.History{Size: size, TTL: settings.Duration(time.Hour), Bytes: 64 << 20}}
}

// set gives the broker exactly these channels.
func set(b Broker, channels ...string) {
	var all []settings.Channel
	for _, name := range channels {
		all = append(all, keeping(name, size))
	}
	b.SetChannels(all)
}

// setNew is set, where the first channel is another of the name.
func setNew(b Broker, channels ...string) {
	var all []settings.Channel
	for _, name := range channels {
		all = append(all, keeping(name, size))
	}
	all[0].UID = "another"
	b.SetChannels(all)
}

// start makes a broker with channels.
func start(t *testing.T, f Factory, channels ...string) (Broker, *recorder) {
	t.Helper()
	r := newRecorder()
	b := f(t, r.deliver)
	set(b, channels...)
	return b, r
}

func publish(t *testing.T, b Broker, channel string, events ...*wire.Event) []wire.Receipt {
	t.Helper()
	got, err := b.Publish(t.Context(), channel, events)
	if err != nil {
		t.Fatalf("Publish to %s: %v", channel, err)
	}
	if len(got) != len(events) {
		t.Fatalf("Publish to %s: %d receipts for %d events", channel, len(got), len(events))
	}
	return got
}

func epochOf(t *testing.T, b Broker, channel string) string {
	t.Helper()
	p, ok := b.Position(channel)
	if !ok || p.Epoch == "" || len(p.Epoch) > 32 {
		t.Fatalf("%s: position is %v (%v)", channel, p, ok)
	}
	if back, err := wire.ParsePosition(p.String()); err != nil || back != p {
		t.Fatalf("position %v comes back as %v (%v)", p, back, err)
	}
	return p.Epoch
}
