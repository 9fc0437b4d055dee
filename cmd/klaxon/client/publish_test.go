// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// events answers as the events listener does: lines that say "bad" are refused.
func events(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"no token","code":"token_missing"}`)
			return
		}
		if r.Header.Get("Content-Type") == "application/json" {
			body, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s\n", body)
			return
		}
		ctl := http.NewResponseController(w)
		_ = ctl.EnableFullDuplex()
		in := bufio.NewScanner(r.Body)
		for line := 1; in.Scan(); line++ {
			if strings.Contains(in.Text(), "bad") {
				_, _ = fmt.Fprintf(w, `{"status":400,"detail":"bad line","code":"malformed","line":%d}`+"\n", line)
			} else {
				_, _ = fmt.Fprintf(w, `{"id":"i%d"}`+"\n", line)
			}
			_ = ctl.Flush()
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestPublish(t *testing.T) {
	s := events(t)
	var out strings.Builder
	p := Publisher{URL: s.URL, Token: "good"}
	ev := Event{Event: "paid", Data: []byte(`{"n": 1}`), Rooms: []string{"a", "b"}, ID: "x"}
	if err := p.Publish(t.Context(), ev, &out); err != nil {
		t.Fatal(err)
	}
	if want := `{"event":"paid","data":{"n":1},"rooms":["a","b"],"id":"x"}` + "\n"; out.String() != want {
		t.Fatalf("sent %s, want %s", out.String(), want)
	}
	out.Reset()
	if err := p.Publish(t.Context(), Event{}, &out); err != nil || out.String() != "{}\n" {
		t.Fatalf("sent %s (%v)", out.String(), err)
	}
}

func TestPublishFails(t *testing.T) {
	s := events(t)
	plainError := httptest.NewServer(http.NotFoundHandler())
	defer plainError.Close()
	for name, tc := range map[string]struct {
		p    Publisher
		ev   Event
		want string
	}{
		"refused":      {Publisher{URL: s.URL}, Event{}, "refused with 401: no token (token_missing)"},
		"not ours":     {Publisher{URL: plainError.URL}, Event{}, "refused with 404: 404 page not found"},
		"data":         {Publisher{URL: s.URL}, Event{Data: []byte("hello")}, `a string needs its quotes`},
		"not a server": {Publisher{URL: "http://127.0.0.1:1"}, Event{}, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := tc.p.Publish(t.Context(), tc.ev, &out)
			if err == nil || !strings.Contains(err.Error(), tc.want) || out.Len() != 0 {
				t.Fatalf("error %v, want %q; output %q", err, tc.want, out.String())
			}
		})
	}
}

func TestStream(t *testing.T) {
	s := events(t)
	var out strings.Builder
	p := Publisher{URL: s.URL, Token: "good"}
	if err := p.Stream(t.Context(), strings.NewReader("{}\n{}\n"), &out); err != nil || out.String() != "{\"id\":\"i1\"}\n{\"id\":\"i2\"}\n" {
		t.Fatalf("error %v, output %q", err, out.String())
	}
	out.Reset()
	err := p.Stream(t.Context(), strings.NewReader("bad\n{}\nbad\n{}\n"), &out)
	var problem *Problem
	if !errors.As(err, &problem) || problem.Line != 3 || !strings.HasPrefix(err.Error(), "2 refused, the last: line 3: ") {
		t.Fatalf("error %v", err)
	}
	if got := strings.Count(out.String(), "\n"); got != 4 {
		t.Fatalf("output %q", out.String())
	}
	if err := (Publisher{URL: s.URL}).Stream(t.Context(), strings.NewReader("{}\n"), &out); err == nil || !strings.Contains(err.Error(), "token_missing") {
		t.Fatalf("error %v", err)
	}
}

// TestStreamAnswersAtOnce: an answer is written before the next line is there.
func TestStreamAnswersAtOnce(t *testing.T) {
	s := events(t)
	in, feed := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Publisher{URL: s.URL, Token: "good"}.Stream(t.Context(), in, out) }()
	lines := bufio.NewReader(answers)
	for i := range 3 {
		if _, err := io.WriteString(feed, "{}\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("{\"id\":\"i%d\"}\n", i+1) {
			t.Fatalf("answer %q (%v)", line, err)
		}
	}
	_ = feed.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
