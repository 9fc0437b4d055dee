// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/test/chaos/door"
	"github.com/klaxon-dev/klaxon/test/chaos/machine"
)

const (
	// away is how long a process that was killed is away.
	away = 4 * time.Second
	// longer is how long a process is stopped, or a link cut: longer than clients are
	// patient with a silent server.
	longer = 10 * time.Second
)

// scene is what a fault is done to.
type scene struct {
	*machine.Machine
	door *door.Door
	say  func(format string, args ...any)
}

// fault is something that breaks.
type fault struct {
	name, does string
	apart      bool // needs a replica in a network of its own
	trio       bool // is another one with a single node of the broker
	act        func(context.Context, *scene) error
}

var faults = []fault{
	{name: "none", does: "nothing breaks; some clients come and go, as in all runs", act: none},
	{name: "kill-pusher", does: "kill -9 a pusher, and start it again", act: killPusher},
	{name: "roll-pushers", does: "end each pusher with SIGTERM and start it again, one after the other", act: rollPushers},
	{name: "stop-pusher", does: "SIGSTOP a pusher, and SIGCONT it later", act: stopPusher},
	{name: "cut-network", does: "cut the link between a pusher and the broker, and mend it (needs root)", apart: true, act: cutNetwork},
	{name: "kill-broker", does: "kill -9 a node of the broker that leads, and start it again", act: killBroker},
	{name: "roll-brokers", does: "end each node of the broker with SIGTERM and start it again, one after the other", act: rollBrokers},
	{name: "kill-brokers", does: "kill -9 all nodes of the broker at once, and start them again", trio: true, act: killBrokers},
}

func describe() string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "%-13s %s\n", f.name, f.does)
	}
	return b.String()
}

// skipped says why the fault cannot be run; empty: it can.
func (f *fault) skipped() string {
	if !f.apart {
		return ""
	}
	if err := machine.Possible(); err != nil {
		return err.Error()
	}
	return ""
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func none(ctx context.Context, _ *scene) error { return wait(ctx, longer) }

func killPusher(ctx context.Context, s *scene) error {
	r := s.Replicas[0]
	s.say("kill -9 %s", r.Name())
	r.Kill()
	if err := wait(ctx, away); err != nil {
		return err
	}
	s.say("start %s", r.Name())
	return r.Start(ctx)
}

func rollPushers(ctx context.Context, s *scene) error {
	for _, r := range s.Replicas {
		s.say("end %s", r.Name())
		s.door.Leave(r.Clients) // as its pod's label does
		if err := r.Term(ctx); err != nil {
			return err
		}
		s.say("start %s", r.Name())
		if err := r.Start(ctx); err != nil {
			return err
		}
		s.door.Let(r.Clients)
	}
	return nil
}

func stopPusher(ctx context.Context, s *scene) error {
	r := s.Replicas[0]
	s.say("SIGSTOP %s", r.Name())
	if err := r.Pause(); err != nil {
		return err
	}
	if err := wait(ctx, longer); err != nil {
		return err
	}
	s.say("SIGCONT %s", r.Name())
	return r.Resume()
}

func cutNetwork(ctx context.Context, s *scene) error {
	r := s.Replicas[0]
	s.say("cut %s off from the broker", r.Name())
	if err := r.Cut(ctx); err != nil {
		return err
	}
	if err := wait(ctx, longer); err != nil {
		return err
	}
	s.say("mend the link of %s", r.Name())
	return r.Mend(ctx)
}

func killBroker(ctx context.Context, s *scene) error {
	n, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	s.say("kill -9 %s", n.Name())
	n.Kill()
	if err := wait(ctx, away); err != nil {
		return err
	}
	s.say("start %s", n.Name())
	if err := n.Start(); err != nil {
		return err
	}
	_, err = s.WaitWhole(ctx)
	return err
}

// rollBrokers goes on when the broker says that it may, the leader last.
func rollBrokers(ctx context.Context, s *scene) error {
	todo := map[string]*machine.Node{}
	for _, n := range s.Nodes {
		todo[n.Name()] = n
	}
	for len(todo) > 0 {
		leader, err := s.WaitWhole(ctx)
		if err != nil {
			return err
		}
		next := todo[leader]
		for name, n := range todo {
			if name != leader {
				next = n
			}
		}
		delete(todo, next.Name())
		s.say("end %s, and start it again", next.Name())
		if err := next.Term(ctx); err != nil {
			return err
		}
		if err := next.Start(); err != nil {
			return err
		}
	}
	_, err := s.WaitWhole(ctx)
	return err
}

func killBrokers(ctx context.Context, s *scene) error {
	s.say("kill -9 all nodes of the broker")
	for _, n := range s.Nodes {
		n.Kill()
	}
	if err := wait(ctx, away); err != nil {
		return err
	}
	s.say("start them")
	for _, n := range s.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	_, err := s.WaitWhole(ctx)
	return err
}
