// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/events"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/load"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/template"
)

// benchWorker is the argument that makes klaxon bench one of its own workers.
const benchWorker = "worker"

const benchUsage = `usage: klaxon bench --url ws://HOST/ws/CHANNEL --publish-url http://HOST/v1/channels/CHANNEL/events [flags]
       klaxon bench compare A.json B.json

In URLs, headers, --first and --body, these words are replaced: {ch} the channel's number, {room} the room's, {i} the
connection's, {seq} the event's, {data} the event's data. Connection i is in channel i mod --channels.

`

// benchmark measures a push server, or compares what was measured.
func benchmark(args []string) error {
	switch {
	case len(args) > 0 && args[0] == benchWorker:
		return load.Work()
	case len(args) > 0 && args[0] == "compare":
		return compareReports(args[1:])
	}
	f := newBenchFlags()
	if err := f.set.Parse(args); err != nil {
		return err
	}
	plan, err := f.plan()
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the executable for workers: %w", err)
	}
	plan.Worker = []string{executable, "bench", benchWorker}
	bar := bench.NewBar(os.Stderr)
	if bar != nil {
		plan.Watch = bar.Draw
	}
	plan.Done = func(s *bench.Step) {
		if bar != nil {
			bar.Clear()
		}
		_ = s.Print(os.Stdout) // when nobody reads it, the file and the exit code are left
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	report, err := bench.Run(ctx, *plan)
	report.Version, report.Flags = version, f.given()
	if f.json != "" {
		err = errors.Join(err, writeReport(f.json, report))
	}
	if problems := report.Problems(); err == nil && len(problems) > 0 {
		err = errors.New(strings.Join(problems, "; "))
	}
	return err
}

func writeReport(path string, r *bench.Report) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func compareReports(paths []string) error {
	if len(paths) != 2 {
		return errors.New("usage: klaxon bench compare A.json B.json")
	}
	var reports [2]bench.Report
	for i, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &reports[i]); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	return bench.Compare(os.Stdout, &reports[0], &reports[1])
}

// benchFlags are klaxon bench's flags.
type benchFlags struct {
	set                 *flag.FlagSet
	clients             load.Config
	publisher           events.Config
	protocol            string
	spoken              load.Protocol // in place of the protocol's own
	headers, pubHeaders list
	first               list
	token, pubToken     tokenSource
	pipeline, ndjson    bool
	rate                float64
	inFlight            int
	duration            time.Duration
	phases              string
	serverPID           int
	json                string
}

func newBenchFlags() *benchFlags {
	f := &benchFlags{set: flag.NewFlagSet("klaxon bench", flag.ContinueOnError)}
	s := f.set
	s.Usage = func() {
		fmt.Fprint(s.Output(), benchUsage)
		s.PrintDefaults()
	}
	s.StringVar(&f.clients.URL, "url", "", "what clients connect to: ws://HOST/ws/CHANNEL, or, by --protocol, http://HOST/NAMESPACE or http://HOST/sse/CHANNEL (required)")
	s.StringVar(&f.publisher.URL, "publish-url", "", "where events are published, http://HOST/v1/channels/CHANNEL/events; without it, clients only connect and wait")
	s.IntVar(&f.clients.Connections, "connections", 100, "connections")
	s.IntVar(&f.clients.Channels, "channels", 1, "channels, used in turn: put {ch} (0, 1, ...) into the URLs")
	s.IntVar(&f.clients.Rooms, "rooms", 1, "rooms of each channel, used in turn: r0, r1, ...; with 1, events go to the whole channel")
	s.Float64Var(&f.rate, "rate", 100, "events published in a second")
	s.IntVar(&f.inFlight, "in-flight", 0, "instead of a rate, publish whenever fewer events' deliveries than this are outstanding")
	s.DurationVar(&f.duration, "duration", 10*time.Second, "how long to publish")
	s.StringVar(&f.phases, "phases", "", "instead of --rate, --in-flight and --duration, phases with commas between them:\n"+bench.Forms)
	s.IntVar(&f.publisher.Size, "size", 128, fmt.Sprintf("size of an event's data in bytes, at least %d", mark.Size))
	s.StringVar(&f.json, "json", "", "file to write the report to")
	s.IntVar(&f.serverPID, "server-pid", 0, "process id of the server on this machine, to measure its CPU time and memory")
	f.newConnectFlags()
	f.newPublishFlags()
	return f
}

func (f *benchFlags) newConnectFlags() {
	s := f.set
	s.StringVar(&f.protocol, "protocol", "ws", "what clients speak: ws (klaxon's plain WebSocket protocol), socketio (by WebSocket) or sse")
	f.token.register(s, "")
	s.Lookup("token-file").Usage = "file with the clients' tokens, one on each line, used in turn"
	s.Var(&f.headers, "header", "further header of clients, 'Name: value'; may be repeated")
	s.Float64Var(&f.clients.Rate, "connect-rate", 0, "connections opened in a second; 0: as many as go")
	s.IntVar(&f.clients.Parallel, "connect-parallel", 256, "handshakes under way at the same time")
	s.DurationVar(&f.clients.Timeout, "connect-timeout", 30*time.Second, "how long no handshake may make progress")
	s.IntVar(&f.clients.Processes, "processes", 0, "processes that share the connections; 0: as few as the limit of open files allows")
	s.Var(&f.first, "first", "for other servers: text message to send after the handshake; may be repeated")
	s.StringVar(&f.spoken.Ready, "ready", "", "for other servers: text in the message that says that a client will receive events; empty: the handshake says so")
	s.StringVar(&f.spoken.Ping, "ping", "", "for other servers: text message that must be answered")
	s.StringVar(&f.spoken.Pong, "pong", "", "for other servers: the answer to --ping")
}

func (f *benchFlags) newPublishFlags() {
	s := f.set
	f.pubToken.register(s, "publish-")
	s.Var(&f.pubHeaders, "publish-header", "further header of the publisher, 'Name: value'; may be repeated")
	s.IntVar(&f.publisher.Links, "publishers", 1, "connections of the publisher, each with its own channels and rooms")
	s.BoolVar(&f.pipeline, "pipeline", false, "publish without waiting for answers")
	s.BoolVar(&f.ndjson, "ndjson", false, "publish in one endless request for each channel, without waiting for answers")
	s.StringVar(&f.publisher.Body, "body", "", "for other servers: an event as it is published")
}

// plan makes a plan of the flags.
func (f *benchFlags) plan() (*bench.Plan, error) {
	if f.clients.URL == "" || f.set.NArg() > 0 {
		return nil, errors.New("usage: klaxon bench --url ws://HOST/ws/CHANNEL --publish-url http://HOST/v1/channels/CHANNEL/events (see klaxon bench -h)")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := f.connecting(); err != nil {
		return nil, err
	}
	plan := &bench.Plan{Load: f.clients, ServerPID: f.serverPID}
	if f.publisher.URL != "" {
		if err := f.publishing(); err != nil {
			return nil, err
		}
		plan.Publish = &f.publisher
	}
	return plan, f.phasesOf(plan)
}

// check holds numbers to what makes sense.
func (f *benchFlags) check() error {
	c := &f.clients
	switch {
	case c.Connections < 0 || c.Channels < 1 || c.Rooms < 1 || c.Channels*c.Rooms > mark.MaxGroups:
		return fmt.Errorf("there must be connections, and between 1 and %d rooms of all channels", int(mark.MaxGroups))
	case c.Parallel < 1 || c.Rate < 0 || c.Timeout <= 0:
		return errors.New("--connect-parallel and --connect-timeout must be above 0, --connect-rate at least 0")
	case f.rate <= 0 || f.inFlight < 0 || f.duration <= 0:
		return errors.New("--rate and --duration must be above 0, --in-flight at least 0")
	case f.publisher.Size < mark.Size:
		return fmt.Errorf("--size must be at least %d", mark.Size)
	case f.pipeline && f.ndjson:
		return errors.New("use one of --pipeline and --ndjson")
	case f.publisher.Links < 1 || f.ndjson && f.publisher.Links > 1:
		return errors.New("--publishers must be at least 1, and cannot be chosen with --ndjson, which has one for each channel")
	}
	return nil
}

// connecting completes what clients do.
func (f *benchFlags) connecting() error {
	p, ok := load.Protocols[f.protocol]
	if !ok {
		return fmt.Errorf("there is no protocol %q: use ws, socketio or sse", f.protocol)
	}
	f.set.Visit(func(g *flag.Flag) {
		switch g.Name {
		case "first":
			p.First = f.first
		case "ready":
			p.Ready = f.spoken.Ready
		case "ping":
			p.Ping = f.spoken.Ping
		case "pong":
			p.Pong = f.spoken.Pong
		}
	})
	f.clients.Protocol, f.clients.Headers = p, f.headers
	path := template.Parse(f.clients.URL)
	if f.clients.Channels > 1 && !path.Has("ch") && !slices.ContainsFunc(p.First, func(m string) bool { return template.Parse(m).Has("ch") }) {
		return fmt.Errorf("with --channels, --url must say where the channel's number goes: {ch}")
	}
	if f.clients.Rooms > 1 && !path.Has("room") {
		sep := "?"
		if strings.Contains(f.clients.URL, "?") {
			sep = "&"
		}
		f.clients.URL += sep + "room=r{room}"
	}
	token, err := f.token.read()
	if err != nil {
		return err
	}
	f.clients.Tokens = strings.Fields(token)
	return nil
}

// publishing completes what the publisher does.
func (f *benchFlags) publishing() error {
	p := &f.publisher
	p.Channels, p.Rooms, p.Headers = f.clients.Channels, f.clients.Rooms, f.pubHeaders
	p.Mode = events.Request
	if f.pipeline {
		p.Mode = events.Pipeline
	} else if f.ndjson {
		p.Mode = events.Stream
	}
	if p.Channels > 1 && !template.Parse(p.URL+p.Body).Has("ch") {
		return fmt.Errorf("with --channels, --publish-url must say where the channel's number goes: {ch}")
	}
	switch {
	case p.Body != "":
	case p.Rooms > 1:
		p.Body = `{"event":"bench","data":"{data}","rooms":["r{room}"]}`
	default:
		p.Body = `{"event":"bench","data":"{data}"}`
	}
	if !template.Parse(p.Body).Has("data") {
		return errors.New("--body must say where the event's data goes: {data}")
	}
	var err error
	p.Token, err = f.pubToken.read()
	return err
}

func (f *benchFlags) phasesOf(plan *bench.Plan) error {
	if f.phases != "" {
		var err error
		plan.Phases, err = bench.ParsePhases(f.phases)
		return err
	}
	p := bench.Phase{Kind: bench.Rate, Rate: f.rate, For: f.duration}
	switch {
	case plan.Publish == nil:
		p = bench.Phase{Kind: bench.Idle, For: f.duration}
	case f.inFlight > 0:
		p = bench.Phase{Kind: bench.InFlight, InFlight: f.inFlight, For: f.duration}
	}
	plan.Phases = []bench.Phase{p}
	return nil
}

// secretQuery finds tokens in URLs.
var secretQuery = regexp.MustCompile(`([?&](?:access_)?token=)[^&]*`)

// given returns the flags that were given, without secrets.
func (f *benchFlags) given() map[string]string {
	all := map[string]string{}
	f.set.Visit(func(g *flag.Flag) {
		value := g.Value.String()
		switch g.Name {
		case "header", "publish-header":
			value = "(not shown)"
		case "url", "publish-url":
			value = secretQuery.ReplaceAllString(value, "${1}(not shown)")
		}
		all[g.Name] = value
	})
	return all
}
