// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/settings/rules"
)

// reason is why a client was refused something. Refusals are counted by it.
type reason int

const (
	refusedOrigin     reason = iota // the web page's
	refusedToken                    // none, or no good one
	refusedConnect                  // by a rule
	refusedFull                     // the channel
	refusedUser                     // has too many sessions
	refusedRooms                    // one more than a session may be in
	refusedJoinRate                 // too many rooms and other requests
	refusedJoin                     // by a rule or the token's rooms
	refusedEmit                     // by a rule
	refusedEmitRate                 // too many events
	refusedTotalRate                // too many events of all clients
	refusedPublish                  // by a rule
	refusedNotHandled               // an event that no handler names
	reasons
)

var reasonNames = [reasons]string{
	refusedOrigin: "origin", refusedToken: "token", refusedConnect: "connect_rule", refusedFull: "connections", refusedUser: "user_connections", refusedRooms: "rooms", refusedJoinRate: "join_rate", refusedJoin: "join",
	refusedEmit: "emit_rule", refusedEmitRate: "emit_rate", refusedTotalRate: "total_emit_rate", refusedPublish: "publish_rule", refusedNotHandled: "not_handled",
}

// refuse counts a refusal.
func (c *channelCounters) refuse(why reason) { c.refused[why].Add(1) }

// refuseClient counts a refusal of what auth says no to.
func (c *channel) refuseClient(err error) {
	var refused *auth.Error
	if c == nil || !errors.As(err, &refused) {
		return
	}
	switch refused.Code() {
	case auth.CodeNotAllowed:
		c.counters.refuse(refusedConnect)
	case auth.CodeOriginRefused:
		c.counters.refuse(refusedOrigin)
	default:
		c.counters.refuse(refusedToken)
	}
}

// refusedPublisher counts a refusal on the events listener.
func (srv *Server) refusedPublisher(channel, code string) {
	if srv.current.Load().channels[channel] == nil {
		channel = "" // whatever anybody writes into a URL
	}
	srv.metrics.refusedRequests.WithLabelValues(channel, code).Inc()
}

// complaints are said in the log once a second at most: clients can cause them.
type complaints struct {
	last   atomic.Int64 // Unix seconds
	unsaid atomic.Uint64
}

// may reports whether one may be said now, and how many were not said before.
func (c *complaints) may(now time.Time) (unsaid uint64, ok bool) {
	last := c.last.Load()
	if now.Unix() == last || !c.last.CompareAndSwap(last, now.Unix()) {
		c.unsaid.Add(1)
		return 0, false
	}
	return c.unsaid.Swap(0), true
}

// undecided says why a rule could not be evaluated.
func (srv *Server) undecided(channel string, kind rules.Kind, why error) {
	if unsaid, ok := srv.complaints.may(time.Now()); ok {
		srv.log.Warn("a rule could not be evaluated and allows nothing", "channel", channel, "rule", kind, "error", why, "unsaid", unsaid)
	}
}
