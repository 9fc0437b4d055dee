// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// scenario is one call of klaxon bench and what is read from its report.
type scenario struct {
	name     string
	what     string
	flags    string // TIME is how long a phase takes
	own      string // further flags where the server is Klaxon's
	foreign  string // and where it is not
	coalesce bool   // the floor joins events too
	figures  []figure
}

// figure is a row of the table.
type figure struct {
	what string
	unit string
	of   func(r *report) float64 // 0: there is none
}

// report is what is read of klaxon bench's.
type report struct {
	Steps []step
}

type step struct {
	Traffic struct {
		Latency struct {
			P50 float64 `json:"p50Us"`
			P99 float64 `json:"p99Us"`
		} `json:"latency"`
	} `json:"traffic"`
	Server struct {
		CPUPerHandshake     float64 `json:"cpuUsPerHandshake"`
		CPUPerDelivery      float64 `json:"cpuUsPerDelivery"`
		CPUPerPublish       float64 `json:"cpuUsPerPublish"`
		RSSPerConnection    float64 `json:"rssBytesPerConnection"`
		KernelPerConnection float64 `json:"kernelBytesPerConnection"`
	} `json:"server"`
	Clients struct {
		OtherCPU float64 `json:"otherCpuPercent"`
	} `json:"clients"`
}

func readReport(file string) (*report, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return r, nil
}

// perDelivery is the server's CPU time for a delivery in a step.
func perDelivery(what string, step int) figure {
	return figure{what, "µs", func(r *report) float64 { return r.Steps[step].Server.CPUPerDelivery }}
}

func perPublish(what string, step int) figure {
	return figure{what, "µs", func(r *report) float64 { return r.Steps[step].Server.CPUPerPublish }}
}

func p50(what string, step int) figure {
	return figure{what + ", latency p50", "ms", func(r *report) float64 { return r.Steps[step].Traffic.Latency.P50 / 1000 }}
}

func p99(what string, step int) figure {
	return figure{what + ", latency p99", "ms", func(r *report) float64 { return r.Steps[step].Traffic.Latency.P99 / 1000 }}
}

// fanOut is a scenario of one channel: first one event at a time, 100,000
// deliveries in a second, then as many as go.
func fanOut(clients, size int) scenario {
	rate := 100000 / clients
	return scenario{
		name: fmt.Sprintf("%dk-%d", clients/1000, size), what: fmt.Sprintf("CPU per delivery, %d,000 clients, %d B", clients/1000, size),
		flags:   fmt.Sprintf("--connections %d --size %d --phases rate:%d:TIME,in-flight:8:TIME", clients, size, rate),
		figures: []figure{perDelivery(fmt.Sprintf("%d events/s", rate), 1), perDelivery("8 in flight", 2)},
	}
}

// idle are the figures of clients that only connect.
var idle = []figure{
	{"CPU per handshake", "µs", func(r *report) float64 { return r.Steps[0].Server.CPUPerHandshake }},
	{"memory of the process per client", "B", func(r *report) float64 { return r.Steps[1].Server.RSSPerConnection }},
	{"memory of the kernel per client, both ends", "B", func(r *report) float64 { return r.Steps[1].Server.KernelPerConnection }},
}

// spoken is a scenario of clients of another protocol than plain WebSocket.
func spoken(name, what, path string) scenario {
	return scenario{
		name: name, what: fmt.Sprintf("10,000 clients by %s, 128 B (the floor by plain WebSocket)", what),
		flags: "--connections 10000 --phases idle:3s,rate:10:TIME,in-flight:8:TIME", own: "--protocol " + name + " --url http://127.0.0.1:PORT" + path,
		figures: append(slices.Clone(idle[:2]), perDelivery("CPU per delivery, 10 events/s", 2), perDelivery("CPU per delivery, 8 in flight", 3)),
	}
}

var allScenarios = []scenario{
	fanOut(1000, 128),
	fanOut(1000, 1024),
	fanOut(10000, 128),
	fanOut(10000, 1024),
	{
		name: "pipelined", what: "1,000 clients, 128 B, published without waiting for answers; the floor joins what comes together",
		flags: "--connections 1000 --pipeline --phases in-flight:8:TIME,in-flight:32:TIME", coalesce: true,
		figures: []figure{
			perDelivery("CPU per delivery, 8 in flight", 1), p99("8 in flight", 1),
			perDelivery("CPU per delivery, 32 in flight", 2), p99("32 in flight", 2),
		},
	},
	{
		name: "calm", what: "1,000 clients, 20 events of 128 B a second",
		flags:   "--connections 1000 --phases rate:20:TIME",
		figures: []figure{p50("20 events/s", 1), p99("20 events/s", 1)},
	},
	{
		name: "channels", what: "1,000 channels of 10 clients, 128 B",
		flags:   "--connections 10000 --channels 1000 --publishers 4 --phases in-flight:64:TIME",
		figures: []figure{perPublish("CPU per publish with its deliveries", 1)},
	},
	{
		name: "publish", what: "Publishing while nobody listens, 128 B",
		flags: "--connections 0 --channels 10 --publishers 10 --phases in-flight:10:TIME", figures: []figure{perPublish("CPU per event, 10 publishers that wait for answers", 1)},
	},
	{
		name: "stream", what: "The same in a stream; the floor has none, so its publisher does not wait for answers",
		flags: "--connections 0 --phases in-flight:2000:TIME", own: "--ndjson", foreign: "--pipeline", figures: []figure{perPublish("CPU per event", 1)},
	},
	{name: "idle", what: "10,000 clients that only connect", flags: "--connections 10000 --phases idle:3s", figures: idle},
	{
		name: "users", what: "The same, each with a token, a user and a room of its own (the floor as above)",
		flags: "--connections 10000 --phases idle:3s", own: "--url ws://127.0.0.1:PORT/ws/users?room=room-{i} --token-file KEPT/tokens", figures: idle,
	},
	spoken("socketio", "Socket.IO", "/c{ch}"),
	spoken("sse", "Server-Sent Events", "/sse/c{ch}"),
}

func scenarioNames() []string {
	var names []string
	for _, s := range allScenarios {
		names = append(names, s.name)
	}
	return names
}

// steps is how many steps a run has: connecting, and its phases.
func (s *scenario) steps() int { return 2 + strings.Count(s.flags, ",") }
