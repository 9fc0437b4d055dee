// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestTraceContext: a publisher's trace reaches clients of each protocol where the Channel
// asks for it, and nowhere else.
func TestTraceContext(t *testing.T) {
	const own, request = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	traced := spoken(open("traced"))
	traced.TraceContext = true
	srv := serve(t, traced, spoken(open("plain")))
	post := func(channel, kind, body, header string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+srv.EventsAddr().String()+"/v1/channels/"+channel+"/events", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Traceparent", header)
		resp, err := http.DefaultClient.Do(r)
		if err != nil || resp.StatusCode >= http.StatusBadRequest {
			t.Fatal(resp, err)
		}
		_ = resp.Body.Close()
	}
	c, e := connect(t, srv, "traced"), connectEngine(t, srv, "/traced")
	c.next("welcome")
	resp, err := http.Get("http://" + srv.ClientsAddr().String() + "/sse/traced")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for _, tc := range []struct{ kind, body, header, want string }{
		{"application/json", `{"event":"e","data":1}`, request, request},
		{"application/x-ndjson", `{"event":"e","data":1}`, request, request},
		{"application/json", `{"event":"e","data":1}`, "00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01", ""},
		{"application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"s","type":"e","data":1,"traceparent":"` + own + `"}`, request, own},
		{"application/cloudevents+json", `{"specversion":"1.0","id":"2","source":"s","type":"e","data":1}`, request, request},
	} {
		post("traced", tc.kind, tc.body, tc.header)
		m := c.next("event")
		packet := e.packet()
		field := ""
		for lines.Scan() && lines.Text() != "event: e" {
			if v, ok := strings.CutPrefix(lines.Text(), "traceparent: "); ok {
				field = v
			}
		}
		want := `42/traced,["e",1]`
		if tc.want != "" {
			want = fmt.Sprintf(`42/traced,["e",1,{"traceparent":%q}]`, tc.want)
		}
		if said, _ := m["traceparent"].(string); said != tc.want || packet != want || field != tc.want {
			t.Errorf("%s with %s: %v, %s, %q", tc.kind, tc.header, m, packet, field)
		}
	}
	c = connect(t, srv, "plain")
	c.next("welcome")
	post("plain", "application/json", `{"event":"e"}`, request)
	if m := c.next("event"); m["traceparent"] != nil {
		t.Errorf("without being asked for: %v", m)
	}
}
