// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Publisher stores events: all of them, in order, or none.
type Publisher interface {
	// Publish answers with a receipt for each event. It owns the events, but not
	// the slice, and gives an event without an ID one. An error may have a
	// method `Code() string`: see Authorizer.
	Publish(ctx context.Context, channel string, events []*wire.Event) ([]wire.Receipt, error)
}

// Sessions knows who is connected.
type Sessions interface {
	// List returns the channel's sessions in an order that stays the same, and
	// reports whether these are all: whether all replicas could be asked.
	List(ctx context.Context, channel string) (sessions []wire.Session, all bool)
	// Disconnect ends a session. Errors have the code unknown_session or, when not
	// all replicas could be asked for it, unreachable.
	Disconnect(ctx context.Context, channel, id string) error
	// DisconnectUser ends all sessions of a user, counts them, and reports whether all
	// replicas could be asked.
	DisconnectUser(ctx context.Context, channel, user string) (sessions int, all bool)
	// ChangeRooms has a session join and leave rooms, and returns all that it is in
	// then, and from which offset on. Errors have the codes of Disconnect, or
	// too_many_rooms.
	ChangeRooms(ctx context.Context, channel, id string, join, leave []string) (rooms []string, offset string, err error)
	// Reached counts the sessions that an event is addressed to now, and reports
	// whether all replicas could be asked.
	Reached(ctx context.Context, channel string, ev *wire.Event) (sessions int, all bool)
}

// Presence knows who is there.
type Presence interface {
	// Who returns the users in a channel or, if room is not empty, in a room, by
	// name, and how many sessions there are, also those of no user. All reports
	// whether all replicas could be asked. An error has the code presence_off.
	Who(ctx context.Context, channel, room string) (who wire.Presence, all bool, err error)
}

// History knows what is kept of what was published.
type History interface {
	// Read returns a part of a channel's history. Its errors are as a Publisher's,
	// and *wire.LostError.
	Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error)
}

// Authorizer says who may publish.
type Authorizer interface {
	// Publisher says what the token's holder may publish to the channel. An
	// error's text is shown to the caller; its method `Code() string` decides
	// the status: token_missing, token_invalid and token_expired are 401,
	// not_allowed is 403, unknown_channel is 404, broker_refused is 507. All else is
	// 503.
	Publisher(channel, token string) (settings.Grant, error)
	// Anonymous says what those may publish to the channel who show no token; false:
	// nothing. They may do nothing else.
	Anonymous(channel string) (settings.Grant, bool)
}

// Rules are what requests are held to. They follow from the settings and are
// not changed once they are in use.
type Rules struct {
	Authorizer Authorizer
	// Channel is a channel's settings; nil when there is no such channel.
	Channel func(name string) *settings.Channel
	// Open lets callers on a loopback address do without a token, unless a web
	// page made them call.
	Open bool
}

// Config is what a Handler works with. All fields are needed.
type Config struct {
	Publisher Publisher
	Sessions  Sessions
	Presence  Presence
	History   History
	Clients   ClientEvents
	// Rules returns the current rules. It is called for each request and, in a
	// stream, for each batch.
	Rules func() *Rules
	// Refused is told the code of each request that is refused. It must not wait.
	Refused func(channel, code string)
}

// Handler serves the API.
type Handler struct {
	Config
	clock   func() time.Time
	silence time.Duration
	rates   rates
}

// New returns a Handler. It wants a server with the limits of NewServer.
func New(c Config) *Handler { return &Handler{Config: c, clock: time.Now, silence: streamSilence} }

// NewServer returns a server with limits that fit the API: a slow or silent
// peer holds a connection for a minute or two, not for good. A stream extends
// its own deadlines.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10, // a token of 16 KiB and then some
	}
}

// refusalPatience is how long whoever may not ask may take to send the rest.
const refusalPatience = time.Second

const prefix = "/v1/channels/"

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok {
		errNotFound.write(w)
		return
	}
	channel, rest, _ := strings.Cut(rest, "/")
	kind, id, hasID := strings.Cut(rest, "/")
	var serve func(http.ResponseWriter, *http.Request, *request) *problem
	var method string
	switch {
	case kind == "events" && !hasID && r.Method == http.MethodOptions && r.Header.Get(requestOrigin) != "":
		allowWebHook(w, r)
		return
	case kind == "events" && !hasID && r.Method == http.MethodGet:
		method, serve = http.MethodGet, h.listEvents
	case kind == "events" && !hasID:
		method, serve = http.MethodPost, h.publish
	case kind == "client-events" && !hasID:
		method, serve = http.MethodGet, h.listClientEvents
	case kind == "presence" && !hasID:
		method, serve = http.MethodGet, h.listPresence
	case kind == "sessions" && !hasID:
		method, serve = http.MethodGet, h.listSessions
	case kind == "sessions" && strings.HasSuffix(id, "/rooms") && strings.Count(id, "/") == 1 && id != "/rooms":
		method, serve = http.MethodPost, h.changeRooms
		id = strings.TrimSuffix(id, "/rooms")
	case kind == "sessions" && id != "" && !strings.Contains(id, "/"):
		method, serve = http.MethodDelete, h.disconnect
	case kind == "users" && id != "": // whatever a user's name has in it
		method, serve = http.MethodDelete, h.disconnectUser
	default:
		errNotFound.write(w)
		return
	}
	if r.Method != method {
		if kind == "events" {
			method = "GET, POST"
		}
		w.Header().Set("Allow", method)
		errMethod.write(w)
		return
	}
	req := &request{channel: channel, session: id, publishes: kind == "events" && method == http.MethodPost}
	p := h.authorize(r, req)
	if p == nil {
		p = serve(w, r, req)
	} else {
		// net/http reads what is left of a body before it answers.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(refusalPatience))
	}
	if p != nil {
		h.Refused(channel, p.Code)
		p.write(w)
	}
}

// request is what is known about a request once it may go on.
type request struct {
	channel   string
	session   string // or user
	publishes bool
	token     string
	grant     settings.Grant
	reached   bool // the answer is to say how many sessions the event is for
	settings  *settings.Channel
}
