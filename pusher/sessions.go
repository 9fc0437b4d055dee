// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/events"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// publishing joins the events listener to the broker, the sessions and the
// settings of the moment.
func (srv *Server) publishing() events.Config {
	return events.Config{
		Publisher: publisher{srv}, Sessions: directory{srv}, Presence: directory{srv}, History: srv.broker, Clients: clientEvents{srv},
		Rules: func() *events.Rules { return srv.current.Load().rules }, Refused: srv.refusedPublisher,
	}
}

var errDraining = errors.New("this push server ends")

// publisher counts what goes into the broker.
type publisher struct{ srv *Server }

// Publish stores events and delivers them.
func (p publisher) Publish(ctx context.Context, name string, evs []*wire.Event) ([]wire.Receipt, error) {
	if p.srv.ending() {
		return nil, errDraining // an event that were taken now would reach nobody
	}
	receipts, err := p.srv.broker.Publish(ctx, name, evs)
	if ch := p.srv.current.Load().channels[name]; ch != nil {
		for _, r := range receipts {
			if !r.Duplicate {
				ch.counters.published.Add(1)
			}
		}
	}
	return receipts, err
}

// directory finds sessions on all loops of all replicas.
type directory struct{ srv *Server }

// List returns a channel's sessions, by id.
func (d directory) List(ctx context.Context, name string) ([]wire.Session, bool) {
	sessions := d.srv.localSessions(name)
	parts, all := d.srv.ask(ctx, question{Op: opList, Channel: name})
	for _, part := range parts {
		var theirs []wire.Session
		if json.Unmarshal(part, &theirs) == nil {
			sessions = append(sessions, theirs...)
		}
	}
	slices.SortFunc(sessions, func(a, b wire.Session) int { return strings.Compare(a.ID, b.ID) })
	return sessions, all
}

// Disconnect ends a session for good.
func (d directory) Disconnect(ctx context.Context, name, id string) error {
	if d.srv.disconnectLocal(name, id) {
		return nil
	}
	parts, all := d.srv.ask(ctx, question{Op: opDisconnect, Channel: name, Session: id})
	switch {
	case len(parts) > 0:
		return nil
	case !all:
		return errUnreachable
	}
	return errUnknownSession
}

// DisconnectUser ends all sessions of a user.
func (d directory) DisconnectUser(ctx context.Context, name, user string) (n int, all bool) {
	n = d.srv.disconnectUserLocal(name, user)
	parts, all := d.srv.ask(ctx, question{Op: opDisconnectUser, Channel: name, User: user})
	for _, part := range parts {
		var theirs int
		if json.Unmarshal(part, &theirs) == nil {
			n += theirs
		}
	}
	return n, all
}
