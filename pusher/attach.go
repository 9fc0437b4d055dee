// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"slices"

	"github.com/klaxon-dev/klaxon/pusher/broker"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Broker carries events between the replicas of a Pusher and keeps what clients
// may have missed. The methods promise what broker.Memory's do; a broker that
// serves several replicas promises the same over all of them.
type Broker interface {
	// SetChannels replaces the channels that there are.
	SetChannels(channels []settings.Channel)
	// Publish stores events in a channel's log.
	Publish(ctx context.Context, channel string, events []*wire.Event) ([]wire.Receipt, error)
	// Read returns a part of what is kept.
	Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error)
	// Position is that of the last delivery of an attached channel.
	Position(channel string) (wire.Position, bool)
	// Attach has what follows Position delivered.
	Attach(ctx context.Context, channel string) error
	// Detach says that nobody waits for deliveries any more.
	Detach(channel string)
	// Healthy says why the broker cannot be reached now; nil when it can.
	Healthy() error
	// Close ends it.
	Close()
}

// keeper is a Broker that keeps events in this process's memory.
type keeper interface {
	// Tidy drops what has become too old. It is called now and then.
	Tidy()
	// Kept is how many events of a channel are kept, and what they take.
	Kept(channel string) (events int, bytes int64)
}

// Deliveries take what a Broker has for the clients of this push server.
type Deliveries struct {
	// Deliver takes an event of an attached channel: for one channel in order and
	// one at a time, at the same time for several. It may wait while the loops are
	// busy; it does not wait for clients.
	Deliver func(channel string, pos wire.Position, ev *wire.Event)
	// Lost says, in a channel's order of deliveries, that what is between two
	// positions can never be delivered.
	Lost func(channel string, from, to wire.Position)
}

func newBroker(config Config, to Deliveries) (Broker, error) {
	if config.Broker == nil {
		return broker.NewMemory(to.Deliver, nil), nil
	}
	return config.Broker(to)
}

// lost closes the clients of a channel, some of whose events could not be
// delivered: each comes back and is told what is kept.
func (srv *Server) lost(channel string, _, to wire.Position) {
	srv.log.Warn("events are lost: the channel's clients are closed, and told when they come back", "channel", channel)
	spread := srv.spread(srv.connections())
	for _, sh := range srv.shards {
		sh.post(func() {
			sh.table.Advance(channel, to)
			for _, s := range slices.Clone(sh.table.Members(channel)) {
				sh.sendAway(s, wire.CloseTryLater, spread)
			}
		})
	}
}

// attached reports whether the channel's events are delivered here. They are for
// as long as there are sessions: who asks has been counted as one.
func (c *channelCounters) attached() bool {
	c.attachment.Lock()
	defer c.attachment.Unlock()
	return c.isAttached
}

// attach has the channel's events delivered here from now on.
func (srv *Server) attach(ctx context.Context, ch *channel) error {
	if ch.counters.attached() {
		return nil
	}
	if err := srv.broker.Healthy(); err != nil {
		return err // at once: many may wait
	}
	if err := srv.broker.Attach(ctx, ch.Name); err != nil {
		return err
	}
	at, _ := srv.broker.Position(ch.Name)
	srv.onLoops(func(sh *shard) { sh.table.Advance(ch.Name, at) })
	ch.counters.attachment.Lock()
	defer ch.counters.attachment.Unlock()
	ch.counters.isAttached = true
	return nil
}

// detachIdle lets go of channels that nobody listens to.
func (srv *Server) detachIdle() {
	for name, ch := range srv.current.Load().channels {
		if ch.counters.connections.Load() == 0 {
			srv.detach(name, ch.counters)
		}
	}
}

func (srv *Server) detach(name string, c *channelCounters) {
	c.attachment.Lock()
	defer c.attachment.Unlock()
	if c.isAttached && c.connections.Load() == 0 {
		c.isAttached = false
		srv.broker.Detach(name)
	}
}

// enter welcomes a session that has just begun, at once or when its channel's
// events are delivered here and what it has missed is known. r is nil for a client
// that has not said where it was.
func (sh *shard) enter(s uint32, r *claim, welcome func(resumed)) {
	ch := sh.sessions.At(s).channel
	answer, since := resumed{}, nowhere
	switch {
	case r != nil && ch.History.Size > 0:
		since = r.since
	case r != nil && r.quiet:
		r = nil
	case r != nil:
		answer.asked = true
		sh.server.resumes.lost.Add(1)
		r = nil
	}
	attached := ch.counters.attached()
	if r == nil && attached {
		welcome(answer)
		return
	}
	p := sh.hold(s, since, welcome)
	if r == nil {
		p.answer = &answer
	} else {
		p.before, p.restore, p.quiet, p.must = r.before, r.restore, r.quiet, r.must
	}
	if attached {
		sh.server.replays.follow(p, next{ask: p.ask()})
		return
	}
	sh.server.replays.add(func() { sh.server.replays.attach(p, ch) })
}

// claim is what a session goes on from.
type claim struct {
	since   wire.Position
	before  wire.SessionID // its client's last; zero: not known
	restore func()         // gives the session back what it was; nil: nothing
	quiet   bool           // the client has not asked for it, and is not told of it
	must    bool           // otherwise the client is sent away
}

// attach has a replay begin when its channel is attached.
func (r *replayer) attach(p *replay, ch *channel) {
	err := p.shard.server.attach(r.ctx, ch)
	var n next
	if !p.shard.do(func() { n = p.attached(err) }) || n.done {
		return
	}
	if err != nil {
		r.after(n.after, func() { r.attach(p, ch) })
		return
	}
	r.follow(p, n)
}
