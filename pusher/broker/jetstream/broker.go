// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher/broker"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Storage is where a stream is kept.
type Storage int

// Where a stream is kept.
const (
	File Storage = iota
	Memory
)

// Config says where NATS is and what is to be done there.
type Config struct {
	// URL of NATS, or several with commas between.
	URL string
	// Options for the connection: credentials, TLS.
	Options []nats.Option
	// Stream is the name of the Pusher's stream, and Prefix what its subjects
	// begin with. Nobody else may use either. Letters, digits, - and _; the prefix
	// may have dots.
	Stream, Prefix string
	// Replicas is how many nodes keep the stream. 0: one.
	Replicas int
	// Storage of a stream that is created. That of one that exists is not changed.
	Storage Storage

	// Deliver is called for each stored event of attached channels, in order and
	// one at a time for a channel, at the same time for several. It must not wait
	// for a client, nor call SetChannels, Detach or Close.
	Deliver func(channel string, pos wire.Position, ev *wire.Event)
	// Lost, if not nil, is called in a channel's order of deliveries when what is
	// between two positions cannot be delivered any more. What follows is.
	Lost func(channel string, from, to wire.Position)

	// Timeout bounds how long Publish, Attach and Read wait for NATS. 0: 5 s.
	Timeout time.Duration
	// Linger is how long a channel stays attached after Detach. 0: 30 s.
	Linger time.Duration
	// TailInterval is how often it is checked that nothing was missed. 0: 5 s.
	TailInterval time.Duration
	// Log may be nil.
	Log *slog.Logger

	// tap, in tests, stands between NATS and the chain of live messages.
	tap func(m *nats.Msg, receive func(*nats.Msg))
}

func (c *Config) defaults() error {
	if !nameForm.MatchString(c.Stream) || !prefixForm.MatchString(c.Prefix) || c.Deliver == nil {
		return errors.New("jetstream: a broker needs a stream, a prefix and somebody to deliver to")
	}
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{{&c.Timeout, 5 * time.Second}, {&c.Linger, 30 * time.Second}, {&c.TailInterval, 5 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	c.Replicas = max(c.Replicas, 1)
	if c.Lost == nil {
		c.Lost = func(string, wire.Position, wire.Position) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

var (
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$`)
)

// Broker is one replica's part of a Pusher's broker. All replicas with the same
// stream see the same logs.
type Broker struct {
	// Static.
	config Config
	nc     *nats.Conn
	live   chan *nats.Msg
	ctx    context.Context // ends with Close
	end    context.CancelFunc
	tasks  sync.WaitGroup
	wake   chan struct{} // asks for a round of upkeep now
	batch  chan struct{} // bounds how many batches are under way

	stream stream
	stats  stats

	// away is when the connection was lost, in ns since 1970; 0 while there is one.
	away atomic.Int64

	// Guarded by ending.
	ending sync.Mutex
	ended  bool // no more tasks

	// Guarded by mu, which may be held when a log's is taken, not the other way
	// round.
	mu     sync.RWMutex
	closed bool
	logs   map[string]*channelLog // by channel
	routes map[string]*channelLog // by live subject, of attached logs
}

const (
	// liveQueue is how many live messages wait for being sorted by channel. What
	// is more is dropped, and fetched from the stream.
	liveQueue = 8192
	// batchesAtOnce keeps a few replicas below what a stream takes (50).
	batchesAtOnce = 8
)

// New returns a broker without channels. NATS need not be there yet: what needs it
// fails, or waits, until it is. The connection comes back by itself, forever.
func New(config Config) (*Broker, error) {
	if err := config.defaults(); err != nil {
		return nil, err
	}
	b := &Broker{
		config: config, live: make(chan *nats.Msg, liveQueue), wake: make(chan struct{}, 1),
		batch: make(chan struct{}, batchesAtOnce), logs: map[string]*channelLog{}, routes: map[string]*channelLog{},
	}
	b.away.Store(time.Now().UnixNano())
	b.ctx, b.end = context.WithCancel(context.Background())
	b.stream.ready = make(chan struct{})
	var err error
	if b.nc, err = nats.Connect(config.URL, append(b.options(), config.Options...)...); err != nil {
		b.end()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	b.tasks.Go(b.sort)
	b.tasks.Go(b.upkeep)
	b.kick()
	return b, nil
}

// options of the connection: it never gives up and never holds back what was sent
// while it was away, as that is sent again by those who know whether it still counts.
func (b *Broker) options() []nats.Option {
	back := func(*nats.Conn) { b.away.Store(0); b.kick() }
	return []nats.Option{
		nats.Name("klaxon " + b.config.Stream), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.Timeout(2 * time.Second), nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(back), nats.ReconnectHandler(back),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			b.away.CompareAndSwap(0, time.Now().UnixNano())
			if err != nil {
				b.config.Log.Warn("the connection to NATS is lost", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) {
				b.stats.dropped.Add(1)
				return
			}
			b.config.Log.Warn("NATS reports an error", "error", err)
		}),
	}
}

// kick asks for a round of upkeep now.
func (b *Broker) kick() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Close ends everything. Nothing is delivered when it has returned.
func (b *Broker) Close() {
	b.mu.Lock()
	b.closed = true
	logs := b.logs
	b.logs = map[string]*channelLog{}
	b.mu.Unlock()
	b.ending.Lock()
	b.ended = true
	b.ending.Unlock()
	b.end()
	for _, l := range logs {
		l.close()
	}
	b.nc.Close()
	b.tasks.Wait()
}

// spawn runs a task that Close waits for, unless the broker is closed.
func (b *Broker) spawn(task func()) {
	b.ending.Lock()
	defer b.ending.Unlock()
	if !b.ended {
		b.tasks.Go(task)
	}
}

// Healthy says whether the broker can be reached now and has its stream; nil: yes.
func (b *Broker) Healthy() error {
	if !b.nc.IsConnected() {
		return &UnavailableError{errors.New("not connected")}
	}
	if err := b.stream.trouble(); err != nil {
		return &UnavailableError{err}
	}
	return nil
}

// SetChannels gives every channel a log and ends all others, as broker.Memory's
// does. A log is that of the channel's UID: a channel that comes back with the same
// goes on with its log, with another it begins a new one.
//
// The stream is made to fit, which waits for NATS for at most the Timeout and is
// tried again later if need be.
func (b *Broker) SetChannels(channels []settings.Channel) {
	for _, l := range b.swap(channels) {
		l.close()
	}
	b.stream.wanted.Store(wanted(channels))
	ctx, cancel := context.WithTimeout(b.ctx, b.config.Timeout)
	defer cancel()
	if !b.nc.IsConnected() && b.stream.life() != nil {
		return // the upkeep does it on return
	}
	if err := b.ensure(ctx); err != nil {
		b.config.Log.Warn("the stream cannot be made to fit the channels yet", "error", err)
	}
	b.kick()
}

// swap puts the logs of channels in place and returns those that ended.
func (b *Broker) swap(channels []settings.Channel) (ended []*channelLog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	logs := make(map[string]*channelLog, len(channels))
	for i := range channels {
		c := &channels[i]
		token := tokenOf(c)
		l := b.logs[c.Name]
		if again := logs[c.Name]; again != nil && again.token == token {
			l = again
		}
		if l == nil || l.token != token {
			l = newLog(b, c.Name, token).after(l)
		}
		l.limit(c.History)
		logs[c.Name] = l
	}
	for name, l := range b.logs {
		if logs[name] != l {
			ended = append(ended, l)
		}
	}
	b.logs = logs
	return ended
}

func (b *Broker) log(channel string) (*channelLog, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, ErrClosed
	}
	if l := b.logs[channel]; l != nil {
		return l, nil
	}
	return nil, ErrUnknownChannel
}

// Position is the place of the last event that has been delivered, or where the
// log was when it was attached; false when there is no such channel, or it is not
// attached. It waits for nobody.
func (b *Broker) Position(channel string) (wire.Position, bool) {
	l, err := b.log(channel)
	if err != nil {
		return wire.Position{}, false
	}
	return l.position()
}

// sort takes live messages to their logs. It waits for nobody, so that no channel
// waits for another.
func (b *Broker) sort() {
	receive := b.receive
	if b.config.tap != nil {
		receive = func(m *nats.Msg) { b.config.tap(m, b.receive) }
	}
	for {
		select {
		case m := <-b.live:
			receive(m)
		case <-b.ctx.Done():
			return
		}
	}
}

func (b *Broker) receive(m *nats.Msg) {
	b.mu.RLock()
	l := b.routes[m.Subject]
	b.mu.RUnlock()
	if l != nil {
		l.enqueue(m)
	}
}

// stats counts what does not show otherwise.
type stats struct {
	dropped, gaps, repeated, unknown, lost atomic.Int64
}

// Stats counts since the broker began.
type Stats struct {
	// Dropped live messages, because too many waited. They were fetched.
	Dropped int64
	// Gaps in live messages that were filled from the stream.
	Gaps int64
	// Repeated live messages, which were not delivered again.
	Repeated int64
	// Unknown messages: of another version of Klaxon, or not ours.
	Unknown int64
	// Lost is how often Config.Lost was called.
	Lost int64
}

// Stats returns the counters.
func (b *Broker) Stats() Stats {
	s := &b.stats
	return Stats{s.dropped.Load(), s.gaps.Load(), s.repeated.Load(), s.unknown.Load(), s.lost.Load()}
}

const dedupWindow = broker.DedupWindow
