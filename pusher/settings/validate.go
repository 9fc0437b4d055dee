// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds that Validate holds, shared with whoever must explain them.
const (
	MinEventBytes  = 64
	MaxEventBytes  = 1 << 20
	MinBufferBytes = 4 << 10
	MaxBufferBytes = 64 << 20
	// MinHeartbeat and MaxHeartbeat bound a heartbeat's interval and timeout.
	MinHeartbeat = 100 * time.Millisecond
	MaxHeartbeat = 10 * time.Minute
	// MaxNamespace is the largest length of a Socket.IO namespace, with its "/".
	MaxNamespace = 128
	// MinCompressBytes and MaxCompressBytes bound the size from which messages
	// are compressed: below it the frame grows, above it there is no message.
	MinCompressBytes = 64
	MaxCompressBytes = 1 << 20
	// MaxHistorySize bounds how many events are kept.
	MaxHistorySize = 100_000
	// MinHistoryTTL and MaxHistoryTTL bound how long.
	MinHistoryTTL = time.Second
	MaxHistoryTTL = 24 * time.Hour
	// MinHistoryBytes has room for any event; MaxHistoryBytes bounds the kept ones.
	MinHistoryBytes = MaxEventBytes
	MaxHistoryBytes = 1 << 30
	// SessionKeyBytes is the length of a session key.
	SessionKeyBytes = 32
	// MinSecretBytes is the least length of an HMAC key (RFC 7518 section 3.2)
	// and of a static publisher token.
	MinSecretBytes = 32
	// MaxEmitRate bounds how many events a session may emit each second.
	MaxEmitRate = 10_000
	// MaxClockSkew is how far an issuer's clock may differ.
	MaxClockSkew = 5 * time.Minute
	// MinHandlerTimeout and MaxHandlerTimeout bound how long a handler may take.
	MinHandlerTimeout = 100 * time.Millisecond
	MaxHandlerTimeout = 30 * time.Second
	// MaxHandlerConcurrency bounds how many calls of one handler are under way.
	MaxHandlerConcurrency = 10_000
	// MinHandlerKey and MaxHandlerKey bound the keys that sign calls, as Standard
	// Webhooks has it.
	MinHandlerKey = 24
	MaxHandlerKey = 64
)

var (
	nameRE      = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$`)
	namespaceRE = regexp.MustCompile(`^(/|(/[A-Za-z0-9_.:-]+)+)$`)
	originRE    = regexp.MustCompile(`^(\*|https?://(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:[1-9][0-9]{0,4})?)$`)
)

// problems collects errors with the path of what they are about.
type problems struct {
	path string
	errs *[]error
}

func (p problems) at(format string, args ...any) problems {
	return problems{path: p.path + fmt.Sprintf(format, args...), errs: p.errs}
}

func (p problems) check(ok bool, format string, args ...any) { //nolint:revive // ok is what is checked, not a switch
	if !ok {
		*p.errs = append(*p.errs, fmt.Errorf("%s: %s", p.path, fmt.Sprintf(format, args...)))
	}
}

// Validate returns all that is wrong with the document, joined, each with its
// path; nil when a push server can serve it.
func (s *Settings) Validate() error {
	var errs []error
	root := problems{errs: &errs}
	root.at("format").check(s.Format == Format, "is %d, this program reads %d", s.Format, Format)
	root.at("revision").check(s.Revision != "", "is missing")
	s.Pusher.validate(root.at("pusher"))
	namespaces := make(map[string]string, len(s.Channels)) // → Channel
	for i := range s.Channels {
		c := &s.Channels[i]
		p := root.at("channels[%s]", c.Name)
		p.check(i == 0 || s.Channels[i-1].Name < c.Name, "is out of order or twice")
		c.validate(p)
		if ns := c.SocketIO.Namespace; ns != "" {
			holder, taken := namespaces[ns]
			p.at(".socketIO.namespace").check(!taken, "%q is channel %s's already", ns, holder)
			namespaces[ns] = c.Name
		}
	}
	return errors.Join(errs...)
}

func (p *Pusher) validate(at problems) {
	at.at(".namespace").check(p.Namespace != "", "is missing")
	at.at(".name").check(nameRE.MatchString(p.Name), "%q is not a name", p.Name)
	for _, h := range []struct {
		path string
		d    Duration
	}{{".heartbeat.interval", p.Heartbeat.Interval}, {".heartbeat.timeout", p.Heartbeat.Timeout}} {
		at.at("%s", h.path).check(h.d.Std() >= MinHeartbeat && h.d.Std() <= MaxHeartbeat, "%s is not from 100ms to 10m", h.d.Std())
	}
	d := at.at(".drain")
	d.at(".maxPeriod").check(p.Drain.MaxPeriod.Std() >= time.Second && p.Drain.MaxPeriod.Std() <= time.Hour,
		"%s is not from 1s to 1h", p.Drain.MaxPeriod.Std())
	d.at(".period").check(p.Drain.Period >= 0 && p.Drain.Period <= p.Drain.MaxPeriod,
		"%s is not from 0s to maxPeriod", p.Drain.Period.Std())
	at.at(".admin.tokenSHA256").check(p.Admin.TokenSHA256 == "" || isSHA256(p.Admin.TokenSHA256), "is not a SHA-256 in hex")
	at.at(".sessionKey").check(len(p.SessionKey) == 0 && p.NATS == nil || len(p.SessionKey) == SessionKeyBytes,
		"has not %d bytes", SessionKeyBytes)
	at.at(".limits.acceptRate").check(p.Limits.AcceptRate >= 0, "%d is less than 0", p.Limits.AcceptRate)
	at.at(".limits.connectionsPerAddress").check(p.Limits.ConnectionsPerAddress >= 0, "%d is less than 0", p.Limits.ConnectionsPerAddress)
	at.at(".limits.memoryPercent").check(p.Limits.MemoryPercent >= 0 && p.Limits.MemoryPercent <= 95, "%d is not from 0 to 95", p.Limits.MemoryPercent)
	for i, proxy := range p.TrustedProxies {
		_, err := netip.ParsePrefix(proxy)
		at.at(".trustedProxies[%d]", i).check(err == nil, "%q is not a network such as 10.0.0.0/8", proxy)
	}
	if n := p.NATS; n != nil {
		n.validate(at.at(".nats"))
	}
	if sa := p.ServiceAccounts; sa != nil {
		at.at(".serviceAccounts.issuer").check(sa.Issuer != "", "is missing")
		at.at(".serviceAccounts.jwks").check(len(sa.JWKS) > 0, "is missing")
	}
}

func (n *NATS) validate(at problems) {
	at.at(".url").check(n.URL != "", "is missing")
	for one := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		at.at(".url").check(err == nil && (u.Scheme == "nats" || u.Scheme == "tls") && u.Host != "", "is not nats://HOST:PORT or tls://HOST:PORT")
	}
	at.at(".replicas").check(n.Replicas == 1 || n.Replicas == 3 || n.Replicas == 5, "%d is none of 1, 3 and 5", n.Replicas)
	at.at(".certificate").check((len(n.Certificate) > 0) == (len(n.Key) > 0), "needs a key, and a key a certificate")
}

func (c *Channel) validate(at problems) {
	at.check(nameRE.MatchString(c.Name), "%q is not a name", c.Name)
	at.at(".revision").check(c.Revision != "", "is missing")
	for i, o := range c.Clients.AllowedOrigins {
		at.at(".clients.allowedOrigins[%d]", i).check(originRE.MatchString(o), "%q is not an origin", o)
	}
	at.at(".clients.cookie").check(c.Clients.Cookie == "" || !slices.Contains(c.Clients.AllowedOrigins, "*"), "goes with no allowedOrigins of \"*\"")
	for i := range c.Clients.JWT {
		c.Clients.JWT[i].validate(at.at(".clients.jwt[%d]", i))
	}
	for i := range c.Publishers.Entries {
		c.Publishers.Entries[i].validate(at.at(".publishers.entries[%d]", i))
	}
	for i, t := range c.Publishers.TokenSHA256 {
		at.at(".publishers.tokenSHA256[%d]", i).check(isSHA256(t), "is not a SHA-256 in hex")
	}
	for i, sa := range c.Publishers.ServiceAccounts {
		at.at(".publishers.serviceAccounts[%d]", i).check(sa.Namespace != "" && sa.Name != "", "needs a namespace and a name")
	}
	at.at(".limits.eventBytes").check(c.Limits.EventBytes >= MinEventBytes && c.Limits.EventBytes <= MaxEventBytes,
		"%d is not from %d to %d", c.Limits.EventBytes, MinEventBytes, MaxEventBytes)
	at.at(".limits.connections").check(c.Limits.Connections >= 1, "%d is less than 1", c.Limits.Connections)
	at.at(".limits.connectionsPerUser").check(c.Limits.ConnectionsPerUser >= 0, "%d is less than 0", c.Limits.ConnectionsPerUser)
	at.at(".limits.totalEmitRate").check(c.Limits.TotalEmitRate >= 0, "%d is less than 0", c.Limits.TotalEmitRate)
	at.at(".limits.roomsPerSession").check(c.Limits.RoomsPerSession >= 0 && c.Limits.RoomsPerSession <= 100, "%d is not from 0 to 100", c.Limits.RoomsPerSession)
	at.at(".limits.joinRate").check(c.Limits.JoinRate >= 0, "%d is less than 0", c.Limits.JoinRate)
	at.at(".limits.publishRate").check(c.Limits.PublishRate >= 0, "%d is less than 0", c.Limits.PublishRate)
	at.at(".limits.emitRate").check(c.Limits.EmitRate >= 0 && c.Limits.EmitRate <= MaxEmitRate, "%d is not from 0 to %d", c.Limits.EmitRate, MaxEmitRate)
	at.at(".slowClients.bufferBytes").check(c.SlowClients.BufferBytes >= max(MinBufferBytes, c.Limits.EventBytes) &&
		c.SlowClients.BufferBytes <= MaxBufferBytes, "%d is not from the larger of %d and limits.eventBytes to %d",
		c.SlowClients.BufferBytes, MinBufferBytes, MaxBufferBytes)
	at.at(".slowClients.policy").check(c.SlowClients.Policy == Disconnect || c.SlowClients.Policy == DropOldest,
		"%q is neither %s nor %s", c.SlowClients.Policy, Disconnect, DropOldest)
	c.History.validate(at.at(".history"))
	if ns := c.SocketIO.Namespace; ns != "" {
		at.at(".socketIO.namespace").check(len(ns) <= MaxNamespace && namespaceRE.MatchString(ns),
			"%q is not a namespace: \"/\", or at most %d of A-Z a-z 0-9 _ . : - and /, beginning with / and without an empty part",
			ns, MaxNamespace)
	}
	for i := range c.Handlers {
		c.Handlers[i].validate(at.at(".handlers[%d]", i))
	}
	if z := c.Compression; z != nil {
		at.at(".compression.minBytes").check(z.MinBytes >= MinCompressBytes && z.MinBytes <= MaxCompressBytes,
			"%d is not from %d to %d", z.MinBytes, MinCompressBytes, MaxCompressBytes)
	}
}

func (j *JWTIssuer) validate(p problems) {
	p.at(".issuer").check(j.Issuer != "", "is missing")
	p.at(".audiences").check(len(j.Audiences) > 0, "is empty")
	p.at(".jwksURL").check(j.JWKSURL == "" || len(j.JWKS) > 0, "is there without jwks")
	p.at(".clockSkew").check(j.ClockSkew == 0 || j.ClockSkew.Std() >= time.Second && j.ClockSkew.Std() <= MaxClockSkew, "%s is not from 1s to 5m", j.ClockSkew.Std())
	p.at(".hmacKey").check(len(j.HMACKey) >= MinSecretBytes || len(j.HMACKey) == 0 && len(j.JWKS) > 0, "is shorter than %d bytes", MinSecretBytes)
}

func (e *PublisherEntry) validate(at problems) {
	of := 0
	for _, set := range []bool{e.ServiceAccount != nil, e.TokenSHA256 != "", e.Anonymous, e.JWT != nil} {
		if set {
			of++
		}
	}
	at.check(of == 1, "is of %d publishers, not of one", of)
	at.at(".tokenSHA256").check(e.TokenSHA256 == "" || isSHA256(e.TokenSHA256), "is not a SHA-256 in hex")
	at.at(".serviceAccount").check(e.ServiceAccount == nil || e.ServiceAccount.Namespace != "" && e.ServiceAccount.Name != "", "needs a namespace and a name")
	if e.JWT != nil {
		e.JWT.validate(at.at(".jwt"))
		at.at(".jwt.subjects").check(len(e.JWT.Subjects) > 0, "is empty")
	}
}

func (h *Handler) validate(at problems) {
	at.at(".events").check(len(h.Events)+len(h.Rooms) > 0, "is empty, as is rooms")
	if h.URL == "" {
		return
	}
	u, err := url.Parse(h.URL)
	at.at(".url").check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.Fragment == "",
		"is not http://HOST/… or https://HOST/… without a user or fragment")
	at.at(".timeout").check(h.Timeout.Std() >= MinHandlerTimeout && h.Timeout.Std() <= MaxHandlerTimeout, "%s is not from 100ms to 30s", h.Timeout.Std())
	at.at(".concurrency").check(h.Concurrency >= 1 && h.Concurrency <= MaxHandlerConcurrency, "%d is not from 1 to %d", h.Concurrency, MaxHandlerConcurrency)
	for i, k := range h.Keys {
		at.at(".keys[%d]", i).check(len(k) >= MinHandlerKey && len(k) <= MaxHandlerKey, "has not %d to %d bytes", MinHandlerKey, MaxHandlerKey)
	}
}

func (h *History) validate(at problems) {
	if *h == (History{}) {
		return
	}
	at.at(".size").check(h.Size >= 0 && h.Size <= MaxHistorySize, "%d is not from 0 to %d", h.Size, MaxHistorySize)
	at.at(".ttl").check(h.TTL.Std() >= MinHistoryTTL && h.TTL.Std() <= MaxHistoryTTL, "%s is not from 1s to 24h", h.TTL.Std())
	at.at(".bytes").check(h.Bytes >= MinHistoryBytes && h.Bytes <= MaxHistoryBytes, "%d is not from %d to %d", h.Bytes, MinHistoryBytes, MaxHistoryBytes)
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}
