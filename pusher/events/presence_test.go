// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"net/http"
	"strings"
	"testing"
)

func TestPresence(t *testing.T) {
	for _, tc := range []struct {
		query   string
		partial bool
		want    string // or a code
	}{
		{"", false, `{"users":[{"user":"ann","sessions":2},{"user":"bob","sessions":1},{"user":"cem","sessions":1}],"userCount":3,"sessionCount":5}`},
		{"?room=a&limit=1", false, `{"room":"a","users":[{"user":"ann","sessions":2}],"userCount":3,"sessionCount":5,"next":"ann"}`},
		{"?limit=1&after=ann", false, `{"users":[{"user":"bob","sessions":1}],"userCount":3,"sessionCount":5,"next":"bob"}`},
		{"?limit=1&after=bob", false, `{"users":[{"user":"cem","sessions":1}],"userCount":3,"sessionCount":5}`},
		{"?after=zoe", true, `{"users":[],"userCount":3,"sessionCount":5,"partial":true}`},
		{"?limit=0", false, codeInvalidQuery},
		{"?room=", false, codeInvalidQuery},
		{"?user=ann", false, codeInvalidQuery},
		{"?room=a&room=b", false, codeInvalidQuery},
	} {
		r := newRig()
		r.sessions.partial = tc.partial
		w := r.do(request1(http.MethodGet, "/v1/channels/orders/presence"+tc.query, ""))
		if !strings.HasPrefix(tc.want, "{") {
			wantProblem(t, w, 400, tc.want)
			continue
		}
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusOK || got != tc.want {
			t.Errorf("%s: %d %s, want %s", tc.query, w.Code, got, tc.want)
		}
	}
	wantProblem(t, newRig().do(request1(http.MethodGet, "/v1/channels/silent/presence", "")), 409, "presence_off")
	wantProblem(t, newRig().do(request1(http.MethodPost, "/v1/channels/orders/presence", "")), 405, codeMethod)
}
