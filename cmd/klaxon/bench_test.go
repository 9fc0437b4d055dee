// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench"
	"github.com/klaxon-dev/klaxon/controllers/manifests"
	"github.com/klaxon-dev/klaxon/pusher"
)

// TestMain makes this executable klaxon when klaxon bench starts it as a worker.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "bench" && os.Args[2] == benchWorker {
		main()
		return
	}
	// The race detector would keep each worker for a second at its end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// server serves Channels c0 to c2, slow and dropping, for everyone.
func server(t *testing.T) *pusher.Server {
	t.Helper()
	dir := t.TempDir()
	var all strings.Builder
	for i := range 3 {
		fmt.Fprintf(&all, "%smetadata: {name: c%d}\nspec: {pusherRef: {name: edge}, clients: {anonymous: true}}\n---\n", head, i)
	}
	for name, policy := range map[string]string{"slow": "Disconnect", "dropping": "DropOldest"} {
		fmt.Fprintf(&all, "%smetadata: {name: %s}\nspec: {pusherRef: {name: edge}, clients: {anonymous: true}, slowClients: {policy: %s}}\n---\n", head, name, policy)
	}
	all.WriteString("apiVersion: push.klaxon.dev/v1alpha1\nkind: Pusher\nmetadata: {name: edge}\n")
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(all.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	loader, err := manifests.NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	s, _, problems, err := (&folder{loader: loader, path: dir, publishing: manifests.OpenOnLoopback}).load()
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	srv, err := pusher.New(pusher.Config{
		ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Drain)
	return srv
}

// measure runs klaxon bench and returns its report.
func measure(t *testing.T, srv *pusher.Server, channel, flags string) (*bench.Report, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	err := benchmark(append(strings.Fields(flags), "--json", file,
		"--url", fmt.Sprintf("ws://%s/ws/%s", srv.ClientsAddr(), channel),
		"--publish-url", fmt.Sprintf("http://%s/v1/channels/%s/events", srv.EventsAddr(), channel)))
	b, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatal(readErr, err)
	}
	var r bench.Report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return &r, err
}

func TestBench(t *testing.T) {
	srv := server(t)
	for _, tc := range []struct {
		channel, flags string
		published      int
		each           uint64 // deliveries of an event
	}{
		{"c0", "--connections 6 --rate 200 --duration 100ms", 20, 6},
		{"c0", "--connections 6 --rate 200 --duration 100ms --pipeline --size 1000 --processes 3", 20, 6},
		{"c0", "--connections 6 --rate 200 --duration 100ms --ndjson", 20, 6},
		{"c{ch}", "--connections 6 --channels 3 --rate 300 --duration 100ms --publishers 2", 30, 2},
		{"c{ch}", "--connections 12 --channels 3 --rooms 2 --phases rate:300:100ms,idle:10ms,rate:600:100ms --ndjson", 60, 2},
		{"c0", "--connections 12 --rooms 4 --rate 400 --duration 100ms --publishers 4 --connect-rate 1000", 40, 3},
		{"c0", "--connections 0 --rate 200 --duration 100ms", 20, 0},
	} {
		t.Run(tc.flags, func(t *testing.T) {
			report, err := measure(t, srv, tc.channel, tc.flags)
			if err != nil {
				t.Fatal(err)
			}
			got := report.Steps[len(report.Steps)-1].Traffic
			if got.Published != tc.published || got.Delivered != uint64(tc.published)*tc.each {
				t.Errorf("%d published, %d delivered", got.Published, got.Delivered)
			}
		})
	}
}

func TestBenchInFlight(t *testing.T) {
	srv := server(t)
	for _, flags := range []string{
		"--connections 4 --in-flight 1", "--connections 4 --in-flight 8 --pipeline", "--connections 4 --in-flight 8 --ndjson",
		"--connections 0 --in-flight 8 --pipeline",
	} {
		report, err := measure(t, srv, "c1", "--duration 50ms --server-pid "+strconv.Itoa(os.Getpid())+" "+flags)
		if err != nil {
			t.Fatalf("%s: %v", flags, err)
		}
		got, connections := report.Steps[1].Traffic, report.Setup.Connections
		if got.Published == 0 || got.Delivered != uint64(got.Published*connections) || report.Steps[1].Server.CPUPerPublish <= 0 {
			t.Errorf("%s: %+v, server %+v", flags, got, report.Steps[1].Server)
		}
	}
}

// TestBenchSlowClients: what a server does to clients that do not read, by its
// own rules, is told and is no fault; the others miss nothing.
func TestBenchSlowClients(t *testing.T) {
	srv := server(t)
	// More than the kernel keeps for a socket and the server for a client.
	const flags = "--connections 6 --size 60000 --phases slow:50%:200:500ms"
	report, err := measure(t, srv, "dropping", flags)
	if err != nil {
		t.Fatal(err)
	}
	got := report.Steps[1].Traffic
	if got.SlowClients != 3 || got.Delivered != 300 || got.Check.Gaps == 0 || got.Check.Dropped == 0 || len(got.Check.ClosedSlow) > 0 {
		t.Errorf("with DropOldest: %+v", got)
	}
	if report, err = measure(t, srv, "slow", flags); err != nil {
		t.Fatal(err)
	}
	got = report.Steps[1].Traffic
	if got.SlowClients != 3 || got.Delivered != 300 || got.Check.Gaps != 0 || len(got.Check.ClosedSlow) == 0 {
		t.Errorf("with Disconnect: %+v", got)
	}
}

func TestBenchFails(t *testing.T) {
	srv := server(t)
	report, err := measure(t, srv, "nosuch", "--connections 3")
	if err == nil || report.Steps[0].Connect.Failures["close 4004 there is no such channel"] != 3 {
		t.Errorf("error %v, %+v", err, report.Steps[0].Connect)
	}
	const urls = "--url ws://h/ws/c --publish-url http://h/v1/channels/c/events "
	for _, tc := range []struct{ flags, want string }{
		{"", "usage: klaxon bench --url"},
		{"--url ws://h/ws/c x", "usage: klaxon bench --url"},
		{urls + "--protocol mqtt", `there is no protocol "mqtt": use ws, socketio or sse`},
		{urls + "--channels 2", "--url must say where the channel's number goes: {ch}"},
		{"--url ws://h/ws/{ch} --publish-url http://h/c --channels 2", "--publish-url must say where the channel's number goes: {ch}"},
		{urls + "--phases rate:5", `"rate:5" is no phase: write idle:TIME`},
		{urls + "--size 3", "--size must be at least 40"},
		{urls + "--rate 0", "--rate and --duration must be above 0"},
		{urls + "--channels 1000 --rooms 10000", "between 1 and 1000000 rooms"},
		{urls + "--connect-parallel 0", "--connect-parallel and --connect-timeout must be above 0"},
		{urls + "--pipeline --ndjson", "use one of --pipeline and --ndjson"},
		{urls + "--publishers 3 --ndjson", "cannot be chosen with --ndjson"},
		{urls + "--body {}", "--body must say where the event's data goes: {data}"},
		{urls + "--token-file /nonexistent", "no such file"},
		{"--url wss://h/ws/c", "benchmarks speak no TLS"},
		{"--url ws://h/ws/c --publish-url https://h/", "benchmarks speak no TLS"},
		{"--url ws://127.0.0.1:1/ws/c --connections 1", "no connection became ready"},
		{"compare /nonexistent", "usage: klaxon bench compare A.json B.json"},
		{"compare /nonexistent /nonexistent", "no such file"},
	} {
		if err := benchmark(strings.Fields(tc.flags)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.flags, err, tc.want)
		}
	}
}

// TestBenchFlags: what other servers need is passed on, secrets are not kept.
func TestBenchFlags(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newBenchFlags()
	f.set.SetOutput(io.Discard)
	err := f.set.Parse([]string{
		"--url", "ws://h/ws/c?token=secret&x=1", "--publish-url", "http://h/c", "--header", "X-Key: secret", "--token-file", tokens,
		"--first", "join {ch}", "--ready", "", "--ping", "2", "--pong", "3", "--channels", "2", "--rooms", "5", "--body", "{ch} {data}",
	})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := f.plan()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%+v", plan.Load); got != "{URL:ws://h/ws/c?token=secret&x=1&room=r{room} Headers:[X-Key: secret] Tokens:[one two]"+
		` Protocol:{Stream:false Subprotocol:klaxon.v1.json First:[join {ch}] Ready: Ping:2 Pong:3 Gap:{"type":"gap","dropped": Namespace:false}`+
		" Connections:100 Channels:2 Rooms:5 Processes:0 Rate:0 Parallel:256 Timeout:30s}" {
		t.Errorf("clients: %s", got)
	}
	if p := plan.Publish; p.Body != "{ch} {data}" || p.Channels != 2 || p.Rooms != 5 {
		t.Errorf("publisher: %+v", p)
	}
	if got := fmt.Sprint(plan.Phases); got != "[rate:100:10s]" {
		t.Errorf("phases: %s", got)
	}
	if given := fmt.Sprint(f.given()); strings.Contains(given, "secret") || !strings.Contains(given, "token=(not shown)&x=1") {
		t.Errorf("flags in the report: %s", given)
	}
}
