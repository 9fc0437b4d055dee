// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func get(t *testing.T, srv *Server, path, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+srv.AdminAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestAdminWantsTheCredential(t *testing.T) {
	srv := serve(t, open("orders"))
	sum := sha256.Sum256([]byte("credential"))
	s := document(open("orders"))
	s.Pusher.Admin.TokenSHA256 = hex.EncodeToString(sum[:])
	s.Seal()
	if err := srv.Reload(s); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, token string
		want        int
	}{
		{"/healthz", "", 200},
		{"/readyz", "", 200},
		{"/status", "", 401},
		{"/status", "wrong", 401},
		{"/status", "credential", 200},
		{"/metrics", "", 401},
		{"/metrics", "credential", 200},
	} {
		if got, body := get(t, srv, tc.path, tc.token); got != tc.want {
			t.Errorf("%s with %q answers %d %s, want %d", tc.path, tc.token, got, body, tc.want)
		}
	}
	s.Pusher.Admin.OpenMetrics = true
	s.Seal()
	if err := srv.Reload(s); err != nil {
		t.Fatal(err)
	}
	if got, _ := get(t, srv, "/metrics", ""); got != 200 {
		t.Errorf("open metrics answer %d", got)
	}
	if got, _ := get(t, srv, "/status", ""); got != 401 {
		t.Errorf("with open metrics, status answers %d", got)
	}
}

func TestHealthFailsWhenALoopIsStuck(t *testing.T) {
	srv := serve(t, open("orders"))
	srv.stuck = maxIdle + time.Second
	if got, body := get(t, srv, "/healthz", ""); got != 200 {
		t.Fatalf("idle loops answer %d %s", got, body)
	}
	release := make(chan struct{})
	go srv.onLoops(func(*shard) { <-release })
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got, body := get(t, srv, "/healthz", "")
		if got == 503 && strings.Contains(body, "has not turned for") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("stuck loops answer %d %s", got, body)
		}
	}
	if got, _ := get(t, srv, "/readyz", ""); got != 200 {
		t.Errorf("readiness answers %d", got)
	}
	close(release)
}

// maxIdle is how seldom an idle loop turns.
const maxIdle = time.Second

func TestMetricsCountWhatHappened(t *testing.T) {
	srv := serve(t, open("orders"))
	a, b := connect(t, srv, "orders"), connect(t, srv, "orders")
	a.next("welcome")
	b.next("welcome")
	mustPublish(t, srv, "orders", `{"id":"x"}`)
	mustPublish(t, srv, "orders", `{"id":"x"}`) // a duplicate
	a.next("event")
	b.next("event")
	// The counters are told at the end of the turn that wrote the events.
	for _, c := range []*client{a, b} {
		c.say(`{"type":"ping"}`)
		c.next("pong")
	}
	_, body := get(t, srv, "/metrics", "")
	for _, want := range []string{
		`klaxon_connections{channel="orders"} 2`,
		`klaxon_events_published_total{channel="orders"} 1`,
		`klaxon_deliveries_total 2`,
		`klaxon_events_dropped_total{reason="slow_client"} 0`,
		`klaxon_publish_to_write_seconds_count 2`,
		`klaxon_closes_total{code="4008"} 0`,
		`klaxon_settings_errors_total 0`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("metrics lack %q", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func TestDrainTellsEveryClientWhenToComeBack(t *testing.T) {
	srv := serve(t, open("orders"))
	paced := document(open("orders"))
	paced.Pusher.Drain.Period = settings.Duration(30 * time.Second)
	paced.Seal()
	if err := srv.Reload(paced); err != nil {
		t.Fatal(err)
	}
	var all []*client
	for range 20 {
		all = append(all, connect(t, srv, "orders"))
	}
	done := make(chan time.Duration)
	for _, c := range all {
		c.next("welcome")
	}
	go func() {
		begun := time.Now()
		srv.Drain()
		done <- time.Since(begun)
	}()
	hints := map[float64]bool{}
	for _, c := range all {
		m := c.next("reconnect")
		hints[m["after"].(float64)] = true
		if m["recovered"] != false {
			t.Fatalf("got %v", m)
		}
		c.closed(wire.CloseRestart)
		_ = c.conn.Close()
	}
	if len(hints) < 10 {
		t.Errorf("20 clients were given %d different times to come back", len(hints))
	}
	if took := <-done; took > 2*time.Second+500*time.Millisecond {
		t.Errorf("draining took %s, want at most 2s and what the race detector adds", took)
	}
	if _, err := http.Get("http://" + srv.AdminAddr().String() + "/healthz"); err == nil {
		t.Error("a drained server still answers")
	}
}

func TestPublishersAreRefusedWhileDraining(t *testing.T) {
	srv := serve(t, open("orders"))
	srv.draining.Store(true)
	resp := publish(t, srv, "orders", `{}`)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("answered %s", resp.Status)
	}
	srv.draining.Store(false) // so that the test's end drains
}

// mount writes settings as a projected volume does: a new folder, then ..data is
// swapped to it.
func mount(t *testing.T, dir, version string, files map[string][]byte) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, version), 0o755))
	for name, b := range files {
		must(os.WriteFile(filepath.Join(dir, version, name), b, 0o600))
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			must(os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
	}
	must(os.Symlink(version, filepath.Join(dir, "..tmp")))
	must(os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
}

func packed(t *testing.T, s *settings.Settings) map[string][]byte {
	t.Helper()
	p, err := settings.Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{settings.IndexFile: p.Index, settings.PartFile(0): p.Parts[0]}
}

func TestWatchFollowsAMountedVolume(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "..v1", packed(t, document(open("one"))))
	served := Fingerprint(dir)
	s, err := settings.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := New(Config{
		ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0",
		Log: slog.New(slog.DiscardHandler),
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Drain)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go srv.Watch(ctx, dir, served)
	c := connect(t, srv, "one")
	c.next("welcome")

	// A part of another version than the index: what is served stays.
	two := packed(t, document(open("one"), open("two")))
	torn := packed(t, document(open("one"), open("three")))
	torn[settings.PartFile(0)] = two[settings.PartFile(0)]
	mount(t, dir, "..v2", torn)
	await(t, "the torn settings to be noticed", func(st settings.Status) bool {
		return strings.Contains(st.SettingsError, "part-0.gz") && len(st.Channels) == 1
	}, srv)
	mount(t, dir, "..v3", two)
	await(t, "the new settings to be served", func(st settings.Status) bool {
		return st.SettingsError == "" && len(st.Channels) == 2
	}, srv)
	mustPublish(t, srv, "one", `{}`)
	c.next("event")
}

func await(t *testing.T, what string, ok func(settings.Status) bool, srv *Server) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(srv.Status()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b, _ := json.Marshal(srv.Status())
			t.Fatalf("waited in vain for %s: %s", what, b)
		}
	}
}
