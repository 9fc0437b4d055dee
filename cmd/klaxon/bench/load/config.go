// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/template"
)

// Protocol says how a connection becomes ready and what it must answer. Only
// First is a template.
type Protocol struct {
	// Subprotocol is asked for in the handshake.
	Subprotocol string
	// First are text messages to send after the handshake.
	First []string
	// Ready is in the message that makes a connection ready. Empty: the
	// handshake does.
	Ready string
	// Ping is a text message that must be answered with Pong. Pings of the
	// WebSocket protocol are always answered.
	Ping, Pong string
	// Gap begins a message that says that events were dropped; their number
	// follows it.
	Gap string
}

// Protocols are the protocols by name.
var Protocols = map[string]Protocol{
	"ws": {Subprotocol: "klaxon.v1.json", Ready: `{"type":"welcome"`, Gap: `{"type":"gap","dropped":`},
}

// Config is what a Fleet is to do.
type Config struct {
	// URL is ws://HOST[:PORT]/PATH, a template.
	URL string
	// Headers are further header lines of the handshake, templates.
	Headers []string
	// Tokens are bearer tokens: connection i has the i-th, over and over.
	Tokens []string
	// Protocol is how connections speak.
	Protocol Protocol
	// Connections is how many there are; the i-th belongs to channel
	// i mod Channels and there to room i / Channels mod Rooms.
	Connections, Channels, Rooms int
	// Processes is how many workers share them. 0: as many as descriptors ask for.
	Processes int
	// Rate is how many connections are opened in a second. 0: as many as Parallel allows.
	Rate float64
	// Parallel is how many handshakes are under way at the same time.
	Parallel int
	// Timeout is how long no handshake may make progress before all that are
	// under way are given up.
	Timeout time.Duration
}

// Groups is how many rooms of channels there are.
func (c *Config) Groups() int { return c.Channels * c.Rooms }

// job is what one worker is to do.
type job struct {
	Config
	Targets []netip.AddrPort
	Host    string // as the handshake names it
	Path    string
	First   int // number of the worker's first connection
	Count   int
	Share   float64 // its part of Rate and Parallel
}

// job resolves the URL.
func (c *Config) job() (job, error) {
	j := job{Config: *c}
	// The path is cut out of the text, because url would escape templates.
	scheme, rest, _ := strings.Cut(c.URL, "://")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		j.Host, j.Path = rest[:i], rest[i:]
	} else {
		j.Host, j.Path = rest, "/"
	}
	if scheme != "ws" {
		return job{}, fmt.Errorf("the URL %q does not begin with ws://: benchmarks speak no TLS, measure behind the proxy that ends it", c.URL)
	}
	u, err := url.Parse("ws://" + j.Host)
	if err != nil {
		return job{}, fmt.Errorf("parse the URL's host: %w", err)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	all, err := net.LookupHost(u.Hostname())
	if err != nil {
		return job{}, fmt.Errorf("look up the URL's host: %w", err)
	}
	for _, host := range all {
		if target, err := netip.ParseAddrPort(net.JoinHostPort(host, port)); err == nil {
			j.Targets = append(j.Targets, target)
		}
	}
	if len(j.Targets) == 0 {
		return job{}, fmt.Errorf("the URL %q names no address that can be connected to", c.URL)
	}
	if j.Path[0] == '?' {
		j.Path = "/" + j.Path
	}
	return j, nil
}

// values are what templates of connection i are filled in with.
func (c *Config) values(i int) template.Values {
	return template.Values{I: i, Channel: i % c.Channels, Room: i / c.Channels % c.Rooms}
}
