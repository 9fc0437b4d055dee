// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/load"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestParsePhases(t *testing.T) {
	for text, want := range map[string]string{
		"rate:100:10s":     "rate:100:10s",
		"idle:90s":         "idle:1m30s",
		"in-flight:8:2m":   "in-flight:8:2m",
		"rate:0.5:1h":      "rate:0.5:1h",
		"slow:2.5%:50:30s": "slow:2.5%:50:30s",
		" rate:1e3:1s, in-flight:1:500ms,idle:1s,slow:100%:1:1s": "rate:1000:1s,in-flight:1:500ms,idle:1s,slow:100%:1:1s",
		"": "", "rate": "", "rate:100": "", "rate:x:1s": "", "rate:100:5": "", "rate:0:1s": "", "rate:1:1s:1s": "", "rate:1:-1s": "",
		"idle:0s": "", "idle:1:1s": "", "in-flight:0:1s": "", "in-flight:1.5:1s": "", "slow:5:100:1s": "", "slow:0%:1:1s": "",
		"slow:101%:1:1s": "", "slow:5%:0:1s": "", "burst:1:1s": "", "idle:1s,": "",
	} {
		all, err := ParsePhases(text)
		var got []string
		for _, p := range all {
			got = append(got, p.String())
		}
		if strings.Join(got, ",") != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q (%v), want %q", text, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), Forms) {
			t.Errorf("%q: the error %q does not help", text, err)
		}
	}
}

// reports returns two made-up reports.
func reports() (a, b *Report) {
	l := func(us float64) Latency { return Latency{us, us, 2 * us, 3 * us, 4 * us, 5 * us} }
	a = &Report{
		Version: "v1.0.0", Time: time.Unix(1800000000, 0).UTC(),
		Machine: Machine{Kernel: "6.1.0"}, Setup: Setup{Connections: 10000, Channels: 10, Rooms: 2, Size: 128, Mode: "request"},
		Steps: []*Step{
			{
				Name: "connect", Connect: &Connect{Ready: 9999, Failed: 1, PerSecond: 12345.6, Latency: l(1234.5), Failures: map[string]int{"timeout": 1}},
				Server:  &Server{CPUPerHandshake: 12.34, RSS: 12345678, CPUPercent: 99.6},
				Clients: Clients{CPUPercent: 50, OtherCPUPercent: 0.4},
			},
			{Name: "idle:5s", Server: &Server{RSSPerConnection: 456.7, KernelPerConnection: 4567, RSS: 12345678}},
			{
				Name: "rate:100:10s",
				Traffic: &Traffic{
					Published: 1000, PublishesPerS: 100, Answer: l(50), Delivered: 1000000, DeliveriesPerS: 99999.9, Latency: l(0.5),
				},
				Server: &Server{CPUPerDelivery: 1.2345, CPUPerPublish: 1234.5, RSS: 1234, CPUPercent: 12},
			},
		},
	}
	b = &Report{
		Version: "v1.1.0", Time: time.Unix(1800100000, 0).UTC(),
		Machine: Machine{Kernel: "6.2.0"}, Setup: Setup{Connections: 10000, Channels: 10, Rooms: 2, Size: 128, Mode: "ndjson"},
		Steps: []*Step{
			{Name: "connect", Connect: &Connect{Ready: 10000, PerSecond: 20000, Latency: l(1000)}},
			{Name: "idle:5s"},
			{
				Name: "rate:100:10s",
				Traffic: &Traffic{
					Published: 1000, PublishesPerS: 100, Answer: l(2e6), Delivered: 999990, DeliveriesPerS: 99998, Latency: l(1), SlowClients: 2,
					Refused: map[string]int{"429 slower": 2, "503 later": 3},
					Check: Check{
						Missing: 7, Reordered: 1, Foreign: 2, Duplicated: 3, Dropped: 3, Gaps: 2,
						Closed: map[string]int{"close 4009 no answer to ping": 1}, ClosedSlow: map[string]int{"close 4008 too slow": 2},
					},
				},
				Server: &Server{CPUPerDelivery: 2.469, CPUPerPublish: 2469, RSS: 1234},
			},
			{Name: "idle:1s"},
		},
	}
	return a, b
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPrint(t *testing.T) {
	var out bytes.Buffer
	a, b := reports()
	for _, r := range []*Report{a, b} {
		for _, s := range r.Steps {
			if err := s.Print(&out); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden(t, "testdata/print.golden.txt", out.Bytes())
}

func TestCompare(t *testing.T) {
	var out bytes.Buffer
	a, b := reports()
	if err := Compare(&out, a, b); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/compare.golden.txt", out.Bytes())
}

func TestDigits(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", 1: "1", 1.5: "1.50", 0.1234: "0.123", 0.0123: "0.012", 12.345: "12.3", 123.45: "123", 999.9: "1,000", 1234567: "1,234,567",
		-1234: "-1,234", -123: "-123", 100: "100", 99999.9: "100,000",
	} {
		if got := digits(f); got != want {
			t.Errorf("%v is written %q, want %q", f, got, want)
		}
	}
}

func TestBar(t *testing.T) {
	var out bytes.Buffer
	b := &Bar{out: &out}
	b.Clear()
	at := time.Unix(1800000000, 0)
	b.draw(Progress{"connect", 0.5, load.Live{Ready: 500, Failed: 1}}, at)
	b.draw(Progress{"rate:100:10s", 0, load.Live{Ready: 1000}}, at.Add(time.Second))
	b.draw(Progress{"rate:100:10s", 0.25, load.Live{Ready: 1000, Delivered: 5000}}, at.Add(1500*time.Millisecond))
	b.Clear()
	want := "\r\x1b[Kconnect          [============            ]  50 %  500 connected, 1 failed" +
		"\r\x1b[Krate:100:10s     [                        ]   0 %  1,000 connected" +
		"\r\x1b[Krate:100:10s     [======                  ]  25 %  1,000 connected, 10,000 deliveries/s" +
		"\r\x1b[K"
	if out.String() != want {
		t.Errorf("drew %q, want %q", out.String(), want)
	}
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if NewBar(file) != nil {
		t.Error("a file has a bar")
	}
}
