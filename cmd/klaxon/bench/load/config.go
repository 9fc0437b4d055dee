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
	// Stream: the answer to the request is an endless text/event-stream.
	// Otherwise it is a WebSocket's handshake.
	Stream bool
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
	// Gap is in a message that says that events were dropped; their number
	// follows it.
	Gap string
	// Namespace: the URL is one as Socket.IO clients take it. Its path is not the
	// request's, but named in First.
	Namespace bool
}

// Protocols are the protocols by name.
var Protocols = map[string]Protocol{
	"ws":       {Subprotocol: "klaxon.v1.json", Ready: `{"type":"welcome"`, Gap: `{"type":"gap","dropped":`},
	"socketio": {Namespace: true, Ready: "40", Ping: "2", Pong: "3", Gap: `["klaxon.gap",{"dropped":`},
	"sse":      {Stream: true, Ready: "event: klaxon.welcome", Gap: "event: klaxon.gap\ndata: {\"dropped\":"},
}

// engineRequest is what a Socket.IO client asks for that begins with a WebSocket.
const engineRequest = "/socket.io/?EIO=4&transport=websocket"

// Config is what a Fleet is to do.
type Config struct {
	// URL is ws://HOST[:PORT]/PATH or http://HOST[:PORT]/PATH, a template.
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
	if scheme != "ws" && scheme != "http" {
		return job{}, fmt.Errorf("the URL %q does not begin with ws:// or http://: benchmarks speak no TLS, measure behind the proxy that ends it", c.URL)
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
	if j.Protocol.Namespace {
		j.connectTo(j.Path)
	}
	return j, nil
}

// connectTo makes the first message a CONNECT to a namespace. Its query, if it has
// one, is room=NAME.
func (j *job) connectTo(path string) {
	namespace, query, _ := strings.Cut(path, "?")
	connect := "40" + namespace + ","
	if room, ok := strings.CutPrefix(query, "room="); ok {
		connect += `{"rooms":["` + room + `"]}`
	}
	j.Path = engineRequest
	j.Protocol.First = append([]string{connect}, j.Protocol.First...)
}

// values are what templates of connection i are filled in with.
func (c *Config) values(i int) template.Values {
	return template.Values{I: i, Channel: i % c.Channels, Room: i / c.Channels % c.Rooms}
}
