// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

var signingKey = []byte("0123456789abcdef0123456789abcdef")

// target is a handler at a URL.
func target(t *testing.T, c *Caller, url string, with ...func(*settings.Handler)) *Target {
	t.Helper()
	h := settings.Handler{
		Events: []string{"*"}, URL: url, Timeout: settings.Duration(5 * time.Second), Concurrency: 4,
		Keys: [][]byte{signingKey}, Loopback: true,
	}
	for _, w := range with {
		w(&h)
	}
	return c.Targets([]settings.Channel{{Name: "orders", Handlers: []settings.Handler{h}, Limits: settings.Limits{EventBytes: 1000}}})["orders"][0]
}

func within(d time.Duration) func(*settings.Handler) {
	return func(h *settings.Handler) { h.Timeout = settings.Duration(d) }
}

func caller(t *testing.T) *Caller {
	c := New(slog.New(slog.DiscardHandler))
	t.Cleanup(c.Close)
	return c
}

func backend(t *testing.T, h http.HandlerFunc) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func answers(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, body)
	}
}

func event(args string) *Call {
	return &Call{
		ID: "S.1", Type: TypeEvent, Source: "/namespaces/shop/channels/orders", Time: time.Unix(1700000000, 0),
		Channel: "orders", Session: "S", User: "änn", Rooms: []string{"a,b", "ü"}, Data: json.RawMessage(`{"n":1.0}`),
		What: &Event{Name: "say \"hi\"", Args: json.RawMessage(args), Ack: true},
	}
}

func TestACall(t *testing.T) {
	var got http.Header
	var body []byte
	c := caller(t)
	tg := target(t, c, backend(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		body, _ = io.ReadAll(r.Body)
		answers(`{"ack":[{"z":1.50,"a":"<&>"}],"emit":[{"event":"x","args":[1, 2],"to":"others"},{"event":"y","rooms":["r"]},{"event":"q","ack":{"ref":"1"}}],`+
			`"join":["r"],"leave":["s"],"data":null,"disconnect":true}`)(w, r)
	}), func(h *settings.Handler) { h.Keys = [][]byte{signingKey, []byte("another key, of 24 bytes")} })
	a, err := c.Do(t.Context(), tg, event(`[{"z":1.50,"a":"<&>"},12345678901234567890]`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"S.1","type":"dev.klaxon.client.event","source":"/namespaces/shop/channels/orders","time":"2023-11-14T22:13:20Z",` +
		`"channel":"orders","session":"S","user":"änn","rooms":["a,b","ü"],"data":{"n":1.0},` +
		`"event":"say \"hi\"","args":[{"z":1.50,"a":"<&>"},12345678901234567890],"ack":true}`
	if string(body) != strings.ReplaceAll(want, "2023-11-14T22:13:20Z", time.Unix(1700000000, 0).Format(time.RFC3339)) {
		t.Errorf("the body is\n%s\nnot\n%s", body, want)
	}
	for name, value := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "S.1", "Ce-Type": "dev.klaxon.client.event", "Ce-Source": "/namespaces/shop/channels/orders",
		"Ce-Subject": "S", "Ce-Time": "2023-11-14T22:13:20Z", "Ce-User": "%C3%A4nn", "Ce-Rooms": "a%2Cb,%C3%BC", "Ce-Event": "say%20%22hi%22",
		"Content-Type": "application/json", "Webhook-Id": "S.1", "Idempotency-Key": "S.1",
	} {
		if got.Get(name) != value {
			t.Errorf("%s is %q, not %q", name, got.Get(name), value)
		}
	}
	mac := hmac.New(sha256.New, signingKey)
	mac.Write([]byte("S.1." + got.Get("Webhook-Timestamp") + "." + string(body)))
	signatures := strings.Split(got.Get("Webhook-Signature"), " ")
	if len(signatures) != 2 || signatures[0] != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) || signatures[0] == signatures[1] {
		t.Errorf("the signatures are %q", signatures)
	}
	if string(a.Ack.List) != `[{"z":1.50,"a":"<&>"}]` || !slices.Equal(a.Join, []string{"r"}) || !slices.Equal(a.Leave, []string{"s"}) ||
		string(a.Data) != "null" || !a.Disconnect || len(a.Emit) != 3 {
		t.Errorf("the answer is %+v", a)
	}
	if a.Emit[0].To != ToOthers || string(a.Emit[0].Args) != "[1,2]" || a.Emit[1].To != ToAll || !a.Emit[2].Direct() || a.Emit[2].Ack.Patience() != defaultPatience {
		t.Errorf("the events are %+v", a.Emit)
	}
	if ev := a.Emit[0].Published("S"); !slices.Equal(ev.Except, []string{"S"}) || !ev.Spread || string(ev.Data) != "[1,2]" {
		t.Errorf("the published event is %+v", ev)
	}
}

func TestNothingToSay(t *testing.T) {
	c := caller(t)
	for name, h := range map[string]http.HandlerFunc{
		"204":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"200 and empty": func(http.ResponseWriter, *http.Request) {},
		"an object":     answers("{}"),
	} {
		a, err := c.Do(t.Context(), target(t, c, backend(t, h)), event("[]"))
		if err != nil || a.Ack != nil || len(a.Emit) > 0 || a.Disconnect {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// TestFailures: whatever a backend does there is an error that says what it was, in time.
func TestFailures(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(code)
		}
	}
	for name, tc := range map[string]struct {
		url     string
		handler http.HandlerFunc
		want    Reason
	}{
		"nobody listens": {url: "http://" + closed.Addr().String(), want: Unreachable},
		"no such name":   {url: "http://backend.invalid", want: Unreachable},
		"hanging": {handler: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			<-r.Context().Done()
		}, want: Timeout},
		"half an answer": {handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, want: Timeout},
		"cut off": {handler: func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		}, want: Unreachable},
		"500":                     {handler: status(500), want: Status5xx},
		"429":                     {handler: status(429), want: Overloaded},
		"503":                     {handler: status(503), want: Overloaded},
		"404":                     {handler: status(404), want: Status4xx},
		"a redirect":              {handler: status(302), want: Status4xx},
		"no JSON":                 {handler: answers("<html>"), want: Malformed},
		"half of JSON":            {handler: answers(`{"ack":[`), want: Malformed},
		"two answers":             {handler: answers(`{}{}`), want: Malformed},
		"a misspelt member":       {handler: answers(`{"akc":[]}`), want: Malformed},
		"a list":                  {handler: answers(`[]`), want: Malformed},
		"another type of content": {handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, want: Malformed},
		"an endless answer":       {handler: answers(`{"ack":["` + strings.Repeat("x", maxAnswer) + `"]}`), want: Malformed},
		"a large event":           {handler: answers(`{"emit":[{"event":"x","args":["` + strings.Repeat("x", 1000) + `"]}]}`), want: Malformed},
		"much session data":       {handler: answers(`{"data":"` + strings.Repeat("x", MaxData) + `"}`), want: Malformed},
		"a reserved name":         {handler: answers(`{"emit":[{"event":"disconnect"}]}`), want: Malformed},
		"nobody":                  {handler: answers(`{"emit":[{"event":"x","to":"nobody"}]}`), want: Malformed},
		"an ack of many":          {handler: answers(`{"emit":[{"event":"x","to":"all","ack":{"ref":"1"}}]}`), want: Malformed},
		"a loose placeholder":     {handler: answers(`{"ack":{"args":[{"_placeholder":true,"num":1}],"attachments":["AA=="]}}`), want: Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := caller(t)
			if tc.handler != nil {
				tc.url = backend(t, tc.handler)
			}
			begun := time.Now()
			_, err := c.Do(t.Context(), target(t, c, tc.url, within(500*time.Millisecond)), event("[]"))
			var f *Failure
			if !errors.As(err, &f) || f.Reason != tc.want || time.Since(begun) > 5*time.Second {
				t.Errorf("%v after %s, not %s", err, time.Since(begun), tc.want)
			}
		})
	}
}

func TestHandlersAreNotOnThisMachine(t *testing.T) {
	called := false
	url := backend(t, func(http.ResponseWriter, *http.Request) { called = true })
	c := caller(t)
	_, err := c.Do(t.Context(), target(t, c, strings.Replace(url, "127.0.0.1", "localhost", 1), func(h *settings.Handler) { h.Loopback = false }), event("[]"))
	if err == nil || called {
		t.Errorf("a loopback address: %v, called %v", err, called)
	}
}

// TestRepetition: a call that a backend cannot have understood, or which it could not
// take, comes again with the same id.
func TestRepetition(t *testing.T) {
	var mu sync.Mutex
	var ids []string
	c := caller(t)
	tg := target(t, c, backend(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		ids = append(ids, r.Header.Get("Ce-Id"))
		n := len(ids)
		mu.Unlock()
		if n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	if _, err := c.Do(t.Context(), tg, event("[]")); err != nil || !slices.Equal(ids, []string{"S.1", "S.1", "S.1"}) {
		t.Errorf("%v after calls %q", err, ids)
	}
}

// TestLimits: no more calls are under way than there are places, nor do more wait than
// may, and one target's calls do not wait for another's.
func TestLimits(t *testing.T) {
	var now, most atomic.Int64
	release := make(chan struct{})
	c := caller(t)
	slow := target(t, c, backend(t, func(_ http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		now.Add(-1)
	}))
	places := cap(slow.places)
	all := places + queueFactor*places + 5
	results := make(chan error, all)
	for range all {
		go func() {
			_, err := c.Do(context.Background(), slow, event("[]"))
			results <- err
		}()
	}
	for range 5 {
		var f *Failure
		if err := <-results; !errors.As(err, &f) || f.Reason != Busy {
			t.Fatalf("one too many: %v", err)
		}
	}
	quick := target(t, c, backend(t, answers("{}")))
	if _, err := c.Do(t.Context(), quick, event("[]")); err != nil {
		t.Errorf("beside a slow target: %v", err)
	}
	close(release)
	for range all - 5 {
		if err := <-results; err != nil {
			t.Errorf("of those that waited: %v", err)
		}
	}
	if most.Load() > int64(places) {
		t.Errorf("%d calls were under way, more than %d", most.Load(), places)
	}
}

// TestRest: a target that fails again and again is left alone for a while, and then
// found to be back by one call.
func TestRest(t *testing.T) {
	var calls atomic.Int64
	var broken atomic.Bool
	broken.Store(true)
	c := caller(t)
	tg := target(t, c, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}), within(100*time.Millisecond))
	var f *Failure
	for f == nil || f.Reason != Resting {
		_, err := c.Do(t.Context(), tg, event("[]"))
		if !errors.As(err, &f) || calls.Load() > 2*patience {
			t.Fatalf("%v after %d calls", err, calls.Load())
		}
	}
	before := calls.Load()
	if _, err := c.Do(t.Context(), tg, event("[]")); err == nil || calls.Load() != before {
		t.Fatalf("%v, called while it rests", err)
	}
	broken.Store(false)
	tg.mu.Lock()
	tg.until = time.Now()
	tg.mu.Unlock()
	for range 2 {
		if _, err := c.Do(t.Context(), tg, event("[]")); err != nil {
			t.Fatalf("when it is back: %v", err)
		}
	}
}

// TestWhatAClientCanMakeFail: a handler that fails by itself is there all the same.
func TestWhatAClientCanMakeFail(t *testing.T) {
	var calls atomic.Int64
	c := caller(t)
	tg := target(t, c, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	for i := range 3 * patience {
		var f *Failure
		if _, err := c.Do(t.Context(), tg, event("[]")); !errors.As(err, &f) || f.Reason != Status5xx || calls.Load() != int64(i+1) {
			t.Fatalf("%v after %d calls", err, calls.Load())
		}
	}
}

// TestSettingsChange: how a target fares is remembered when something else changes.
func TestSettingsChange(t *testing.T) {
	c := caller(t)
	before := target(t, c, "http://127.0.0.1:1", within(100*time.Millisecond))
	_, _ = c.Do(t.Context(), before, event("[]"))
	after := target(t, c, "http://127.0.0.1:1", within(200*time.Millisecond))
	if after.state != before.state || target(t, c, "http://127.0.0.1:2").state == before.state {
		t.Error("a target's state goes by something else than its URL")
	}
	if target(t, c, "http://127.0.0.1:1").state == before.state {
		t.Error("what is not there any more is remembered")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{}`, ``, `{"ack":[1]}`, `{"ack":{"args":[{"_placeholder":true,"num":0}],"attachments":["AA=="]}}`, `{"emit":[{"event":"x","args":[1],"to":"others","rooms":["r"]}]}`,
		`{"refuse":{"message":"no","data":{"a":1}}}`, `{"user":"u","data":{"a":1},"join":["r"],"leave":["s"],"disconnect":true}`,
		`{"emit":[{"event":"x","ack":{"ref":"1","timeout":5}}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b, 1000)
		if err != nil {
			return
		}
		for i := range a.Emit {
			ev := a.Emit[i].Published("S")
			if ev.Size() > 1000 || ev.Data != nil && !json.Valid(ev.Data) || a.Emit[i].To == "" {
				t.Fatalf("%q: %+v", b, ev)
			}
		}
		if a.Ack != nil && !json.Valid(a.Ack.Array()) {
			t.Fatalf("%q: ack %s", b, a.Ack.Array())
		}
	})
}

// BenchmarkDo is what a call costs, with the backend's half in the same process.
func BenchmarkDo(b *testing.B) {
	srv := httptest.NewServer(answers(`{"ack":["ok"]}`))
	defer srv.Close()
	c := New(slog.New(slog.DiscardHandler))
	defer c.Close()
	tg := c.Targets([]settings.Channel{{Name: "a", Limits: settings.Limits{EventBytes: 1000}, Handlers: []settings.Handler{{
		URL: srv.URL, Timeout: settings.Duration(5 * time.Second), Concurrency: 1000, Loopback: true,
	}}}})["a"][0]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Do(b.Context(), tg, event(`["hello"]`)); err != nil {
			b.Fatal(err)
		}
	}
}
