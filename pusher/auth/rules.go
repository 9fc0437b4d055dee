// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/settings/rules"
)

// channelRules are one channel's; nil where it has none of a kind.
type channelRules struct {
	all map[rules.Kind]*rules.Rule
	// claims that connecting needs, and what comes after it.
	claimsFirst, claimsLater bool
}

func newRules(sources map[string]string) (*channelRules, error) {
	r := &channelRules{all: map[rules.Kind]*rules.Rule{}}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		kind := rules.Kind(name)
		rule, err := rules.Parse(kind, sources[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("rules.%s: %w", kind, err))
			continue
		}
		r.all[kind] = rule
		r.claimsFirst = r.claimsFirst || rule.Uses(rules.Claims)
		r.claimsLater = r.claimsLater || kind != rules.Connect && rule.Uses(rules.Claims)
	}
	return r, errors.Join(errs...)
}

// Visit is what is known of a connection besides its token.
type Visit struct {
	Remote  netip.Addr
	Headers map[string]string // some of the handshake's, names in lower case
}

// errConnectRule says no more than that: what the rule is about is its author's affair.
var errConnectRule = &Error{CodeNotAllowed, "this channel's rules do not let you connect"}

// WantsHeaders reports whether a channel's rule asks what the handshake said.
func (v *Verifier) WantsHeaders(channelName string) bool {
	ch := v.channels[channelName]
	if ch == nil {
		return false
	}
	r := ch.rules.all[rules.Connect]
	return r != nil && r.Uses(rules.Headers)
}

// MayConnect holds a client that has been verified to the channel's rule. Nil: it may. It
// lets go of what no other rule needs to know of the client.
func (v *Verifier) MayConnect(channelName string, c *Client, from Visit) error {
	ch := v.channels[channelName]
	if ch == nil {
		return errUnknownChannel
	}
	headers := from.Headers
	if headers == nil {
		headers = map[string]string{}
	}
	allowed, ruled := v.rule(channelName, rules.Connect, c, map[string]any{rules.Remote: from.Remote.Unmap().String(), rules.Headers: headers})
	if ruled && !allowed {
		return errConnectRule
	}
	if !ch.rules.claimsLater {
		c.forgetClaims()
	}
	return nil
}

// MayRenew holds a client that shows a fresh token to the channel's rule for connecting,
// as far as it does not ask for the handshake's headers: those are gone.
func (v *Verifier) MayRenew(channelName string, c *Client, remote netip.Addr) error {
	if v.WantsHeaders(channelName) {
		if !v.channels[channelName].rules.claimsLater {
			c.forgetClaims()
		}
		return nil
	}
	return v.MayConnect(channelName, c, Visit{Remote: remote})
}

// MayJoin reports whether c may be in the room of a channel. Without a rule a token's
// claim "rooms" lists what its holder may join: names, "prefix*", or "*" for every room;
// without the claim it may join none. On an anonymous channel without a rule whoever
// shows no claim may join every room.
func (v *Verifier) MayJoin(channelName string, c *Client, room string) bool {
	if allowed, ruled := v.rule(channelName, rules.Join, c, map[string]any{rules.Room: room}); ruled {
		return allowed
	}
	if c.flags&everyRoom != 0 {
		return true
	}
	for p := range c.rooms {
		if prefix, ok := strings.CutSuffix(p, "*"); ok && strings.HasPrefix(room, prefix) || p == room {
			return true
		}
	}
	return false
}

// MayEmit reports whether c may emit an event to the handlers of a channel. Without a rule
// it may emit what they have been named for.
func (v *Verifier) MayEmit(channelName string, c *Client, event string) bool {
	allowed, ruled := v.rule(channelName, rules.Emit, c, map[string]any{rules.Event: event})
	return allowed || !ruled
}

// MayPublish reports whether c may publish an event to a room, or to the channel, for
// others to have. Without a rule nobody may.
func (v *Verifier) MayPublish(channelName string, c *Client, p rules.Publication) bool {
	allowed, _ := v.rule(channelName, rules.Publish, c, map[string]any{rules.Event: p.Event, rules.Room: p.Room, rules.Rooms: p.Rooms})
	return allowed
}

// rule evaluates a channel's rule of a kind, if there is one. What cannot be evaluated
// allows nothing; why is for the log.
func (v *Verifier) rule(channelName string, kind rules.Kind, c *Client, vars map[string]any) (allowed, ruled bool) {
	ch := v.channels[channelName]
	if ch == nil || ch.rules.all[kind] == nil {
		return false, false
	}
	r := ch.rules.all[kind]
	vars[rules.User] = c.User()
	if r.Uses(rules.Claims) {
		vars[rules.Claims] = rules.ReadClaims([]byte(c.claims()))
	}
	allowed, err := r.Allows(vars)
	if err != nil && v.Undecided != nil {
		v.Undecided(channelName, kind, err)
	}
	return allowed && err == nil, true
}
