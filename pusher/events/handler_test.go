// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// coded is an error as an Authorizer's or a Publisher's.
type coded string

func (c coded) Error() string { return "refused: " + string(c) }
func (c coded) Code() string  { return string(c) }

// authorizer takes the token "good" for the channels there are, and any code as
// the token that is refused with it.
type authorizer struct{ calls atomic.Int64 }

func (a *authorizer) Publisher(_, token string) (settings.Grant, error) {
	a.calls.Add(1)
	switch token {
	case "good":
		return settings.Grant{Identity: "token", Scopes: []settings.Scope{{}}}, nil
	case "narrow":
		return settings.Grant{Identity: "narrow", Scopes: []settings.Scope{{Events: []string{"order.*"}, Rooms: []string{"order:*"}}, {Events: []string{"ping"}}}}, nil
	case "":
		return settings.Grant{}, coded("token_missing")
	}
	return settings.Grant{}, coded(token)
}

func (*authorizer) Anonymous(channel string) (settings.Grant, bool) {
	return settings.Grant{Identity: "anonymous", Scopes: []settings.Scope{{}}}, channel == "anonymous" || channel == "nosuch"
}

// store keeps what is published, and stores no id twice.
type store struct {
	mu      sync.Mutex
	batches [][]*wire.Event
	ids     map[string]uint64
	seq     uint64
	err     error
}

func (s *store) Publish(_ context.Context, _ string, events []*wire.Event) ([]wire.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	s.batches = append(s.batches, append([]*wire.Event(nil), events...))
	var out []wire.Receipt
	for _, ev := range events {
		if seq, ok := s.ids[ev.ID]; ok {
			out = append(out, wire.Receipt{ID: ev.ID, Position: wire.Position{Epoch: "e", Seq: seq}, Duplicate: true})
			continue
		}
		s.seq++
		if ev.ID == "" {
			ev.ID = fmt.Sprintf("made-up-%d", s.seq)
		}
		s.ids[ev.ID] = s.seq
		out = append(out, wire.Receipt{ID: ev.ID, Position: wire.Position{Epoch: "e", Seq: s.seq}})
	}
	return out, nil
}

func (s *store) events() []*wire.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*wire.Event
	for _, b := range s.batches {
		all = append(all, b...)
	}
	return all
}

// directory has a few sessions.
type directory struct {
	ended   []string
	partial bool // not all could be asked
}

func (d *directory) List(_ context.Context, channel string) ([]wire.Session, bool) {
	var out []wire.Session
	for i := range 5 {
		out = append(out, wire.Session{ID: fmt.Sprintf("s%d", i), User: fmt.Sprintf("u%d", i%2), Rooms: []string{fmt.Sprintf("r%d", i%3)}, Protocol: channel})
	}
	return out, !d.partial
}

func (d *directory) Disconnect(_ context.Context, channel, id string) error {
	switch {
	case id != "s1" && d.partial:
		return coded("unreachable")
	case id != "s1":
		return coded(codeUnknownSession)
	}
	d.ended = append(d.ended, channel+"/"+id)
	return nil
}

func (d *directory) Who(_ context.Context, channel, room string) (wire.Presence, bool, error) {
	if channel == "silent" {
		return wire.Presence{}, true, coded("presence_off")
	}
	users := []wire.PresenceUser{{User: "ann", Sessions: 2}, {User: "bob", Sessions: 1}, {User: "cem", Sessions: 1}}
	return wire.Presence{Room: room, Users: users, PresenceTotals: wire.PresenceTotals{Users: 3, Sessions: 5}}, !d.partial, nil
}

func (d *directory) DisconnectUser(_ context.Context, channel, user string) (int, bool) {
	return len(channel) + len(user), !d.partial
}

func (*directory) ChangeRooms(_ context.Context, channel, id string, join, leave []string) ([]string, string, error) {
	switch {
	case id != "s1":
		return nil, "", coded(codeUnknownSession)
	case len(join) == wire.MaxRooms:
		return nil, "", coded("too_many_rooms")
	}
	return append([]string{channel}, append(join, leave...)...), "e.7", nil
}

func (d *directory) Reached(_ context.Context, channel string, ev *wire.Event) (int, bool) {
	return len(channel) + 10*len(ev.Rooms), !d.partial
}

// rig is a Handler with fakes around it.
type rig struct {
	*Handler
	auth     *authorizer
	store    *store
	sessions *directory
	rules    atomic.Pointer[Rules]
	refused  sync.Map // code → channel
}

func newRig() *rig {
	r := &rig{auth: &authorizer{}, store: &store{ids: map[string]uint64{}}, sessions: &directory{}}
	r.rules.Store(&Rules{Authorizer: r.auth, Channel: limits(64)})
	r.Handler = New(Config{Publisher: r.store, Sessions: r.sessions, Presence: r.sessions, Rules: r.rules.Load, Refused: func(channel, code string) { r.refused.Store(code, channel) }})
	return r
}

// limits knows a few channels.
func limits(eventBytes int64) func(string) *settings.Channel {
	channels := map[string]*settings.Channel{}
	for _, name := range []string{"orders", "silent", "anonymous", "flat"} {
		channels[name] = &settings.Channel{Name: name, Limits: settings.Limits{EventBytes: eventBytes}}
	}
	channels["anonymous"].Limits.PublishRate = 10
	channels["flat"].CloudEvents.IgnoreSubject = true
	return func(name string) *settings.Channel { return channels[name] }
}

const eventsPath = "/v1/channels/orders/events"

func request1(method, path, body string, header ...string) *http.Request {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer good")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func (r *rig) do(req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

// wantProblem checks an answer that is a problem and returns it.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) problem {
	t.Helper()
	var p problem
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		t.Fatalf("status %d, body is no problem: %v", w.Code, err)
	}
	if w.Code != status || p.Status != status || p.Code != code {
		t.Fatalf("answer is %d %+v, want %d %s", w.Code, p, status, code)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("media type is %s", got)
	}
	if p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Detail == "" {
		t.Fatalf("incomplete: %+v", p)
	}
	return p
}

func TestRoutes(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/", 404, codeNotFound, ""},
		{"POST", "/v1/channels/orders", 404, codeNotFound, ""},
		{"POST", "/v1/channels/orders/", 404, codeNotFound, ""},
		{"POST", "/v1/channels/orders/events/", 404, codeNotFound, ""},
		{"POST", "/v1/channels/orders/events/x", 404, codeNotFound, ""},
		{"DELETE", "/v1/channels/orders/sessions/", 404, codeNotFound, ""},
		{"DELETE", "/v1/channels/orders/sessions/a/b", 404, codeNotFound, ""},
		{"PUT", "/v1/channels/orders/events", 405, codeMethod, "GET, POST"},
		{"POST", "/v1/channels/orders/sessions", 405, codeMethod, "GET"},
		{"GET", "/v1/channels/orders/sessions/s1", 405, codeMethod, "DELETE"},
		{"POST", "/v1/channels/orders/sessions//rooms", 404, codeNotFound, ""},
		{"POST", "/v1/channels/orders/sessions/a/b/rooms", 404, codeNotFound, ""},
		{"GET", "/v1/channels/orders/sessions/s1/rooms", 405, codeMethod, "POST"},
		{"POST", "/v1/channels/orders/sessions/s1/rooms", 400, codeMalformed, ""},
		{"POST", "/v1/channels/nosuch/events", 404, codeUnknownChannel, ""},
		{"GET", "/v1/channels/nosuch/sessions", 404, codeUnknownChannel, ""},
		{"DELETE", "/v1/channels/nosuch/sessions/s1", 404, codeUnknownChannel, ""},
		{"DELETE", "/v1/channels/orders/sessions/s9", 404, codeUnknownSession, ""},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			w := newRig().do(request1(tc.method, tc.path, "{}"))
			wantProblem(t, w, tc.status, tc.code)
			if got := w.Header().Get("Allow"); got != tc.allow {
				t.Fatalf("Allow is %q", got)
			}
		})
	}
}

func TestAuthorization(t *testing.T) {
	for _, tc := range []struct {
		header    string
		status    int
		code      string
		challenge string
	}{
		{"", 401, "token_missing", "Bearer"},
		{"Basic good", 401, "token_missing", "Bearer"},
		{"Bearer", 401, "token_missing", "Bearer"},
		{"Bearer token_invalid", 401, "token_invalid", `Bearer error="invalid_token"`},
		{"bearer token_expired", 401, "token_expired", `Bearer error="invalid_token"`},
		{"Bearer not_allowed", 403, "not_allowed", ""},
		{"Bearer unknown_channel", 404, "unknown_channel", ""},
		{"Bearer something_else", 503, codeUnavailable, ""},
	} {
		for _, path := range []string{"POST " + eventsPath, "GET /v1/channels/orders/sessions", "DELETE /v1/channels/orders/sessions/s1"} {
			t.Run(tc.header+" "+path, func(t *testing.T) {
				r := newRig()
				method, path, _ := strings.Cut(path, " ")
				w := r.do(request1(method, path, "not even JSON", "Authorization", tc.header))
				wantProblem(t, w, tc.status, tc.code)
				if got := w.Header().Get("WWW-Authenticate"); got != tc.challenge {
					t.Fatalf("challenge is %q", got)
				}
				if len(r.store.events())+len(r.sessions.ended) != 0 {
					t.Fatal("it was done all the same")
				}
			})
		}
	}
}

func TestOpenPublishing(t *testing.T) {
	const ok = http.StatusOK
	for name, tc := range map[string]struct {
		closed       bool
		remote, host string
		header       []string
		status       int
	}{
		"loopback":             {remote: "127.0.0.1:5", host: "localhost:8081", status: ok},
		"loopback, IPv6":       {remote: "[::1]:5", host: "[::1]:8081", status: ok},
		"loopback, mapped":     {remote: "[::ffff:127.0.0.1]:5", host: "127.0.0.1", status: ok},
		"no port":              {remote: "127.0.0.1:5", host: "LOCALHOST", status: ok},
		"not open":             {closed: true, remote: "127.0.0.1:5", host: "localhost", status: 401},
		"another machine":      {remote: "10.0.0.1:5", host: "localhost", status: 401},
		"unix socket":          {remote: "@", host: "localhost", status: 401},
		"a web page":           {remote: "127.0.0.1:5", host: "localhost", header: []string{"Origin", "http://localhost:8081"}, status: 401},
		"a sandboxed page":     {remote: "127.0.0.1:5", host: "localhost", header: []string{"Origin", "null"}, status: 401},
		"a page's own name":    {remote: "127.0.0.1:5", host: "rebound.example.com:8081", status: 401},
		"an address elsewhere": {remote: "127.0.0.1:5", host: "10.0.0.1", status: 401},
		"behind a proxy":       {remote: "127.0.0.1:5", host: "localhost", header: []string{"X-Forwarded-For", "1.2.3.4"}, status: 401},
		"a good token":         {remote: "10.0.0.1:5", host: "x", header: []string{"Authorization", "Bearer good", "Origin", "http://x"}, status: ok},
		"a bad token":          {remote: "127.0.0.1:5", host: "localhost", header: []string{"Authorization", "Bearer token_invalid"}, status: 401},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			r.rules.Store(&Rules{Authorizer: r.auth, Channel: limits(64), Open: !tc.closed})
			req := request1("POST", eventsPath, "{}", append([]string{"Authorization", ""}, tc.header...)...)
			req.RemoteAddr, req.Host = tc.remote, tc.host
			if w := r.do(req); w.Code != tc.status {
				t.Fatalf("status is %d: %s", w.Code, w.Body)
			}
		})
	}
}

func TestOpenPublishingUnknownChannel(t *testing.T) {
	r := newRig()
	r.rules.Store(&Rules{Authorizer: r.auth, Channel: limits(64), Open: true})
	req := request1("POST", "/v1/channels/nosuch/events", "{}", "Authorization", "")
	req.RemoteAddr, req.Host = "127.0.0.1:5", "localhost"
	wantProblem(t, r.do(req), 404, codeUnknownChannel)
}

func TestSessions(t *testing.T) {
	for _, tc := range []struct {
		query string
		want  string // ids, then the total
		code  string
	}{
		{"", "s0 s1 s2 s3 s4 5", ""},
		{"?user=u1", "s1 s3 2", ""},
		{"?room=r0", "s0 s3 2", ""},
		{"?user=u1&room=r0", "s3 1", ""},
		{"?user=", "0", ""},
		{"?limit=2", "s0 s1 5", ""},
		{"?limit=0", "", codeInvalidQuery},
		{"?limit=10001", "", codeInvalidQuery},
		{"?limit=x", "", codeInvalidQuery},
		{"?rooms=r0", "", codeInvalidQuery},
		{"?room=r0&room=r1", "", codeInvalidQuery},
	} {
		t.Run(tc.query, func(t *testing.T) {
			w := newRig().do(request1("GET", "/v1/channels/orders/sessions"+tc.query, ""))
			if tc.code != "" {
				wantProblem(t, w, 400, tc.code)
				return
			}
			var list struct {
				Sessions []wire.Session
				Total    int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list.Sessions == nil {
				t.Fatalf("answer is %s (%v)", w.Body, err)
			}
			got := ""
			for _, s := range list.Sessions {
				got += s.ID + " "
			}
			if got += fmt.Sprint(list.Total); got != tc.want {
				t.Fatalf("answer is %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDisconnect(t *testing.T) {
	r := newRig()
	w := r.do(request1("DELETE", "/v1/channels/orders/sessions/s1", ""))
	if w.Code != http.StatusNoContent || w.Body.Len() != 0 || len(r.sessions.ended) != 1 || r.sessions.ended[0] != "orders/s1" {
		t.Fatalf("answer is %d %s, ended %v", w.Code, w.Body, r.sessions.ended)
	}
	wantProblem(t, r.do(request1("DELETE", "/v1/channels/orders/sessions/s2", "")), 404, codeUnknownSession)
	r.sessions.partial = true
	wantProblem(t, r.do(request1("DELETE", "/v1/channels/orders/sessions/s2", "")), 503, "unreachable")
}

func TestPublisherFails(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"channel gone": {fmt.Errorf("x: %w", coded("unknown_channel")), 404, "unknown_channel"},
		"broken":       {errors.New("secret inner state"), 503, codeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			r.store.err = tc.err
			w := r.do(request1("POST", eventsPath, "[{},{}]"))
			if p := wantProblem(t, w, tc.status, tc.code); strings.Contains(p.Detail, "secret") || p.Index != nil {
				t.Fatalf("shows %+v", p)
			}
			if retry := w.Header().Get("Retry-After") != ""; retry != (tc.status == 503) {
				t.Fatalf("Retry-After is %q", w.Header().Get("Retry-After"))
			}
		})
	}
}

func TestRoomsOfASession(t *testing.T) {
	const path = "/v1/channels/orders/sessions/"
	many := `"r` + strings.Repeat(`","r`, wire.MaxRooms) + `"`
	for _, tc := range []struct {
		session, body string
		status        int
		want          string
	}{
		{"s1", `{"join":["a","b"],"leave":["c"]}`, 200, `{"offset":"e.7","rooms":["orders","a","b","c"]}`},
		{"s1", `{"leave":["c"]}`, 200, `{"offset":"e.7","rooms":["orders","c"]}`},
		{"s2", `{"join":["a"]}`, 404, codeUnknownSession},
		{"s1", `{"join":[` + strings.TrimPrefix(many, `"r",`) + `]}`, 409, "too_many_rooms"},
		{"s1", `{"join":[` + many + `]}`, 400, codeMalformed},
		{"s1", `{"join":[""]}`, 400, codeMalformed},
		{"s1", `{"rooms":["a"]}`, 400, codeMalformed},
		{"s1", `["a"]`, 400, codeMalformed},
		{"s1", `{"join":["` + strings.Repeat("x", maxRoomsBody) + `"]}`, 400, codeMalformed},
	} {
		w := newRig().do(request1(http.MethodPost, path+tc.session+"/rooms", tc.body))
		if tc.status == http.StatusOK {
			if got := strings.TrimSpace(w.Body.String()); w.Code != tc.status || got != tc.want {
				t.Errorf("%.80s: %d %s, want %s", tc.body, w.Code, got, tc.want)
			}
			continue
		}
		wantProblem(t, w, tc.status, tc.want)
	}
}
