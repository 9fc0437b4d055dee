// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// What clients do can be read as a stream: it is a log of its own in the broker, of which
// no client can be a member.

const (
	// ofClients is behind a channel's name in that of its log of what clients do. No
	// Channel's name has an underscore.
	ofClients = "_clients"
	// clientEventsKept, clientEventsBytes and clientEventsFor bound that log.
	clientEventsKept  = 10_000
	clientEventsBytes = 16 << 20
	clientEventsFor   = 10 * time.Minute
)

// logs are the channels' logs, with those of what clients do.
func logs(channels []settings.Channel) []settings.Channel {
	all := channels[:len(channels):len(channels)]
	for i := range channels {
		ch := &channels[i]
		for _, h := range ch.Handlers {
			if h.URL == "" {
				all = append(all, settings.Channel{
					Name: ch.Name + ofClients, UID: ch.UID,
					History: settings.History{Size: clientEventsKept, TTL: settings.Duration(clientEventsFor), Bytes: clientEventsBytes},
				})
				break
			}
		}
	}
	return all
}

// stream stores what a client did for who reads it.
func (srv *Server) stream(ch *channel, c *handlers.Call) *failure {
	body, err := c.Encode()
	if err == nil {
		ctx, cancel := context.WithTimeout(srv.replays.ctx, publishTimeout)
		defer cancel()
		_, err = srv.broker.Publish(ctx, ch.Name+ofClients, []*wire.Event{{ID: streamID(c.ID), Name: c.Type, Data: body}})
	}
	if err != nil {
		return &failure{Code: plain.CodeAway, Message: "the event could not be stored: try again later"}
	}
	return nil
}

// streamID is a call's id, of which the end tells calls apart.
func streamID(id string) string { return id[max(0, len(id)-wire.MaxEventID):] }

// readers wakes who reads what clients do.
type readers struct {
	mu    sync.Mutex
	byLog map[string]*readersOf
}

type readersOf struct {
	n       int
	changed chan struct{} // closed when there is more
}

// delivered wakes the readers of a log, and reports whether it is one of what clients do.
func (r *readers) delivered(log string) bool {
	if !strings.HasSuffix(log, ofClients) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.byLog[log]; of != nil {
		close(of.changed)
		of.changed = make(chan struct{})
	}
	return true
}

// delivering is what takes the broker's deliveries.
func (srv *Server) delivering(h *hub.Hub) func(string, wire.Position, *wire.Event) {
	return func(channel string, pos wire.Position, ev *wire.Event) {
		if !srv.readers.delivered(channel) {
			h.Deliver(channel, pos, ev)
		}
	}
}

// clientEvents is what clients do, for backends that read it.
type clientEvents struct{ srv *Server }

// Open has a reader woken. There is nothing to read where no handler is a stream.
func (c clientEvents) Open(ctx context.Context, channel string) (func(), error) {
	ch := c.srv.current.Load().channels[channel]
	if ch == nil || len(logs([]settings.Channel{ch.Channel})) == 1 {
		return nil, &codedError{"no_stream", "the Channel has no handler with stream: true"}
	}
	r, log := &c.srv.readers, channel+ofClients
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byLog == nil {
		r.byLog = map[string]*readersOf{}
	}
	of := r.byLog[log]
	if of == nil {
		if err := c.srv.broker.Attach(ctx, log); err != nil { // with mu held: readers are few
			return nil, err
		}
		of = &readersOf{changed: make(chan struct{})}
		r.byLog[log] = of
	}
	of.n++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if of.n--; of.n == 0 {
			delete(r.byLog, log)
			c.srv.broker.Detach(log)
		}
	}, nil
}

// Position is where the log is now.
func (c clientEvents) Position(channel string) (wire.Position, bool) {
	return c.srv.broker.Position(channel + ofClients)
}

// Read returns a part of what is kept.
func (c clientEvents) Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error) {
	return c.srv.broker.Read(ctx, channel+ofClients, r)
}

// Changed is closed when there is more than there is now.
func (c clientEvents) Changed(channel string) <-chan struct{} {
	r := &c.srv.readers
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.byLog[channel+ofClients]; of != nil {
		return of.changed
	}
	return nil
}
