// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Format is the version of the document's shape. Load refuses any other.
const Format = 1

// Settings is everything that a push server is told.
type Settings struct {
	// Format is always the constant Format.
	Format int `json:"format"`
	// Revision identifies the content of the whole document. Seal sets it.
	Revision string `json:"revision"`
	// Pusher holds what concerns every Channel.
	Pusher Pusher `json:"pusher"`
	// Channels are sorted by name.
	Channels []Channel `json:"channels"`
}

// Pusher holds what concerns every Channel of a push server.
type Pusher struct {
	// Namespace and Name identify the Pusher; they make up its own audience.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`

	Heartbeat Heartbeat `json:"heartbeat"`
	Drain     Drain     `json:"drain"`
	Admin     Admin     `json:"admin"`

	// ServiceAccounts says how ServiceAccount tokens are verified. Nil: they
	// cannot be, and are refused.
	ServiceAccounts *ServiceAccountIssuer `json:"serviceAccounts,omitempty"`

	// OpenPublishing lets publishers on a loopback address publish without a
	// token. Only `klaxon serve` sets it.
	OpenPublishing bool `json:"openPublishing,omitempty"`

	// Limits bounds what one push server takes.
	Limits PusherLimits `json:"limits,omitzero"`

	// TrustedProxies are the networks, in CIDR notation, of proxies whose X-Forwarded-For
	// says who clients are.
	TrustedProxies []string `json:"trustedProxies,omitempty"`

	// NATS is the broker that all replicas share. Nil: there is one replica, and its
	// events live in its memory. A push server that runs does not change it.
	NATS *NATS `json:"nats,omitempty"`

	// SessionKey has 32 bytes that only the replicas know: ids of sessions and
	// tokens to resume them are good at all of them, also after a restart. Empty:
	// each push server makes one.
	SessionKey []byte `json:"sessionKey,omitempty"`
}

// PusherLimits bounds what one push server takes. 0, as in documents older than a field:
// there is no bound.
type PusherLimits struct {
	// AcceptRate is how many new connections are let in each second, in the long run.
	AcceptRate int64 `json:"acceptRate,omitempty"`
	// ConnectionsPerAddress is the largest number of connections from one address at once.
	ConnectionsPerAddress int64 `json:"connectionsPerAddress,omitempty"`
	// MemoryPercent of what GOMEMLIMIT says is from where on newcomers are sent elsewhere.
	// Half-way from there to all of it, the slowest clients are closed.
	MemoryPercent int64 `json:"memoryPercent,omitempty"`
}

// NATS says where a broker of NATS with JetStream is.
type NATS struct {
	// URL, or several with commas between, as nats://HOST:PORT or tls://HOST:PORT.
	URL string `json:"url"`
	// Replicas is how many of its nodes keep the events: 1, 3 or 5.
	Replicas int `json:"replicas"`
	// Memory keeps them in memory, not in files.
	Memory bool `json:"memory,omitempty"`
	// User and Password to log in with. Empty: nobody asks.
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	// CA has the certificates that vouch for the nodes, Certificate and Key are this
	// Pusher's own; all in PEM. Empty: the system's, and none.
	CA          []byte `json:"ca,omitempty"`
	Certificate []byte `json:"certificate,omitempty"`
	Key         []byte `json:"key,omitempty"`
}

// Heartbeat finds connections whose other end is gone.
type Heartbeat struct {
	Interval Duration `json:"interval"`
	Timeout  Duration `json:"timeout"`
}

// Drain says how long parting with all clients may take.
type Drain struct {
	Period    Duration `json:"period"`
	MaxPeriod Duration `json:"maxPeriod"`
}

// Admin guards the admin listener.
type Admin struct {
	// TokenSHA256 is the hex SHA-256 of the bearer token that /status and
	// /metrics ask for. Empty: nobody is asked.
	TokenSHA256 string `json:"tokenSHA256,omitempty"`
	// OpenMetrics lifts the question for /metrics.
	OpenMetrics bool `json:"openMetrics,omitempty"`
}

// ServiceAccountIssuer verifies the projected tokens of a cluster's ServiceAccounts.
type ServiceAccountIssuer struct {
	// Issuer must equal a token's "iss".
	Issuer string `json:"issuer"`
	// JWKS is the issuer's JSON Web Key Set (RFC 7517).
	JWKS json.RawMessage `json:"jwks"`
}

// Channel is one Channel as a push server needs it.
type Channel struct {
	Name string `json:"name"`
	// UID tells a Channel from one of the same name that was deleted. A log of
	// events is of one UID. Empty where there are no UIDs.
	UID string `json:"uid,omitempty"`
	// Revision identifies this Channel's content. Seal sets it.
	Revision    string      `json:"revision"`
	Clients     Clients     `json:"clients"`
	Publishers  Publishers  `json:"publishers"`
	Limits      Limits      `json:"limits"`
	SlowClients SlowClients `json:"slowClients"`
	History     History     `json:"history"`
	// Presence lets clients watch who is there.
	Presence bool `json:"presence,omitempty"`
	// TraceContext sends clients the traceparent of what published an event.
	TraceContext bool     `json:"traceContext,omitempty"`
	SocketIO     SocketIO `json:"socketIO"`
	// CloudEvents says whom a CloudEvent is for.
	CloudEvents CloudEvents `json:"cloudEvents,omitzero"`
	// Compression of WebSocket messages. Nil: none is compressed.
	Compression *Compression `json:"compression,omitempty"`
	// Handlers are told what clients do. Of several that want something, the first
	// with a URL is asked; all streams get it.
	Handlers []Handler `json:"handlers,omitempty"`
}

// Handler is a backend that is told what clients do.
type Handler struct {
	// Events are what it wants to know: OnConnect, OnDisconnect, events by name, by
	// "prefix*", or "*" for all events.
	Events []string `json:"events,omitempty"`
	// Rooms of which it wants to know when somebody comes to them and when everybody has
	// left: by name, by "prefix*", or "*" for all.
	Rooms []string `json:"rooms,omitempty"`
	// URL that is called. Empty: backends read it as a stream.
	URL string `json:"url,omitempty"`
	// Timeout bounds a call, with the wait for its turn.
	Timeout Duration `json:"timeout,omitempty"`
	// Concurrency is how many calls one push server has under way.
	Concurrency int64 `json:"concurrency,omitempty"`
	// Keys sign calls.
	Keys [][]byte `json:"keys,omitempty"`
	// Loopback lets URL be on this machine. Only `klaxon serve` sets it.
	Loopback bool `json:"loopback,omitempty"`
}

// What handlers can want besides events. No event can have these names: Socket.IO
// keeps them to itself.
const (
	OnConnect    = "connect"
	OnDisconnect = "disconnect"
)

// Wants reports whether the handler is to know of an event, or of OnConnect or OnDisconnect.
func (h *Handler) Wants(event string) bool {
	for _, p := range h.Events {
		prefix, all := strings.CutSuffix(p, "*")
		if p == event || all && event != OnConnect && event != OnDisconnect && strings.HasPrefix(event, prefix) {
			return true
		}
	}
	return false
}

// WantsRoom reports whether the handler is to know of a room.
func (h *Handler) WantsRoom(room string) bool {
	for _, p := range h.Rooms {
		prefix, all := strings.CutSuffix(p, "*")
		if p == room || all && strings.HasPrefix(room, prefix) {
			return true
		}
	}
	return false
}

// Names reports whether the handler has an event's very name.
func (h *Handler) Names(event string) bool { return slices.Contains(h.Events, event) }

// Clients says who may connect.
type Clients struct {
	Anonymous bool `json:"anonymous,omitempty"`
	// AllowedOrigins as in the Channel. Empty: the origin's host must be the request's.
	AllowedOrigins []string    `json:"allowedOrigins,omitempty"`
	JWT            []JWTIssuer `json:"jwt,omitempty"`
	// Cookie is the name of one that may hold the token. Empty: none may.
	Cookie string `json:"cookie,omitempty"`
	// Rules are CEL expressions by which clients may "connect", "join", "emit" and
	// "publish". Where there is none, connecting needs a token or Anonymous, joining the token's
	// claim "rooms", emitting a handler of the event, and nobody publishes.
	Rules map[string]string `json:"rules,omitempty"`
	// Revoked are users and tokens that may not connect any more.
	Revoked Revoked `json:"revoked,omitzero"`
}

// Revoked lists subjects of tokens, and tokens by their "jti".
type Revoked struct {
	Users    []string `json:"users,omitempty"`
	TokenIDs []string `json:"tokenIDs,omitempty"`
}

// JWTIssuer trusts one issuer's tokens.
type JWTIssuer struct {
	Issuer    string   `json:"issuer"`
	Audiences []string `json:"audiences"`
	// HMACKey is the key for HS256, HS384 and HS512.
	HMACKey []byte `json:"hmacKey,omitempty"`
	// JWKS is, in its place, the issuer's JSON Web Key Set (RFC 7517).
	JWKS json.RawMessage `json:"jwks,omitempty"`
	// JWKSURL is where whoever wrote the settings has it from. Push servers do not fetch it:
	// they say in their Status when keys are missing.
	JWKSURL string `json:"jwksURL,omitempty"`
	// ClockSkew is how far the issuer's clock may differ. 0: as with ServiceAccounts.
	ClockSkew Duration `json:"clockSkew,omitempty"`
}

// ServiceAccount is a Kubernetes identity, here only two strings of a token.
type ServiceAccount struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Limits bounds what clients and publishers can ask of a Channel.
type Limits struct {
	// EventBytes is the largest data of one event.
	EventBytes int64 `json:"eventBytes"`
	// Connections is the largest number of sessions at once.
	Connections int64 `json:"connections"`
	// EmitRate is how many events a session may emit each second, in the long run. 0, as
	// in documents older than the field: as many as it likes.
	EmitRate int64 `json:"emitRate,omitempty"`
	// TotalEmitRate is how many events all sessions of one push server may emit each second, in
	// the long run. 0: there is no bound.
	TotalEmitRate int64 `json:"totalEmitRate,omitempty"`
	// RoomsPerSession is how many rooms a session may be in. 0: wire.MaxRooms.
	RoomsPerSession int64 `json:"roomsPerSession,omitempty"`
	// ConnectionsPerUser is the largest number of sessions of one user at once, on one push
	// server. 0: there is no bound.
	ConnectionsPerUser int64 `json:"connectionsPerUser,omitempty"`
	// JoinRate is how many rooms a session may ask to join, leave, watch and unwatch each
	// second, in the long run; any other request counts as one. 0, as in documents older
	// than the field: as many as it likes.
	JoinRate int64 `json:"joinRate,omitempty"`
	// PublishRate is how many events each publisher may publish through one push server
	// each second, in the long run. 0, as in documents older than the field: as many as it likes.
	PublishRate int64 `json:"publishRate,omitempty"`
}

// SlowClientPolicy says what happens when a session's unsent bytes exceed the buffer.
type SlowClientPolicy string

// The policies for slow clients.
const (
	Disconnect SlowClientPolicy = "Disconnect"
	DropOldest SlowClientPolicy = "DropOldest"
)

// SlowClients says what happens to a client that reads slower than events come.
type SlowClients struct {
	BufferBytes int64            `json:"bufferBytes"`
	Policy      SlowClientPolicy `json:"policy"`
}

// History bounds a Channel's log of events. The zero History keeps none, as in
// documents older than the field.
type History struct {
	// Size is how many events are kept. 0: none.
	Size int64 `json:"size"`
	// TTL is how long an event is kept.
	TTL Duration `json:"ttl"`
	// Bytes is how much the kept events may take in all.
	Bytes int64 `json:"bytes"`
}

// SocketIO says how Socket.IO clients reach a Channel.
type SocketIO struct {
	// Namespace that stands for the Channel, no other Channel's of the document.
	// Empty, as in documents older than the field: Socket.IO clients cannot
	// reach the Channel.
	Namespace string `json:"namespace,omitempty"`
	// Recovery tells clients what they need to ask for what they missed.
	Recovery bool `json:"recovery,omitempty"`
}

// CloudEvents says whom a CloudEvent is for that does not name anybody by an
// extension attribute.
type CloudEvents struct {
	// IgnoreSubject: for the whole Channel, and not for the room of its subject.
	IgnoreSubject bool `json:"ignoreSubject,omitempty"`
}

// Compression says which WebSocket messages are compressed (RFC 7692) for
// clients that offer it.
type Compression struct {
	// MinBytes is the least size of such a message, before compression.
	MinBytes int64 `json:"minBytes"`
}

// Duration is a time.Duration that JSON shows as a string such as "25s".
type Duration time.Duration

// MarshalJSON writes the duration as time.Duration's String does.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// UnmarshalJSON reads what time.ParseDuration reads.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is a string such as \"25s\": %w", err)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Audience is the audience of tokens by which publishers of the Channels' own
// namespace may publish.
const Audience = "push.klaxon.dev"

// Audience is the audience of tokens that only this Pusher takes, for
// publishers of any namespace.
func (p Pusher) Audience() string {
	return Audience + "/" + p.Namespace + "/" + p.Name
}

// Seal sets the Format and all revisions from the content, so that equal
// content has equal revisions and any change makes another.
func (s *Settings) Seal() {
	s.Format = Format
	for i := range s.Channels {
		s.Channels[i].Revision = ""
		s.Channels[i].Revision = revision(s.Channels[i])
	}
	s.Revision = ""
	s.Revision = revision(s)
}

// BrokerFingerprint tells one way to a broker from another, as far as a push server
// learns of it only when it starts; empty: there is none. Passwords and certificates
// are used from the next login on. The session key is part of it, so that nothing can
// be guessed from it.
func (p Pusher) BrokerFingerprint() string {
	if p.NATS == nil {
		return ""
	}
	fixed := *p.NATS
	fixed.User, fixed.Password, fixed.Certificate, fixed.Key = "", "", nil, nil
	return revision(struct {
		NATS            NATS
		Login, Identity bool
		Key             []byte
	}{fixed, p.NATS.User != "", len(p.NATS.Certificate) > 0, p.SessionKey})
}

// revision is the first 64 bits of the content's SHA-256 in hex: enough to tell
// revisions of one object apart, and no secret can be found from it.
func revision(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("settings: %T cannot be marshalled: %v", v, err))
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
}
