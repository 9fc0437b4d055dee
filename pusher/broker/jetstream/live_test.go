// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// replica is a broker and what it has delivered of each channel.
type replica struct {
	everything
	mu   sync.Mutex
	got  map[string][]delivery
	lost []loss
	slow func()
}

type delivery struct {
	pos  wire.Position
	id   string
	name string
}

type loss struct{ from, to wire.Position }

// newReplica starts a broker with channels that keep 1,000 events. A changed config
// may be given back by change.
func newReplica(t testing.TB, c Config, channels ...string) *replica {
	t.Helper()
	r := &replica{got: map[string][]delivery{}}
	c.Deliver = func(channel string, pos wire.Position, ev *wire.Event) {
		if r.slow != nil {
			r.slow()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got[channel] = append(r.got[channel], delivery{pos, ev.ID, ev.Name})
	}
	c.Lost = func(_ string, from, to wire.Position) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lost = append(r.lost, loss{from, to})
	}
	r.everything = everything{newBroker(t, c), t}
	r.SetChannels(keeping(channels...))
	return r
}

func keeping(names ...string) (all []settings.Channel) {
	for _, name := range names {
		all = append(all, settings.Channel{Name: name, UID: "uid of " + name, History: settings.History{
			Size: 1000, TTL: settings.Duration(5 * time.Minute), Bytes: 8 << 20,
		}})
	}
	return all
}

func (r *replica) delivered(channel string) []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[channel])
}

func (r *replica) losses() []loss {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lost)
}

// wait returns the channel's deliveries once there are n, and checks that they rise.
func (r *replica) wait(t testing.TB, channel string, n int) []delivery {
	t.Helper()
	eventually(t, fmt.Sprintf("%d events of %s are delivered", n, channel), func() bool { return len(r.delivered(channel)) >= n })
	got := r.delivered(channel)
	if len(got) > n {
		t.Fatalf("%d deliveries, want %d", len(got), n)
	}
	for i := 1; i < n; i++ {
		if got[i].pos.Epoch == got[i-1].pos.Epoch && got[i].pos.Seq <= got[i-1].pos.Seq {
			t.Fatalf("delivery %d is %v behind %v", i, got[i].pos, got[i-1].pos)
		}
	}
	return got
}

func (r *replica) publish(t testing.TB, channel string, evs ...*wire.Event) []wire.Receipt {
	t.Helper()
	got, err := r.Publish(t.Context(), channel, evs)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// unreliable drops, holds back and repeats live messages.
type unreliable struct {
	rnd  *rand.Rand
	held []*nats.Msg
}

func (u *unreliable) tap(m *nats.Msg, receive func(*nats.Msg)) {
	switch u.rnd.IntN(6) {
	case 0: // lost
	case 1:
		u.held = append(u.held, m)
	case 2:
		receive(m)
		receive(m)
	default:
		receive(m)
	}
	if len(u.held) > 0 && u.rnd.IntN(3) == 0 {
		i := u.rnd.IntN(len(u.held))
		receive(u.held[i])
		u.held = slices.Delete(u.held, i, i+1)
	}
}

// TestUnreliableLiveMessages: whatever becomes of live messages, every replica
// delivers every event once, in the same order.
func TestUnreliableLiveMessages(t *testing.T) {
	url := oneNode(t).ClientURL()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := testConfig(url, nil)
			var replicas []*replica
			for i := range uint64(2) {
				u := &unreliable{rnd: rand.New(rand.NewPCG(seed, i))}
				c.tap = u.tap
				replicas = append(replicas, newReplica(t, c, "a", "b"))
			}
			rnd := rand.New(rand.NewPCG(seed, 9))
			n := map[string]int{}
			for range 300 {
				channel := []string{"a", "b"}[rnd.IntN(2)]
				evs := make([]*wire.Event, 1+rnd.IntN(3))
				for i := range evs {
					evs[i] = &wire.Event{Name: fmt.Sprint(n[channel])}
					n[channel]++
				}
				replicas[rnd.IntN(2)].publish(t, channel, evs...)
			}
			for _, channel := range []string{"a", "b"} {
				one, two := replicas[0].wait(t, channel, n[channel]), replicas[1].wait(t, channel, n[channel])
				if !slices.Equal(one, two) {
					t.Fatalf("the replicas' deliveries differ")
				}
				for i, d := range one {
					if d.name != fmt.Sprint(i) {
						t.Fatalf("delivery %d is event %s", i, d.name)
					}
				}
			}
			for _, r := range replicas {
				if got := r.losses(); len(got) > 0 || r.Stats().Gaps == 0 || r.Stats().Repeated == 0 {
					t.Errorf("lost: %v, stats: %+v", got, r.Stats())
				}
			}
		})
	}
}

// TestTailCheck: a last message that is lost is noticed though nothing follows.
func TestTailCheck(t *testing.T) {
	c := testConfig(oneNode(t).ClientURL(), nil)
	c.tap = func(*nats.Msg, func(*nats.Msg)) {}
	r := newReplica(t, c, "a", "b", "c")
	for i := range 3 {
		r.publish(t, "a", &wire.Event{}, &wire.Event{})
		r.publish(t, "b", &wire.Event{})
		r.wait(t, "a", 2*(i+1))
		r.wait(t, "b", i+1)
	}
	if len(r.delivered("c")) > 0 || len(r.losses()) > 0 {
		t.Errorf("delivered of c: %v, lost: %v", r.delivered("c"), r.losses())
	}
}

// TestSlowDeliveries: more live messages than may wait are dropped, and fetched.
func TestSlowDeliveries(t *testing.T) {
	c := testConfig(oneNode(t).ClientURL(), nil)
	entered, release := make(chan struct{}), make(chan struct{})
	r := newReplica(t, c)
	var once sync.Once
	r.slow = func() { once.Do(func() { close(entered); <-release }) }
	all := keeping("a")
	all[0].History.Size = 10_000
	r.SetChannels(all)
	r.publish(t, "a", &wire.Event{Name: "0"})
	<-entered
	const n = waitingMessages + 500
	for i := 1; i < n; i += 10 {
		var evs []*wire.Event
		for j := i; j < min(i+10, n); j++ {
			evs = append(evs, &wire.Event{Name: fmt.Sprint(j)})
		}
		r.publish(t, "a", evs...)
	}
	eventually(t, "messages are dropped", func() bool { return r.Stats().Dropped > 0 })
	close(release)
	for i, d := range r.wait(t, "a", n) {
		if d.name != fmt.Sprint(i) {
			t.Fatalf("delivery %d is event %s", i, d.name)
		}
	}
	if got := r.losses(); len(got) > 0 {
		t.Fatalf("lost: %v", got)
	}
}

// TestWhatIsGoneIsSaid: what was missed and is not kept any more is told, and what
// follows is delivered.
func TestWhatIsGoneIsSaid(t *testing.T) {
	c := testConfig(oneNode(t).ClientURL(), nil)
	c.TailInterval = time.Hour
	var pass bool
	passed := make(chan struct{}, 100)
	var mu sync.Mutex
	c.tap = func(m *nats.Msg, receive func(*nats.Msg)) {
		mu.Lock()
		defer mu.Unlock()
		if pass {
			receive(m)
		}
		passed <- struct{}{}
	}
	r := newReplica(t, c, "a")
	first, _ := r.Position("a")
	missed := r.publish(t, "a", &wire.Event{Name: "1"}, &wire.Event{Name: "2"}, &wire.Event{Name: "3"})
	for range missed {
		<-passed
	}
	life := r.stream.life()
	if err := r.purge(r.subject(life.epoch, tokenOf(&keeping("a")[0])), missed[2].Position.Seq); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	pass = true
	mu.Unlock()
	r.publish(t, "a", &wire.Event{Name: "4"})
	got := r.wait(t, "a", 2)
	if got[0].name != "3" || got[1].name != "4" {
		t.Fatalf("delivered: %+v", got)
	}
	to := missed[2].Position
	to.Seq--
	if got := r.losses(); !slices.Equal(got, []loss{{first, to}}) {
		t.Fatalf("lost: %v, want what is between %v and %v", got, first, to)
	}
}

// TestUnknownFormatIsSaid: an event of another version is lost, and counted.
func TestUnknownFormatIsSaid(t *testing.T) {
	r := newReplica(t, testConfig(oneNode(t).ClientURL(), nil), "a")
	subject := r.subject(r.stream.life().epoch, tokenOf(&keeping("a")[0]))
	if _, err := r.nc.Request(subject, []byte("from the future"), patience); err != nil {
		t.Fatal(err)
	}
	r.publish(t, "a", &wire.Event{Name: "after"})
	if got := r.wait(t, "a", 1); got[0].name != "after" {
		t.Fatalf("delivered: %+v", got)
	}
	if s := r.Stats(); s.Unknown != 1 || s.Lost != 1 || len(r.losses()) != 1 {
		t.Fatalf("%+v, lost: %v", s, r.losses())
	}
}
