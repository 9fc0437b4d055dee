// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Attach lets the channel's events be delivered, and returns once Position knows
// where that begins: everything that follows is delivered. An attached channel
// stays attached, whatever becomes of NATS. Errors are ErrUnknownChannel,
// UnavailableError and the context's.
func (b *Broker) Attach(ctx context.Context, channel string) error {
	l, err := b.log(channel)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	before := l.want()
	if err := patiently(within, l.attach); err != nil {
		if !before {
			l.unwant()
		}
		return b.failure(ctx, fmt.Errorf("attach %s: %w", channel, err))
	}
	return nil
}

// leaderWait is how soon a stream is asked again that had no leader.
const leaderWait = 50 * time.Millisecond

// patiently tries for as long as ctx allows while the stream has no leader, which it
// has not for a moment after a node has gone.
func patiently(ctx context.Context, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if !gone(err) || sleep(ctx, leaderWait) != nil {
			return err
		}
	}
}

// failure is what the caller is told of an error: its own context's, or that NATS
// is not available.
func (b *Broker) failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case b.ctx.Err() != nil:
		return ErrClosed
	case errors.Is(err, ErrUnknownChannel):
		return err
	}
	var said interface{ Code() string }
	if errors.As(err, &said) {
		return err
	}
	return &UnavailableError{err}
}

// Detach says that nobody wants the channel's deliveries any more. They end after
// Config.Linger, unless it is attached again before.
func (b *Broker) Detach(channel string) {
	l, err := b.log(channel)
	if err != nil {
		return
	}
	l.unwant()
}

// want says that the log's deliveries are wanted, and reports whether they were
// before.
func (l *channelLog) want() (before bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before = l.wanted
	l.wanted = true
	if l.linger != nil {
		l.linger.Stop()
	}
	return before
}

func (l *channelLog) unwant() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = false
	if l.linger != nil {
		l.linger.Stop()
	}
	if !l.closed {
		l.linger = time.AfterFunc(l.broker.config.Linger, func() { l.broker.spawn(l.leave) })
	}
}

// leave ends the attachment if it is still not wanted.
func (l *channelLog) leave() {
	select {
	case l.attaching <- struct{}{}:
	case <-l.broker.ctx.Done():
		return
	}
	defer func() { <-l.attaching }()
	l.mu.Lock()
	wanted := l.wanted
	l.mu.Unlock()
	if wanted {
		return
	}
	l.drop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = wire.Position{}
}

// attach subscribes to the log's live messages, and then finds out where it is.
func (l *channelLog) attach(ctx context.Context) error {
	select {
	case l.attaching <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.attaching }()
	in, err := l.broker.await(ctx)
	if err != nil {
		return err
	}
	if there, err := l.attached(in); there || err != nil {
		return err
	}
	l.drop() // from an earlier life
	if err := l.subscribe(ctx, in); err != nil {
		l.drop()
		return err
	}
	return nil
}

// attached reports whether there is nothing to do.
func (l *channelLog) attached(in *life) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, ErrUnknownChannel
	}
	return l.life == in, nil
}

func (l *channelLog) subscribe(ctx context.Context, in *life) error {
	b := l.broker
	live := b.liveSubject(in.epoch, l.token)
	b.route(live, l)
	sub, err := b.nc.ChanSubscribe(live, b.live)
	if err != nil {
		b.unroute(live, l)
		return err
	}
	l.mu.Lock()
	l.sub = sub
	l.mu.Unlock()
	// NATS handles what one connection sends in order, so the subscription stands
	// before the leader says what the log's last message is.
	last, err := b.begin(ctx, in, b.subject(in.epoch, l.token))
	if err != nil {
		return err
	}
	in.saw(last.seq)
	c := chain{last: last.seq, floor: last.seq}
	if _, m, _ := decode(last.body); m != nil && m.floor != noFloor {
		c.floor = m.floor
	}
	l.following.Lock() // waits for a turn of an earlier life
	defer l.following.Unlock()
	l.delivering.Lock()
	defer l.delivering.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrUnknownChannel
	}
	l.chain = c
	from := l.at
	l.at, l.reached, l.floor, l.checked = l.place(in, c.last), c.last, c.floor, c.last
	l.synced, l.lastAt = time.Now(), last.at
	l.mu.Unlock()
	if from.Epoch != "" {
		l.tell(from, l.place(in, c.last)) // another log has taken its place
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life = in
	l.start()
	return nil
}

func (b *Broker) route(subject string, l *channelLog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.routes[subject] = l
}

func (b *Broker) unroute(subject string, l *channelLog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.routes[subject] == l {
		delete(b.routes, subject)
	}
}
