// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

// createStream makes a stream of three replicas.
func createStream(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	var stream jetstream.Stream
	eventually(t, "the stream is made", func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		stream, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}, Replicas: 3, Duplicates: 10 * time.Minute})
		return err
	})
	return stream
}

// publisher publishes without a pause, each message again until it is
// acknowledged.
type publisher struct {
	t     *testing.T
	count atomic.Int64 // of acked
	stop  context.CancelFunc
	done  sync.WaitGroup

	// Written by its goroutine, read after end.
	acked   []string // ids, in order
	longest time.Duration
}

func publish(t *testing.T, js jetstream.JetStream) *publisher {
	ctx, cancel := context.WithCancel(t.Context())
	p := &publisher{t: t, stop: cancel}
	p.done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			id, began := fmt.Sprintf("message-%d", i), time.Now()
			for ctx.Err() == nil {
				attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
				_, err := js.PublishMsg(attempt, nats.NewMsg("orders"), jetstream.WithMsgID(id))
				cancel()
				if err == nil {
					p.acked = append(p.acked, id)
					p.count.Add(1)
					p.longest = max(p.longest, time.Since(began))
					break
				}
			}
		}
	})
	t.Cleanup(func() {
		p.stop()
		p.done.Wait()
	})
	return p
}

// end stops the publisher, once it has seen that messages are taken now.
func (p *publisher) end() {
	p.t.Helper()
	before := p.count.Load()
	eventually(p.t, "messages are taken", func() error {
		if p.count.Load() == before {
			return errors.New("none since")
		}
		return nil
	})
	p.stop()
	p.done.Wait()
	p.t.Logf("%d messages, the longest wait for an acknowledgement %s", len(p.acked), p.longest.Round(time.Millisecond))
}

// read returns the ids of all messages of the stream.
func read(t *testing.T, stream jetstream.Stream) (ids []string, err error) {
	info, err := stream.Info(t.Context())
	if err != nil {
		return nil, err
	}
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	for uint64(len(ids)) < info.State.Msgs {
		batch, err := consumer.Fetch(500, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return nil, err
		}
		for msg := range batch.Messages() {
			ids = append(ids, msg.Headers().Get(nats.MsgIdHdr))
		}
		if err := batch.Error(); err != nil {
			return nil, fmt.Errorf("after %d of %d messages: %w", len(ids), info.State.Msgs, err)
		}
	}
	return ids, nil
}

// holds fails unless the stream has every acknowledged message once, in order.
func holds(t *testing.T, stream jetstream.Stream, acked []string) {
	t.Helper()
	var got []string
	eventually(t, "the stream is read", func() (err error) { // a request may fall into an election
		got, err = read(t, stream)
		return err
	})
	seen := map[string]int{}
	for _, id := range got {
		if seen[id]++; seen[id] > 1 {
			t.Errorf("%s is stored twice", id)
		}
	}
	next := 0
	for _, id := range got {
		if next < len(acked) && id == acked[next] {
			next++
		}
	}
	if next < len(acked) {
		t.Errorf("%s was acknowledged and is lost, or out of order; %d of %d found", acked[next], next, len(acked))
	}
}

// TestColdStart: three nodes start in any order, also all at once after a crash
// of all; without a quorum a node lives and is not ready.
func TestColdStart(t *testing.T) {
	t.Parallel() // they wait for elections, mostly
	all := trio(t, "--credentials="+secretsDir(t))
	all[1].start()
	eventually(t, "one node of three has started", func() error { return all[1].probe("/startupz") })
	for path, want := range map[string]bool{"/healthz": true, "/startupz": true, "/readyz": false, "/metrics": true} {
		if err := all[1].probe(path); (err == nil) != want {
			t.Errorf("%s without a quorum: %v", path, err)
		}
	}
	if st, err := all[1].status(); err != nil || st.Phase != status.Running || st.Ready || st.Reason == "" || st.MetaLeader != "" {
		t.Errorf("status without a quorum: %+v, %v", st, err)
	}
	all[2].start()
	all[0].start()
	waitWhole(t, all)
	js := connect(t, all)
	stream := createStream(t, js)
	p := publish(t, js)
	eventually(t, "something is stored on all nodes, and one of them leads", func() error {
		leading := 0
		for _, b := range all {
			st, err := b.status()
			if err != nil || st.Messages < 10 {
				return fmt.Errorf("%s: %d messages, %w", b.name, st.Messages, err)
			}
			leading += st.Leading
		}
		if leading != 1 {
			return fmt.Errorf("the stream has %d leaders", leading)
		}
		return nil
	})
	for _, b := range all {
		b.kill()
	}
	for _, b := range all {
		b.start()
	}
	waitWhole(t, all)
	p.end()
	holds(t, stream, p.acked)
}

// TestQuorum: with one node gone publishes go on; with two gone the third lives,
// is not ready, and takes nothing; with two back all is well.
func TestQuorum(t *testing.T) {
	t.Parallel()
	all := trio(t, "--credentials="+secretsDir(t))
	for _, b := range all {
		b.start()
	}
	leader := waitWhole(t, all)
	js := connect(t, all)
	stream := createStream(t, js)
	p := publish(t, js)

	var rest []*broker
	var gone *broker
	for _, b := range all {
		if b.name == leader {
			gone = b
		} else {
			rest = append(rest, b)
		}
	}
	t.Logf("the leader ended after %s", gone.term())
	eventually(t, "the others have a leader and see who is missing", func() error {
		var missing int
		for _, b := range rest {
			st, err := b.status()
			if err != nil {
				return err
			}
			if err := b.probe("/readyz"); err != nil {
				return err
			}
			missing += st.BehindCount
		}
		if missing == 0 {
			return errors.New("nobody misses the node that is gone")
		}
		return nil
	})
	if _, err := whole(rest); err == nil {
		t.Error("two nodes of three are called whole: the next could be stopped")
	}
	var attempts int
	attempt := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		attempts++
		_, err := js.Publish(ctx, "orders", nil, jetstream.WithMsgID(fmt.Sprint("attempt-", attempts)))
		return err
	}
	eventually(t, "a quorum takes messages", attempt)

	rest[0].kill()
	eventually(t, "one node alone is not ready", func() error {
		if rest[1].probe("/readyz") == nil {
			return errors.New("it is ready")
		}
		return nil
	})
	for _, path := range []string{"/healthz", "/startupz"} {
		if err := rest[1].probe(path); err != nil {
			t.Errorf("%s without a quorum: %v", path, err)
		}
	}
	if err := attempt(); err == nil {
		t.Error("a message was acknowledged without a quorum")
	}
	t.Logf("a node without a quorum ended after %s", rest[1].term())
	for _, b := range all {
		b.start()
	}
	waitWhole(t, all)
	p.end()
	holds(t, stream, p.acked)
}

// TestRollingRestart restarts one node after the other, as /status allows, the
// leader last. A publisher that is there all the time loses nothing.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	all := trio(t, "--credentials="+secretsDir(t))
	for _, b := range all {
		b.start()
	}
	waitWhole(t, all)
	js := connect(t, all)
	stream := createStream(t, js)
	p := publish(t, js)
	todo := map[string]*broker{}
	for _, b := range all {
		todo[b.name] = b
	}
	for len(todo) > 0 {
		leader := waitWhole(t, all)
		for name, b := range todo {
			if name != leader || len(todo) == 1 {
				took := b.term()
				t.Logf("%s ended after %s, leader %s", name, took, leader)
				delete(todo, name)
				b.start()
				break
			}
		}
	}
	waitWhole(t, all)
	p.end()
	holds(t, stream, p.acked)
}

// TestLostVolumes: a node whose volume is lost is filled by the others; and
// two that have lost theirs do not overrule the one that has not.
func TestLostVolumes(t *testing.T) {
	t.Parallel()
	all := trio(t, "--credentials="+secretsDir(t))
	for _, b := range all {
		b.start()
	}
	waitWhole(t, all)
	js := connect(t, all)
	stream := createStream(t, js)
	var acked []string
	for i := range 100 {
		id := fmt.Sprint("message-", i)
		eventually(t, "it is acknowledged", func() error {
			_, err := js.Publish(t.Context(), "orders", nil, jetstream.WithMsgID(id))
			return err
		})
		acked = append(acked, id)
	}
	stored := func() {
		t.Helper()
		waitWhole(t, all)
		for _, b := range all {
			eventually(t, "node "+b.name+" has all", func() error {
				if st, err := b.status(); err != nil || st.Messages != uint64(len(acked)) {
					return fmt.Errorf("%d messages, %w", st.Messages, err)
				}
				return nil
			})
		}
		holds(t, stream, acked)
	}
	stored()
	all[0].kill()
	all[0].wipe()
	all[0].start()
	stored()
	for _, b := range all {
		b.kill()
	}
	for _, b := range all[1:] {
		b.wipe()
	}
	for _, b := range all[1:] {
		b.start()
	}
	for _, b := range all[1:] {
		eventually(t, "it asks for votes", func() error { return b.logged("JetStream cluster bootstrapping") })
		if err := b.probe("/readyz"); err == nil {
			t.Error("two empty nodes have elected one of them")
		}
	}
	all[0].start()
	stored()
}

// TestUnresolvable: names that do not resolve yet are tried again and again.
func TestUnresolvable(t *testing.T) {
	t.Parallel()
	b := solo(t, "--credentials="+secretsDir(t), "--replicas=3", "--routes-addr="+freeAddr(t), "--log-level=debug",
		"--peers=solo.broker.invalid,b.broker.invalid,c.broker.invalid")
	b.start()
	eventually(t, "it has started", func() error { return b.probe("/startupz") })
	eventually(t, "it tries again", func() error {
		tries := 0
		for line := range strings.Lines(b.log.String()) {
			if strings.Contains(line, "Error trying to connect to route") || strings.Contains(line, "Trying to connect to route") {
				tries++
			}
		}
		if tries < 20 { // of three names, with four connections each
			return fmt.Errorf("%d times", tries)
		}
		return nil
	})
	if err := b.probe("/readyz"); err == nil {
		t.Error("ready without the others")
	}
}
