// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/events"
	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// snapshot is everything that follows from one settings document. It is not
// changed once it is current.
type snapshot struct {
	settings *settings.Settings
	verifier *auth.Verifier
	channels map[string]*channel
	rules    *events.Rules
	proxies  trusted

	// What is settled before a Socket.IO client names a channel follows from all.
	namespaces map[string]*channel
	maxPayload int // bytes of a client's packet
	deflate    bool
	asks       bool // some channel asksHeaders
}

// channel is a Channel as the clients listener needs it. The counters live as
// long as the Channel does, over all its revisions.
type channel struct {
	settings.Channel
	counters *channelCounters
	targets  []*handlers.Target // of Handlers; nil for a stream
}

type channelCounters struct {
	number      uint32 // tells Channels apart
	connections atomic.Int64
	published   atomic.Uint64
	refused     [reasons]atomic.Uint64

	// Guarded by attachment.
	attachment sync.Mutex
	isAttached bool

	emitted sharedBucket
}

// take counts one more connection, if it is within the limit.
func (c *channelCounters) take(limit int64) bool {
	if c.connections.Add(1) <= limit {
		return true
	}
	c.connections.Add(-1)
	return false
}

// channelNumbers is the last number that was given out.
var channelNumbers atomic.Uint32

func emptySnapshot() *snapshot {
	return &snapshot{settings: &settings.Settings{}, verifier: &auth.Verifier{}}
}

// build makes the snapshot that follows prev with s.
func build(prev *snapshot, s *settings.Settings, caller *handlers.Caller) (*snapshot, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("settings: invalid: %w", err)
	}
	v, err := auth.New(s, time.Now)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	next := &snapshot{
		settings: s, verifier: v, maxPayload: plain.MaxMessage,
		channels:   make(map[string]*channel, len(s.Channels)),
		namespaces: make(map[string]*channel, len(s.Channels)),
	}
	for _, p := range s.Pusher.TrustedProxies {
		next.proxies = append(next.proxies, netip.MustParsePrefix(p)) // Validate has
	}
	targets := caller.Targets(s.Channels)
	for _, c := range s.Channels {
		ch := &channel{Channel: c, targets: targets[c.Name]}
		if old := prev.channels[c.Name]; old != nil && old.UID == c.UID {
			ch.counters = old.counters
		} else {
			ch.counters = &channelCounters{number: channelNumbers.Add(1)}
		}
		next.channels[c.Name] = ch
		if c.SocketIO.Namespace != "" {
			next.namespaces[c.SocketIO.Namespace] = ch
		}
		next.maxPayload = max(next.maxPayload, int(c.Limits.EventBytes))
		next.deflate = next.deflate || c.Compression != nil
		next.asks = next.asks || next.asksHeaders(c.Name)
	}
	next.rules = &events.Rules{Authorizer: v, Channel: next.channel, Open: s.Pusher.OpenPublishing}
	return next, nil
}

// asksHeaders reports whether somebody must know what the handshake of a channel's
// client says before it is let in: a handler, a rule, or who looks for a cookie.
func (s *snapshot) asksHeaders(name string) bool {
	ch := s.channels[name]
	return ch != nil && (ch.greets() || s.verifier.WantsHeaders(name) || ch.Clients.Cookie != "")
}

// cookieToken is the token in the cookie that a channel has for it; empty: there is none.
func (c *channel) cookieToken(r *http.Request) string {
	if c == nil || c.Clients.Cookie == "" {
		return ""
	}
	cookie, err := r.Cookie(c.Clients.Cookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// cookieTokens are the tokens in a request's cookies, by channel; nil: there are none.
func (s *snapshot) cookieTokens(r *http.Request) (tokens map[string]string) {
	for name, ch := range s.channels {
		if t := ch.cookieToken(r); t != "" {
			if tokens == nil {
				tokens = map[string]string{}
			}
			tokens[name] = t
		}
	}
	return tokens
}

// channel returns a Channel's settings; nil: there is none of the name.
func (s *snapshot) channel(name string) *settings.Channel {
	if c := s.channels[name]; c != nil {
		return &c.Channel
	}
	return nil
}

// Reload serves s from now on. It returns when every loop does. On an error the
// settings that were served before still are.
func (srv *Server) Reload(s *settings.Settings) error {
	srv.reloading.Lock()
	defer srv.reloading.Unlock()
	prev := srv.current.Load()
	next, err := build(prev, s, srv.caller)
	if err != nil {
		srv.refuse(err)
		return err
	}
	next.verifier.Undecided = srv.undecided
	change := diff(prev, next)

	// A Channel's log and its place in the tables are there before anybody may
	// publish to it or connect, and go after nobody may any more.
	srv.broker.SetChannels(logs(slices.Concat(next.settings.Channels, change.gone(prev))))
	srv.onLoops(func(sh *shard) { sh.prepare(change) })
	srv.keepFor(next)
	srv.current.Store(next)
	srv.onLoops(func(sh *shard) { sh.apply(next, change) })
	srv.broker.SetChannels(logs(next.settings.Channels))
	heartbeat := next.settings.Pusher.Heartbeat
	if err := srv.listeners.clients.SetPatience(heartbeat.Interval.Std() + heartbeat.Timeout.Std()); err != nil {
		srv.log.Warn("peers that vanish are noticed by the heartbeat only", "error", err)
	}

	if srv.config.Reloaded != nil {
		srv.config.Reloaded(s)
	}
	srv.settingsError.Store(nil)
	srv.log.Info("serving settings", "revision", s.Revision, "channels", len(s.Channels),
		"added", len(change.added), "removed", len(change.removed), "changed", len(change.changed))
	return nil
}

// refuse notes settings that cannot be served. The same error again is counted once.
func (srv *Server) refuse(err error) {
	text := err.Error()
	if before := srv.settingsError.Swap(&text); before == nil || *before != text {
		srv.metrics.settingsErrors.Inc()
	}
}

// change is what differs between two snapshots, by name.
type change struct {
	added, removed, changed []string
}

func diff(prev, next *snapshot) *change {
	c := &change{}
	for name, ch := range next.channels {
		switch old := prev.channels[name]; {
		case old == nil:
			c.added = append(c.added, name)
		case old.UID != ch.UID: // another of the name
			c.added, c.removed = append(c.added, name), append(c.removed, name)
		case old.Revision != ch.Revision:
			c.changed = append(c.changed, name)
		}
	}
	for name := range prev.channels {
		if next.channels[name] == nil {
			c.removed = append(c.removed, name)
		}
	}
	slices.Sort(c.added)
	slices.Sort(c.removed)
	slices.Sort(c.changed)
	return c
}

// gone are the settings of Channels that there are no more, not even another of the
// name.
func (c *change) gone(prev *snapshot) (all []settings.Channel) {
	for _, name := range c.removed {
		if !slices.Contains(c.added, name) {
			all = append(all, prev.channels[name].Channel)
		}
	}
	return all
}

// onLoops runs fn on every loop and waits until all have run it, or ended.
func (srv *Server) onLoops(fn func(sh *shard)) {
	var done sync.WaitGroup
	for _, sh := range srv.shards {
		done.Add(1)
		if !sh.loop.Post(&call{fn: func() { fn(sh) }, done: done.Done}) {
			done.Done()
		}
	}
	done.Wait()
}

// do runs fn on the loop and waits. It reports false when the loop has ended.
func (sh *shard) do(fn func()) bool {
	ran, done := false, make(chan struct{})
	if !sh.loop.Post(&call{fn: func() { fn(); ran = true }, done: func() { close(done) }}) {
		return false
	}
	<-done
	return ran
}

// call is work that somebody waits for.
type call struct {
	fn   func()
	done func()
}

// Run calls the function.
func (c *call) Run() {
	c.fn()
	c.done()
}

// Size counts nothing: few calls wait at a time.
func (*call) Size() int { return 0 }

// Drop is called instead of Run when the loop ends.
func (c *call) Drop() { c.done() }
