// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// authorize decides whether the caller may go on, before anything of the body
// is read, and fills in the channel's settings.
func (h *Handler) authorize(r *http.Request, req *request) *problem {
	rules := h.Rules()
	req.token = bearer(r)
	if p := grant(rules, r, req); p != nil {
		return p
	}
	if !req.publishes && !req.grant.Everything() {
		return errOnlyPublishes
	}
	if req.settings = rules.Channel(req.channel); req.settings == nil {
		return errUnknownChannel
	}
	return nil
}

// grant finds out what the caller may do.
func grant(rules *Rules, r *http.Request, req *request) *problem {
	if req.token == "" && rules.Open && local(r) {
		req.grant = settings.Grant{Identity: "local", Scopes: []settings.Scope{{}}}
		return nil
	}
	if req.token == "" && req.publishes && len(r.Header["Origin"]) == 0 { // a sender of events, not a web page
		var ok bool
		if req.grant, ok = rules.Authorizer.Anonymous(req.channel); ok {
			return nil
		}
	}
	var err error
	if req.grant, err = rules.Authorizer.Publisher(req.channel, req.token); err != nil {
		return problemOf(err)
	}
	return nil
}

// permit holds an event to what the caller may publish.
func (r *request) permit(ev *wire.Event) *problem {
	others := len(ev.Users)+len(ev.Sessions) > 0 || len(ev.Rooms) == 0
	if r.grant.Allows(ev.Name, ev.Rooms, others) {
		return nil
	}
	return newProblem(http.StatusForbidden, codeNotAllowed,
		"this publisher may not publish %.128q to those whom the event is for: its entries in spec.publishers name the events and rooms that it may", ev.Name)
}

// bearer returns the token of the Authorization header (RFC 6750 section 2.1).
func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// local reports whether a program on this machine makes the request of its own
// accord. Web pages that a browser here shows do not count: their requests have
// an Origin, and a page that had its own name resolved to this machine has that
// name in Host.
func local(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	if len(r.Header["Origin"]) > 0 || len(r.Header["Forwarded"]) > 0 || len(r.Header["X-Forwarded-For"]) > 0 {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
