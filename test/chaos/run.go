// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/test/chaos/account"
	"github.com/klaxon-dev/klaxon/test/chaos/clients"
	"github.com/klaxon-dev/klaxon/test/chaos/door"
	"github.com/klaxon-dev/klaxon/test/chaos/machine"
	"github.com/klaxon-dev/klaxon/test/chaos/publish"
)

const (
	replicas = 3
	// beginWithin is how long clients may take until all are connected.
	beginWithin = 30 * time.Second
	// settleWithin is how long clients may take until they have everything, once
	// nothing is published any more.
	settleWithin = 60 * time.Second
	// judgeEvery is how often it is looked whether they have.
	judgeEvery = 500 * time.Millisecond
)

// run is one fault.
type run struct {
	// Static.
	options *options
	fault   fault
	nodes   int
	dir     string
	began   time.Time

	channels []*channel
	running  sync.WaitGroup // clients

	// What has come of it.
	events int
	waited time.Duration
	byKind []*account.Verdict // in the order of clients.Kinds
}

// channel is one Channel, those who publish to it and those who listen.
type channel struct {
	settings   settings.Channel
	publishers []*publish.Publisher
	clients    []*clients.Client
	kinds      []int // of clients
	log        *account.Log
}

// channelNamed is a Channel that anybody may listen to.
func channelNamed(name string, h settings.History) *channel {
	return &channel{settings: settings.Channel{
		Name: name, UID: "uid-of-" + name, Clients: settings.Clients{Anonymous: true},
		Limits:      settings.Limits{EventBytes: 64 << 10, Connections: 10_000},
		SlowClients: settings.SlowClients{BufferBytes: 256 << 10, Policy: settings.Disconnect},
		History:     h,
		SocketIO:    settings.SocketIO{Namespace: "/" + name, Recovery: true},
	}}
}

func (r *run) say(format string, args ...any) {
	fmt.Printf("%s, %d nodes, %5.1f s: %s\n", r.fault.name, r.nodes, time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer r.running.Wait()
	defer stop()
	r.began = time.Now()
	r.channels = []*channel{
		// What is missed of the first is kept, what is missed of the second often is not.
		channelNamed("orders", settings.History{Size: settings.MaxHistorySize, TTL: settings.Duration(time.Hour), Bytes: 256 << 20}),
		channelNamed("ticks", settings.History{Size: 100, TTL: settings.Duration(5 * time.Second), Bytes: settings.MinHistoryBytes}),
	}
	config := machine.Config{
		Bin: r.options.bin, Dir: r.dir, Nodes: r.nodes, Memory: r.options.memory, Replicas: replicas, Apart: r.fault.apart,
	}
	for _, ch := range r.channels {
		config.Channels = append(config.Channels, ch.settings)
	}
	r.say("start the broker and %d pushers", replicas)
	m, err := machine.Start(ctx, config)
	if err != nil {
		return err
	}
	defer m.Close()
	d, err := door.Open()
	if err != nil {
		return err
	}
	defer d.Close()
	for _, p := range m.Replicas {
		d.Let(p.Clients)
	}
	stay := make(chan struct{})
	if err := r.connect(ctx, d.Addr(), stay); err != nil {
		return err
	}
	err = r.publish(ctx, &scene{m, d, r.say})
	close(stay)
	if err != nil {
		return err
	}
	return errors.Join(r.settle(ctx), m.Ended(), r.compare(ctx, m))
}

// connect starts the clients and waits until all are connected.
func (r *run) connect(ctx context.Context, addr string, stay <-chan struct{}) error {
	random := rand.New(rand.NewPCG(r.options.seed, 0))
	for i, ch := range r.channels {
		for k, kind := range clients.Kinds {
			for n := range r.options.subscribers {
				c := clients.Config{
					Kind: kind, Addr: addr, Channel: ch.settings.Name, Room: string('a' + rune(n%2)), Always: n/2%2 == 0,
					Silence: 2*machine.Heartbeat + time.Second, Roams: n%3 == 2, AwayAtMost: []time.Duration{4, 10}[i] * time.Second,
					Random: rand.New(rand.NewPCG(random.Uint64(), 0)),
				}
				story := &account.Story{Name: fmt.Sprintf("%s %d of %s", kind, n, ch.settings.Name), Room: c.Room}
				ch.clients = append(ch.clients, clients.New(c, story, stay))
				ch.kinds = append(ch.kinds, k)
			}
		}
	}
	_ = r.each(func(ch *channel, i int) error { // never fails
		r.running.Go(func() { ch.clients[i].Run(ctx) })
		return nil
	})
	r.say("connect %d clients", len(r.channels)*len(clients.Kinds)*r.options.subscribers)
	late := time.After(beginWithin)
	return r.each(func(ch *channel, i int) error {
		select {
		case <-ch.clients[i].Began():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("%s has not connected within %s", ch.clients[i].Story().Name, beginWithin)
		}
	})
}

// each does something for each client.
func (r *run) each(do func(ch *channel, i int) error) error {
	for _, ch := range r.channels {
		for i := range ch.clients {
			if err := do(ch, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// publish publishes before, during and after the fault.
func (r *run) publish(ctx context.Context, s *scene) error {
	var events []string
	for _, p := range s.Replicas {
		events = append(events, p.Events)
	}
	for i, ch := range r.channels {
		base := publish.Config{
			Channel: ch.settings.Name, Token: s.Token, Replicas: events, Rooms: []string{"", "a", "", "b"}, Every: 50 * time.Millisecond,
		}
		for n := range []int{4, 2}[i] {
			c := base
			if c.Number = n; n == 3 {
				c.Batch, c.Every = 5, 250*time.Millisecond
			}
			ch.publishers = append(ch.publishers, publish.New(c))
		}
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	failed := make(chan error, 100)
	for _, ch := range r.channels {
		for _, p := range ch.publishers {
			running.Go(func() {
				if err := p.Run(ctx, stop); err != nil {
					failed <- err
				}
			})
		}
	}
	r.say("publish")
	err := wait(ctx, r.options.pause)
	if err == nil {
		err = r.fault.act(ctx, s)
	}
	if err == nil {
		r.say("all is as it was")
		err = wait(ctx, r.options.pause)
	}
	close(stop)
	running.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return err
}

// settle waits until all clients have everything, and judges them.
func (r *run) settle(ctx context.Context) error {
	for _, ch := range r.channels {
		var acked []account.Event
		for _, p := range ch.publishers {
			acked = append(acked, p.Acked()...)
			_, longest := p.Waited()
			r.waited = max(r.waited, longest)
		}
		var err error
		if ch.log, err = account.NewLog(acked); err != nil {
			return fmt.Errorf("channel %s: %w", ch.settings.Name, err)
		}
		r.events += len(acked)
	}
	r.say("%d events are stored; wait until all clients have them", r.events)
	calm := false
	for end := time.Now().Add(settleWithin); ; {
		var sum account.Verdict
		r.byKind = nil
		for range clients.Kinds {
			r.byKind = append(r.byKind, &account.Verdict{})
		}
		_ = r.each(func(ch *channel, i int) error { // never fails
			v := account.Judge(ch.log, ch.clients[i].Story())
			sum.Add(&v)
			r.byKind[ch.kinds[i]].Add(&v)
			return nil
		})
		if calm && sum.Silent == 0 || time.Now().After(end) {
			r.say("received %d live and %d recovered, told lost %d and forgotten %d, lost silently %d", sum.Live, sum.Recovered, sum.Lost, sum.Forgotten, sum.Silent)
			if sum.Bad() {
				if err := r.write(); err != nil {
					return err
				}
				return fmt.Errorf("not every event is accounted for:\n\t%s", strings.Join(sum.Findings[:min(len(sum.Findings), 40)], "\n\t"))
			}
			return nil
		}
		calm = sum.Silent == 0 // but for what comes twice, which comes now
		if err := wait(ctx, judgeEvery); err != nil {
			return err
		}
	}
}
