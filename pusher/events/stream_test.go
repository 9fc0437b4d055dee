// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// conversation is one stream over a real connection.
type conversation struct {
	t    *testing.T
	in   *io.PipeWriter
	resp *http.Response
	out  *bufio.Reader
}

func serve(t *testing.T, r *rig) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config = NewServer(r)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// open begins a stream with a first line, which the answer waits for.
func open(t *testing.T, s *httptest.Server, first string) *conversation {
	t.Helper()
	pr, pw := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+eventsPath, pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer good")
	req.Header.Set("Content-Type", "application/x-ndjson")
	go func() { _, _ = io.WriteString(pw, first) }()
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pw.Close(); _ = resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("answer is %s, %s", resp.Status, resp.Header)
	}
	return &conversation{t, pw, resp, bufio.NewReader(resp.Body)}
}

func (c *conversation) say(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, s); err != nil {
		c.t.Fatal(err)
	}
}

// hear returns the next answer in short: an id, or a code and its line.
func (c *conversation) hear() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return short(c.t, line)
}

func short(t *testing.T, line string) string {
	t.Helper()
	var a struct {
		problem
		ID, Offset string
		Duplicate  bool
	}
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		t.Fatalf("answer %q: %v", line, err)
	}
	switch {
	case a.Code != "":
		return fmt.Sprintf("%s@%d", a.Code, a.Line)
	case a.Duplicate:
		return a.ID + " again"
	}
	return a.ID
}

func (c *conversation) want(answers ...string) {
	c.t.Helper()
	for _, want := range answers {
		if got := c.hear(); got != want {
			c.t.Fatalf("heard %q, want %q", got, want)
		}
	}
}

func TestStreamTranscripts(t *testing.T) {
	long := `{"data":"` + strings.Repeat("x", 600<<10) + `"}`
	for name, tc := range map[string]struct{ body, want string }{
		"nothing":             {"", ""},
		"blank lines":         {"\n \n\r\n", ""},
		"one":                 {`{"id":"a"}` + "\n", "a"},
		"no last newline":     {`{"id":"a"}` + "\n" + `{"id":"b"}`, "a b"},
		"CRLF":                {"{\"id\":\"a\"}\r\n{\"id\":\"b\"}\r\n", "a b"},
		"duplicates":          {`{"id":"a"}` + "\n" + `{"id":"a"}`, "a a again"},
		"bad lines":           {"x\n" + `{"id":"a"}` + "\n\n[]\n" + `{"data":"` + strings.Repeat("x", 64) + `"}` + "\n" + `{"id":"b"}`, "malformed@1 a invalid_event@4 event_too_large@5 b"},
		"reserved name":       {`{"id":"a"}` + "\n" + `{"event":"disconnect"}` + "\n" + `{"id":"b"}`, "a invalid_event@2 b"},
		"not UTF-8":           {"{\"id\":\"\xff\"}\n" + `{"id":"a"}`, "malformed@1 a"},
		"a long line":         {`{"id":"a"}` + "\n" + long + "\n" + `{"id":"b"}`, "a event_too_large@2 b"},
		"a long line, last":   {`{"id":"a"}` + "\n" + long, "a event_too_large@2"},
		"a line of spaces":    {strings.Repeat(" ", 100<<10) + `{"id":"a"}` + "\n", "a"},
		"longer than allowed": {strings.Repeat(" ", 600<<10) + "\n" + `{"id":"a"}`, "event_too_large@1 a"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			w := r.do(request1("POST", eventsPath, tc.body, "Content-Type", "application/x-ndjson"))
			var got []string
			for line := range strings.Lines(w.Body.String()) {
				got = append(got, short(t, line))
			}
			if w.Code != 200 || strings.Join(got, " ") != tc.want {
				t.Fatalf("answers are %d %q, want %q", w.Code, got, tc.want)
			}
		})
	}
}

func TestStreamAnswersAtOnce(t *testing.T) {
	r := newRig()
	c := open(t, serve(t, r), `{"id":"a"}`+"\n")
	c.want("a")
	c.say("\n" + `{"id":"b"}` + "\n" + `{"id":`)
	c.want("b")
	c.say(`"c"}` + "\nx\n")
	c.want("c", "malformed@5")
	_ = c.in.Close()
	c.want("EOF")
}

// TestStreamBatches: what has arrived together is stored together, in order.
func TestStreamBatches(t *testing.T) {
	r := newRig()
	var body, want strings.Builder
	const n = 2000
	for i := range n {
		fmt.Fprintf(&body, "{\"id\":\"%d\"}\n", i)
		fmt.Fprintf(&want, "{\"id\":\"%d\",\"offset\":\"e.%d\",\"duplicate\":false}\n", i, i+1)
	}
	w := r.do(request1("POST", eventsPath, body.String(), "Content-Type", "application/x-ndjson"))
	if w.Body.String() != want.String() {
		t.Fatalf("answers are %.300s", w.Body)
	}
	if got := len(r.store.batches); got > n/100 || got < n/batchLines {
		t.Fatalf("%d batches", got)
	}
}

func TestStreamEndsWhenStoreFails(t *testing.T) {
	r := newRig()
	c := open(t, serve(t, r), `{"id":"a"}`+"\n")
	c.want("a")
	r.store.mu.Lock()
	r.store.err = errors.New("broken")
	r.store.mu.Unlock()
	c.say(`{"id":"b"}` + "\nx\n" + `{"id":"c"}` + "\n")
	c.want("unavailable@2", "malformed@3", "unavailable@4", "EOF")
}

func TestStreamEndsWithItsChannel(t *testing.T) {
	r := newRig()
	c := open(t, serve(t, r), `{"id":"a"}`+"\n")
	c.want("a")
	none := func(string) *settings.Channel { return nil }
	r.rules.Store(&Rules{Authorizer: r.auth, Channel: none})
	c.say(`{"id":"b"}` + "\n")
	c.want("unknown_channel@2", "EOF")
	if got := len(r.store.events()); got != 1 {
		t.Fatalf("%d events are stored", got)
	}
}

// revoked refuses every token.
type revoked struct{}

func (revoked) Publisher(string, string) (settings.Grant, error) {
	return settings.Grant{}, coded("token_expired")
}

func (revoked) Anonymous(string) (settings.Grant, bool) { return settings.Grant{}, false }

func TestStreamEndsWithItsToken(t *testing.T) {
	r := newRig()
	var mu sync.Mutex
	now := time.Unix(1000, 0)
	r.clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	c := open(t, serve(t, r), `{"id":"a"}`+"\n")
	c.want("a")
	r.rules.Store(&Rules{Authorizer: revoked{}, Channel: limits(64)})
	c.say(`{"id":"b"}` + "\n")
	c.want("b") // it is not looked at each time
	mu.Lock()
	now = now.Add(recheck)
	mu.Unlock()
	c.say(`{"id":"c"}` + "\n")
	c.want("token_expired@3", "EOF")
}

func TestStreamEndsInSilence(t *testing.T) {
	r := newRig()
	r.silence = 50 * time.Millisecond
	c := open(t, serve(t, r), `{"id":"a"}`+"\n"+`{"id":`)
	c.want("a", "timeout@0", "EOF")
}

// TestStreamOutlivesServerTimeouts: the server's deadlines are for requests that
// end soon; a stream's answer ends well whenever it does.
func TestStreamOutlivesServerTimeouts(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.Config = NewServer(newRig())
	s.Config.ReadTimeout, s.Config.WriteTimeout = 20*time.Millisecond, 20*time.Millisecond
	s.Start()
	defer s.Close()
	pr, pw := io.Pipe()
	req := request1("POST", s.URL+eventsPath, "", "Content-Type", "application/x-ndjson")
	req.RequestURI, req.Body, req.ContentLength = "", pr, -1
	time.AfterFunc(100*time.Millisecond, func() { _ = pw.Close() }) // both deadlines have passed
	go func() { _, _ = io.WriteString(pw, "\n") }()
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || len(body) != 0 {
		t.Fatalf("answer is %s %q (%v)", resp.Status, body, err)
	}
}

// TestStreamCutOff: a line whose end never came is not an event.
func TestStreamCutOff(t *testing.T) {
	r := newRig()
	c := open(t, serve(t, r), `{"id":"a"}`+"\n")
	c.want("a")
	c.say(`{"id":"b"}`)
	_ = c.in.CloseWithError(errors.New("gone"))
	_, _ = io.Copy(io.Discard, c.out) // until the connection ends, by whatever answer
	for _, ev := range r.store.events() {
		if ev.ID != "a" {
			t.Fatalf("%s is stored", ev.ID)
		}
	}
}

// TestStreamLimitsFollowSettings: a stream outlives a change of its limits.
func TestStreamLimitsFollowSettings(t *testing.T) {
	r := newRig()
	c := open(t, serve(t, r), `{"id":"a"}`+"\n")
	c.want("a")
	line := `{"id":"b","data":"` + strings.Repeat("x", 100) + `"}` + "\n"
	c.say(line)
	c.want("event_too_large@2")
	r.rules.Store(&Rules{Authorizer: r.auth, Channel: limits(200)})
	c.say(line)
	c.want("b")
}

// TestKeptAliveConnection: a request after a stream has its own deadlines and
// finds the connection in order.
func TestKeptAliveConnection(t *testing.T) {
	r := newRig()
	s := serve(t, r)
	for i := range 3 {
		for _, contentType := range []string{"application/json", "application/x-ndjson"} {
			req := request1("POST", s.URL+eventsPath, fmt.Sprintf(`{"id":"%s-%d"}`, contentType, i), "Content-Type", contentType)
			req.RequestURI = ""
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "offset") {
				t.Fatalf("answer is %s %s (%v)", resp.Status, body, err)
			}
		}
	}
}
