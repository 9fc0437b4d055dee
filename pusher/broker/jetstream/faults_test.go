// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func codeOfError(err error) string {
	var coded interface{ Code() string }
	if errors.As(err, &coded) {
		return coded.Code()
	}
	return ""
}

// TestRestart: with file storage a node that comes back has everything, and the
// broker finds it by itself.
func TestRestart(t *testing.T) {
	o := natsOptions(t.TempDir())
	s := runNATS(t, o)
	c := testConfig(s.ClientURL(), nil)
	c.Storage, c.Timeout = File, 300*time.Millisecond
	r := newReplica(t, c, "a")
	first := r.publish(t, "a", &wire.Event{ID: "1"}, &wire.Event{ID: "2"})
	r.wait(t, "a", 2)
	stopNATS(s)

	begun := time.Now()
	_, err := r.Publish(t.Context(), "a", []*wire.Event{{ID: "3"}})
	if code := codeOfError(err); code != "broker_unavailable" || time.Since(begun) > 5*time.Second {
		t.Fatalf("Publish without NATS: %v, after %s", err, time.Since(begun))
	}
	eventually(t, "the broker is not healthy", func() bool { return r.Healthy() != nil })
	if _, err := r.Read(t.Context(), "a", wire.Range{Limit: 1}); codeOfError(err) != "broker_unavailable" {
		t.Fatalf("Read without NATS: %v", err)
	}
	if p, ok := r.Position("a"); !ok || p != first[1].Position {
		t.Fatalf("the position is %v (%v)", p, ok)
	}

	runNATS(t, o)
	eventually(t, "the broker is healthy", func() bool { return r.Healthy() == nil })
	eventually(t, "an event is taken", func() bool {
		_, err = r.Publish(t.Context(), "a", []*wire.Event{{ID: "3"}})
		return err == nil
	})
	again := r.publish(t, "a", &wire.Event{ID: "1"})
	if !again[0].Duplicate || again[0].Position != first[0].Position {
		t.Errorf("an event from before, again: %+v, was %+v", again[0], first[0])
	}
	r.wait(t, "a", 3)
	if got := r.losses(); len(got) > 0 {
		t.Errorf("lost: %v", got)
	}
	if p, err := r.Read(t.Context(), "a", wire.Range{After: first[0].Position, Limit: 10}); err != nil || len(p.Events) != 2 {
		t.Errorf("Read: %+v, %v", p, err)
	}
}

// TestStreamDeleted: when somebody deletes the stream the logs begin anew, and
// everybody is told.
func TestStreamDeleted(t *testing.T) {
	c := testConfig(oneNode(t).ClientURL(), nil)
	r, other := newReplica(t, c, "a"), newReplica(t, c, "a")
	before := r.publish(t, "a", &wire.Event{ID: "1"})[0].Position
	r.wait(t, "a", 1)
	other.wait(t, "a", 1)
	api, err := js.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := api.DeleteStream(t.Context(), c.Stream); err != nil {
		t.Fatal(err)
	}
	after := r.publish(t, "a", &wire.Event{ID: "1"})[0]
	if after.Position.Epoch == before.Epoch || after.Duplicate {
		t.Fatalf("%+v, before %v", after, before)
	}
	for _, r := range []*replica{r, other} {
		eventually(t, "it is in the new epoch", func() bool {
			p, ok := r.Position("a")
			return ok && p.Epoch == after.Position.Epoch
		})
		if got := r.losses(); len(got) != 1 || got[0].from != before || got[0].to.Epoch != after.Position.Epoch {
			t.Errorf("lost: %v", got)
		}
		var lost *wire.LostError
		if _, err := r.Read(t.Context(), "a", wire.Range{After: before, Limit: 1}); !errors.As(err, &lost) {
			t.Errorf("Read of the old epoch: %v", err)
		}
	}
	last := r.publish(t, "a", &wire.Event{Name: "last"})[0]
	for _, r := range []*replica{r, other} {
		eventually(t, "the last event is delivered", func() bool {
			got := r.delivered("a")
			return got[len(got)-1].pos == last.Position
		})
	}
}

// TestStreamFoundShorter: a stream that has less than was seen in it, as after a
// restored backup, has another epoch, the same for all replicas.
func TestStreamFoundShorter(t *testing.T) {
	c := testConfig(oneNode(t).ClientURL(), nil)
	r, other := newReplica(t, c, "a"), newReplica(t, c, "a")
	before := r.publish(t, "a", &wire.Event{}, &wire.Event{}, &wire.Event{})[2].Position
	r.wait(t, "a", 3)
	other.wait(t, "a", 3)
	api, err := js.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.Stream(t.Context(), c.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := api.DeleteStream(t.Context(), c.Stream); err != nil {
		t.Fatal(err)
	}
	if _, err := api.CreateStream(t.Context(), s.CachedInfo().Config); err != nil && !errors.Is(err, js.ErrStreamNameAlreadyInUse) {
		t.Fatal(err)
	}
	epochs := map[string]bool{}
	for _, r := range []*replica{r, other} {
		eventually(t, "the epoch is another", func() bool {
			p, ok := r.Position("a")
			return ok && p.Epoch != before.Epoch
		})
		p, _ := r.Position("a")
		epochs[p.Epoch] = true
	}
	if len(epochs) != 1 {
		t.Fatalf("the replicas are in different epochs: %v", epochs)
	}
	got := other.publish(t, "a", &wire.Event{Name: "after"})[0]
	eventually(t, "an event of the new epoch is delivered", func() bool {
		all := r.delivered("a")
		return all[len(all)-1].pos == got.Position
	})
}

// TestLeaderLoss: the nodes of a cluster are restarted one after the other, the
// leader of the stream first, while events with ids are published. Everything that
// was accepted is delivered exactly once, in order, to every replica.
func TestLeaderLoss(t *testing.T) {
	nodes := threeNodes(t)
	c := testConfig(nodes.url(), nil)
	c.Replicas, c.Storage = 3, File
	r, other := newReplica(t, c, "a", "b"), newReplica(t, c, "a", "b")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	counts := map[string]*int{"a": new(int), "b": new(int)}
	for channel, n := range counts {
		wg.Go(func() {
			for ; ; *n++ {
				select {
				case <-stop:
					return
				default:
				}
				evs := []*wire.Event{{ID: fmt.Sprint("id", *n), Name: fmt.Sprint(*n)}}
				if *n%3 == 0 {
					*n++
					evs = append(evs, &wire.Event{ID: fmt.Sprint("id", *n), Name: fmt.Sprint(*n)})
				}
				for { // a publisher tries again until it is told that it is stored
					_, err := r.Publish(t.Context(), channel, evs)
					if err == nil {
						break
					}
					t.Logf("Publish: %v", err)
				}
			}
		})
	}
	for range 3 {
		before := len(r.delivered("a"))
		i := leaderOf(t, nodes, c.Stream)
		nodes.restart(t, i)
		nodes.waitForLeader(t)
		eventually(t, "events flow again", func() bool { return len(r.delivered("a")) > before+50 })
		eventually(t, "the node has caught up", func() bool { return nodes.nodes[i].JetStreamIsCurrent() && caughtUp(nodes, i, c.Stream) })
	}
	close(stop)
	wg.Wait()
	for channel, n := range counts {
		for name, r := range map[string]*replica{"one": r, "other": other} {
			for i, d := range r.wait(t, channel, *n) {
				if d.name != fmt.Sprint(i) {
					t.Fatalf("%s: delivery %d of %s is event %s", name, i, channel, d.name)
				}
			}
			if got := r.losses(); len(got) > 0 {
				t.Errorf("%s: lost: %v", name, got)
			}
		}
	}
	t.Logf("%d and %d events, %+v, %+v", *counts["a"], *counts["b"], r.Stats(), other.Stats())
}

// leaderOf is the node that leads the stream.
func leaderOf(t *testing.T, c *cluster, stream string) (leader int) {
	t.Helper()
	eventually(t, "the stream has a leader", func() bool {
		for i, s := range c.nodes {
			if s.JetStreamIsStreamLeader("$G", stream) {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

func caughtUp(c *cluster, i int, stream string) bool {
	return c.nodes[i].JetStreamIsStreamCurrent("$G", stream)
}
