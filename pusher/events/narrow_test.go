// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// narrowed is a request of a publisher that may publish order.* to rooms order:* and
// "ping" to anybody.
func narrowed(method, path, body string, header ...string) *http.Request {
	return request1(method, path, body, append([]string{"Authorization", "Bearer narrow"}, header...)...)
}

func TestNarrowedPublishersPublishNothingElse(t *testing.T) {
	r := newRig()
	for _, body := range []string{`{"event":"order.paid","rooms":["order:1","order:2"]}`, `{"event":"ping"}`, `[{"event":"ping"},{"event":"order.x","rooms":["order:1"]}]`} {
		if w := r.do(narrowed("POST", eventsPath, body)); w.Code != http.StatusOK {
			t.Errorf("%s is answered %d %s", body, w.Code, w.Body)
		}
	}
	stored := len(r.store.events())
	for _, body := range []string{
		`{"event":"order.paid"}`, `{}`, `{"event":"order.paid","rooms":["order:1","x"]}`, `{"event":"order.paid","rooms":["order:1"],"users":["ann"]}`,
		`{"event":"order.paid","sessions":["s"]}`, `{"event":"orders","rooms":["order:1"]}`,
	} {
		if p := wantProblem(t, r.do(narrowed("POST", eventsPath, body)), http.StatusForbidden, "not_allowed"); p.Index != nil || !strings.Contains(p.Detail, "spec.publishers") {
			t.Errorf("%s: %+v", body, p)
		}
	}
	p := wantProblem(t, r.do(narrowed("POST", eventsPath, `[{"event":"ping"},{"event":"pong"}]`)), http.StatusForbidden, "not_allowed")
	if p.Index == nil || *p.Index != 1 {
		t.Errorf("which event it is about: %+v", p)
	}
	wantProblem(t, r.do(narrowed("POST", eventsPath, `"x"`, "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "s", "Ce-Type", "order.paid", "Ce-Subject", "x")), http.StatusForbidden, "not_allowed")
	w := r.do(narrowed("POST", eventsPath, `{"event":"ping","id":"a"}`+"\n"+`{"event":"pong"}`+"\n"+`{"event":"ping","id":"b"}`+"\n", "Content-Type", "application/x-ndjson"))
	if lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n"); len(lines) != 3 || !strings.Contains(lines[0], `"id":"a"`) || !strings.Contains(lines[1], "not_allowed") || !strings.Contains(lines[2], `"id":"b"`) {
		t.Errorf("a stream is answered %s", w.Body)
	}
	if n := len(r.store.events()) - stored; n != 2 {
		t.Errorf("%d more are stored", n)
	}
	for path, method := range map[string]string{
		eventsPath: "GET", "/v1/channels/orders/sessions": "GET", "/v1/channels/orders/sessions/s1": "DELETE", "/v1/channels/orders/presence": "GET",
		"/v1/channels/orders/sessions/s1/rooms": "POST", "/v1/channels/orders/client-events": "GET",
	} {
		wantProblem(t, r.do(narrowed(method, path, "")), http.StatusForbidden, "not_allowed")
	}
	if channel, ok := r.refused.Load("not_allowed"); !ok || channel != "orders" {
		t.Errorf("refusals are not told: %v", channel)
	}
}

const anonymousPath = "/v1/channels/anonymous/events" // 10 events a second

func TestPublishersAreHeldToTheirRate(t *testing.T) {
	r := newRig()
	now := time.Unix(1000, 0)
	r.clock = func() time.Time { return now }
	publish := func(n int, header ...string) (status int, retryAfter string) {
		w := r.do(request1("POST", anonymousPath, "["+strings.TrimSuffix(strings.Repeat("{},", n), ",")+"]", header...))
		return w.Code, w.Header().Get("Retry-After")
	}
	for i, step := range []struct {
		after  time.Duration
		n      int
		status int
		retry  string
	}{
		{0, 20, 200, ""},                     // two seconds' worth at once
		{0, 1, 429, "1"},                     // nothing more
		{100 * time.Millisecond, 1, 200, ""}, // one has run off
		{0, 10, 429, "1"},
		{time.Second, 10, 200, ""},
		{2 * time.Second, 100, 200, ""}, // more than ever fits, at once
		{time.Second, 1, 429, "8"},      // and paid for
		{8 * time.Second, 1, 200, ""},
	} {
		now = now.Add(step.after)
		if status, retry := publish(step.n); status != step.status || retry != step.retry {
			t.Errorf("step %d: %d, Retry-After %q", i, status, retry)
		}
	}
	if status, _ := publish(20, "Authorization", ""); status != 200 {
		t.Errorf("another publisher is answered %d", status)
	}
	if channel, ok := r.refused.Load("rate_limited"); !ok || channel != "anonymous" {
		t.Errorf("refusals are not told: %v", channel)
	}
	if w := r.do(request1("POST", eventsPath, "["+strings.Repeat("{},", 999)+"{}]")); w.Code != 200 {
		t.Errorf("a channel without a rate: %d", w.Code)
	}
}

// TestRatesOfManyPublishersAreForgotten when they have run off.
func TestRatesOfManyPublishersAreForgotten(t *testing.T) {
	var r rates
	now := time.Unix(1000, 0)
	req := &request{channel: "anonymous", settings: limits(64)("anonymous")}
	for i := range 10 * maxBuckets {
		req.grant.Identity = fmt.Sprint(i)
		now = now.Add(time.Millisecond)
		r.take(req, 1, now)
	}
	if n := len(r.buckets); n > maxBuckets {
		t.Errorf("%d are known", n)
	}
}

// TestAStreamIsSlowedDown: it is refused nothing.
func TestAStreamIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			w := r.do(request1("POST", anonymousPath, strings.Repeat("{}\n", 1000), "Content-Type", "application/x-ndjson"))
			if n := strings.Count(w.Body.String(), `"offset"`); n != 1000 {
				t.Errorf("%d of 1000 are stored: %.300s", n, w.Body)
			}
		})
		wg.Wait()
		if took := time.Since(began); took < 50*time.Second || took > 120*time.Second {
			t.Errorf("a thousand at ten a second took %s", took)
		}
	})
}
