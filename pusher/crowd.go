// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// crowd counts what comes from one address and from one user, so that neither takes all
// the room, and how fast newcomers are let in, so that those who are in are served
// meanwhile. Who came before there was a limit is not counted.
type crowd struct {
	mu        sync.Mutex
	addresses map[[16]byte]int64
	users     map[userKey]int64
	entered   bucket
}

type userKey struct {
	channel *channelCounters
	user    string
}

// count counts one more and reports true, if that is within the limit.
func count[K comparable](counts *map[K]int64, key K, limit int64) bool {
	if (*counts)[key] >= limit {
		return false
	}
	if *counts == nil {
		*counts = map[K]int64{}
	}
	(*counts)[key]++
	return true
}

func uncount[K comparable](counts map[K]int64, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// enter counts a connection from an address. Counted is false where there is no limit;
// ok is false when there are too many.
func (c *crowd) enter(from address, limits settings.PusherLimits) (counted, ok bool) {
	if limits.ConnectionsPerAddress == 0 {
		return false, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ok = count(&c.addresses, from.ip, limits.ConnectionsPerAddress)
	return ok, ok
}

func (c *crowd) leave(from address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uncount(c.addresses, from.ip)
}

// enterAs counts a session of a channel's user, as enter does.
func (c *crowd) enterAs(ch *channel, user string) (counted, ok bool) {
	if ch.Limits.ConnectionsPerUser == 0 || user == "" {
		return false, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ok = count(&c.users, userKey{ch.counters, user}, ch.Limits.ConnectionsPerUser)
	return ok, ok
}

func (c *crowd) leaveAs(ch *channel, user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uncount(c.users, userKey{ch.counters, user})
}

// admits reports whether another newcomer may come in now, and counts it.
func (c *crowd) admits(rate int64) bool {
	if rate == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entered.pour(float64(rate), 1, time.Now())
}

// full says why a newcomer cannot be let in now; empty: it can, and is counted.
func (srv *Server) full() string {
	switch {
	case srv.draining.Load():
		return "this push server ends: connect again"
	case srv.Room() <= 0:
		srv.refusedByPod(podFull)
		return "this push server has as many connections as it can: try again later"
	case srv.pressure.short.Load():
		srv.refusedByPod(podMemory)
		return "this push server has no memory for more connections: try again later"
	case !srv.crowd.admits(srv.current.Load().settings.Pusher.Limits.AcceptRate):
		srv.refusedByPod(podAcceptRate)
		return "too many clients connect to this push server at once: try again in a moment"
	}
	return ""
}

// Reasons for which a push server refuses connections, whichever channel they are for.
const (
	podFull       = "descriptors"
	podMemory     = "memory"
	podAcceptRate = "accept_rate"
	podAddress    = "address"
)

func (srv *Server) refusedByPod(why string) {
	srv.metrics.refusedConnections.WithLabelValues(why).Inc()
}

// refuseFull answers with a time to come back that is another for each, lest all come back
// at once.
func refuseFull(w http.ResponseWriter, detail string) {
	w.Header().Set("Retry-After", strconv.Itoa(2+rand.IntN(8))) //nolint:gosec // spreads load
	problem(w, http.StatusServiceUnavailable, detail)
}

// trusted are the networks of proxies that say whom they speak for.
type trusted []netip.Prefix

func (t trusted) has(a netip.Addr) bool {
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// client is who a connection is from: the peer, or whom trusted proxies say that it is,
// in the X-Forwarded-For headers. What stands left of an address that is not a trusted
// proxy's, that one has written, and may be made up. A port is only known of the peer.
func (t trusted) client(peer netip.AddrPort, forwarded []string) netip.AddrPort {
	if len(t) == 0 || !t.has(peer.Addr().Unmap()) {
		return peer
	}
	all := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(all) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.Trim(all[i], " \t[]"))
		if err != nil {
			return peer // also one of a proxy that hides it
		}
		peer = netip.AddrPortFrom(a.Unmap().WithZone(""), 0)
		if !t.has(peer.Addr()) {
			return peer
		}
	}
	return peer
}

// clientOf is who a request is from.
func (srv *Server) clientOf(r *http.Request) netip.AddrPort {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // as net/http writes it
	return srv.current.Load().proxies.client(peer, r.Header.Values("X-Forwarded-For"))
}
