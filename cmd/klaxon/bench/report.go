// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/hist"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/load"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/meter"
)

// Report is what a run found, and under which conditions.
type Report struct {
	Version string    `json:"version"` // of klaxon bench
	Time    time.Time `json:"time"`
	// Flags are those that were given, without secrets.
	Flags   map[string]string `json:"flags,omitempty"`
	Machine Machine           `json:"machine"`
	Setup   Setup             `json:"setup"`
	Steps   []*Step           `json:"steps"`
}

// Machine is where the clients ran.
type Machine struct {
	Processor string `json:"processor"`
	CPUs      int    `json:"cpus"` // that the clients may use
	Cores     int    `json:"cores"`
	Memory    int64  `json:"memoryBytes"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
	Load      string `json:"loadAverage"` // when the run began
}

// ThisMachine describes the machine.
func ThisMachine() Machine {
	return Machine{
		Processor: meter.Model(), CPUs: meter.CPUs(), Cores: runtime.NumCPU(), Memory: meter.ReadMachine().Memory,
		Kernel: meter.Kernel(), Go: runtime.Version(), Load: meter.Load(),
	}
}

// Setup is what was connected.
type Setup struct {
	Connections int    `json:"connections"`
	Channels    int    `json:"channels"`
	Rooms       int    `json:"rooms"`
	Size        int    `json:"sizeBytes"`
	Processes   int    `json:"processes"`
	Links       int    `json:"publishers"`
	Mode        string `json:"publishing,omitempty"`
}

// Step is connecting, or a phase.
type Step struct {
	Name    string   `json:"name"`
	Seconds float64  `json:"seconds"` // until the last delivery
	Connect *Connect `json:"connect,omitempty"`
	Traffic *Traffic `json:"traffic,omitempty"`
	Server  *Server  `json:"server,omitempty"`
	Clients Clients  `json:"clients"`
}

// Connect is how connecting went.
type Connect struct {
	Ready     int            `json:"ready"`
	Failed    int            `json:"failed"`
	PerSecond float64        `json:"perSecond"`
	Latency   Latency        `json:"latency"` // from the first packet until ready
	Failures  map[string]int `json:"failures,omitempty"`
}

// Traffic is what was published and what arrived.
type Traffic struct {
	Published        int            `json:"published"`
	PublishesPerS    float64        `json:"publishesPerSecond"`
	Answer           Latency        `json:"answer"` // to the publisher, from when the event was sent
	Refused          map[string]int `json:"refused,omitempty"`
	Delivered        uint64         `json:"delivered"`
	DeliveriesPerS   float64        `json:"deliveriesPerSecond"`
	BytesPerDelivery float64        `json:"bytesPerDelivery"`
	// ReadsPerDelivery below 1 means that events came together.
	ReadsPerDelivery float64 `json:"readsPerDelivery"`
	Latency          Latency `json:"latency"` // from when the event was due until it was read
	Check            Check   `json:"check"`
	// SlowClients is how many did not read.
	SlowClients int `json:"slowClients,omitempty"`
}

// Check is what arrived otherwise than it should.
type Check struct {
	Missing    uint64 `json:"missing"`    // never came
	Duplicated uint64 `json:"duplicated"` // came more than once
	Reordered  uint64 `json:"reordered"`  // came after a later one
	Foreign    uint64 `json:"foreign"`    // were for another channel or room
	Dropped    uint64 `json:"dropped"`    // never came, but a gap said so
	Gaps       uint64 `json:"gaps"`
	// Closed counts connections that ended, by reason; ClosedSlow those of them
	// that did not read.
	Closed     map[string]int `json:"closed,omitempty"`
	ClosedSlow map[string]int `json:"closedSlow,omitempty"`
}

// Server is what the server's process used.
type Server struct {
	CPUSeconds  float64 `json:"cpuSeconds"`
	UserSeconds float64 `json:"userSeconds"` // the part outside the kernel
	CPUPercent  float64 `json:"cpuPercent"`  // of one core
	RSS         int64   `json:"rssBytes"`
	// Of one handshake, delivery or publish. Where it runs on the same machine as the
	// clients, a delivery contains what the kernel does to receive it.
	CPUPerHandshake float64 `json:"cpuUsPerHandshake,omitempty"`
	CPUPerDelivery  float64 `json:"cpuUsPerDelivery,omitempty"`
	CPUPerPublish   float64 `json:"cpuUsPerPublish,omitempty"`
	// Of one idle connection. The kernel's is of both ends when both are on this machine.
	RSSPerConnection    float64 `json:"rssBytesPerConnection,omitempty"`
	KernelPerConnection float64 `json:"kernelBytesPerConnection,omitempty"`
}

// Clients is what the measuring itself used, to judge it by.
type Clients struct {
	CPUPercent float64 `json:"cpuPercent"` // of one core
	// OtherCPUPercent was used by neither the clients nor the server.
	OtherCPUPercent float64 `json:"otherCpuPercent"`
}

// Latency is a distribution in microseconds.
type Latency struct {
	Mean float64 `json:"meanUs"`
	P50  float64 `json:"p50Us"`
	P90  float64 `json:"p90Us"`
	P99  float64 `json:"p99Us"`
	P999 float64 `json:"p999Us"`
	Max  float64 `json:"maxUs"`
}

func latency(h *hist.Histogram) Latency {
	us := func(q float64) float64 { return float64(h.Quantile(q)) / 1e3 }
	return Latency{h.Mean() / 1e3, us(0.5), us(0.9), us(0.99), us(0.999), float64(h.Max()) / 1e3}
}

func checkOf(r *load.Received) Check {
	return Check{
		Missing: r.Missing, Duplicated: r.Duplicated, Reordered: r.Reordered, Foreign: r.Foreign,
		Dropped: r.Dropped, Gaps: r.Gaps, Closed: r.Closed, ClosedSlow: r.ClosedSlow,
	}
}

// Faults says in words what must not happen and did. None: each event came once
// and in order, or a gap said that it would not.
func (c *Check) Faults() []string {
	var all []string
	for _, f := range []struct {
		n    uint64
		what string
	}{{c.Missing, "missing"}, {c.Duplicated, "duplicated"}, {c.Reordered, "out of order"}, {c.Foreign, "for another channel or room"}} {
		if f.n > 0 {
			all = append(all, fmt.Sprintf("%d events %s", f.n, f.what))
		}
	}
	return append(all, tally("connections closed", c.Closed)...)
}

// Problems says in words what went wrong in the run.
func (r *Report) Problems() []string {
	var all []string
	for _, s := range r.Steps {
		var of []string
		if s.Connect != nil {
			of = tally("connections failed", s.Connect.Failures)
		}
		if t := s.Traffic; t != nil {
			of = append(tally("events refused", t.Refused), t.Check.Faults()...)
		}
		for _, p := range of {
			all = append(all, s.Name+": "+p)
		}
	}
	return all
}

// tally writes counts by reason, the most frequent first.
func tally(what string, reasons map[string]int) []string {
	names := make([]string, 0, len(reasons))
	for reason := range reasons {
		names = append(names, reason)
	}
	slices.SortFunc(names, func(a, b string) int {
		if reasons[a] != reasons[b] {
			return reasons[b] - reasons[a]
		}
		return strings.Compare(a, b)
	})
	for i, reason := range names {
		names[i] = fmt.Sprintf("%d %s (%s)", reasons[reason], what, reason)
	}
	return names
}
