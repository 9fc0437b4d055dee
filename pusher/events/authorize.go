// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// authorize decides whether the caller may go on, before anything of the body
// is read, and fills in the channel's settings.
func (h *Handler) authorize(r *http.Request, req *request) *problem {
	rules := h.Rules()
	req.token = bearer(r)
	if req.token != "" || !free(rules, r, req) {
		if _, err := rules.Authorizer.Publisher(req.channel, req.token); err != nil {
			return problemOf(err)
		}
	}
	if req.settings = rules.Channel(req.channel); req.settings == nil {
		return errUnknownChannel
	}
	return nil
}

// free reports whether the caller needs no token for this request.
func free(rules *Rules, r *http.Request, req *request) bool {
	if req.publishes && len(r.Header["Origin"]) == 0 && rules.Authorizer.Anonymous(req.channel) {
		return true // a sender of events, not a web page
	}
	return rules.Open && local(r)
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
