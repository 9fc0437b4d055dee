// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/events"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
)

// run returns the plan's last step.
func (f *fake) run(t *testing.T, plan Plan) (*Report, *Traffic) {
	t.Helper()
	report, err := Run(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(plan.Phases) + 1; len(report.Steps) != want {
		t.Fatalf("%d steps, want %d", len(report.Steps), want)
	}
	if c := report.Steps[0].Connect; c == nil || c.Ready != plan.Load.Connections || c.Failed != 0 {
		t.Fatalf("connecting is %+v", c)
	}
	return report, report.Steps[len(report.Steps)-1].Traffic
}

func TestExact(t *testing.T) {
	for _, mode := range []events.Mode{events.Request, events.Pipeline} {
		for _, links := range []int{1, 2, 5} {
			f := newFake(t)
			plan := f.plan()
			plan.Publish.Mode, plan.Publish.Links = mode, links
			report, got := f.run(t, plan)
			if got.Published != 40 || got.Delivered != 160 || len(report.Problems()) > 0 || got.Latency.Max <= 0 || got.Answer.Max <= 0 {
				t.Errorf("%s on %d links: %+v, problems %q", mode, links, got, report.Problems())
			}
		}
	}
}

// TestPhases: what is numbered and checked goes on from phase to phase.
func TestPhases(t *testing.T) {
	f := newFake(t)
	plan := f.plan()
	var err error
	if plan.Phases, err = ParsePhases("rate:200:100ms,idle:1ms,in-flight:3:50ms,rate:200:200ms"); err != nil {
		t.Fatal(err)
	}
	plan.ServerPID = os.Getpid()
	steps := 0
	plan.Done = func(*Step) { steps++ }
	report, got := f.run(t, plan)
	if got.Published != 40 || got.Delivered != 160 || len(report.Problems()) > 0 || steps != 5 {
		t.Errorf("%+v, problems %q, %d steps", got, report.Problems(), steps)
	}
	saturated := report.Steps[3].Traffic
	if saturated.Published == 0 || saturated.Delivered != uint64(saturated.Published)*4 {
		t.Errorf("in flight: %+v", saturated)
	}
	if s := report.Steps[4].Server; s == nil || s.CPUPerDelivery <= 0 || s.RSS <= 0 {
		t.Errorf("server: %+v", s)
	}
}

// TestFaults has a server that does something wrong to one client of each channel.
func TestFaults(t *testing.T) {
	held := ""
	for name, tc := range map[string]struct {
		fault     func(m mark.Mark, event string) []string
		delivered uint64
		want      Check
		problem   string
	}{
		"drops": {
			func(m mark.Mark, event string) []string {
				if m.Seq == 3 || m.Seq == 20 { // in the middle and at the end
					return nil
				}
				return []string{event}
			},
			156,
			Check{Missing: 4},
			"4 events missing",
		},
		"doubles": {
			func(m mark.Mark, event string) []string {
				if m.Seq == 5 {
					return []string{event, event}
				}
				return []string{event}
			},
			162,
			Check{Duplicated: 2},
			"2 events duplicated",
		},
		"reorders": {
			func(m mark.Mark, event string) []string {
				switch {
				case m.Group == 1:
				case m.Seq == 7:
					held = event
					return nil
				case m.Seq == 9:
					return []string{event, held}
				}
				return []string{event}
			},
			160,
			Check{Reordered: 1},
			"1 events out of order",
		},
		"mixes channels up": {
			func(m mark.Mark, event string) []string {
				if m.Seq != 4 {
					return []string{event}
				}
				m.Group = 1 - m.Group
				return []string{event, string(m.Append(nil, 0))}
			},
			162,
			Check{Foreign: 2},
			"2 events for another channel or room",
		},
		"drops and says so": {
			func(m mark.Mark, event string) []string {
				switch m.Seq {
				case 3, 4:
					return nil
				case 5:
					return []string{`gap 3}`}
				}
				return []string{event}
			},
			154,
			Check{Dropped: 6, Gaps: 2},
			"",
		},
		"says less than it drops": {
			func(m mark.Mark, event string) []string {
				switch m.Seq {
				case 3, 4:
					return nil
				case 5:
					return []string{`gap 2}`}
				}
				return []string{event}
			},
			154,
			Check{Dropped: 4, Missing: 2, Gaps: 2},
			"2 events missing",
		},
		"closes": {
			func(m mark.Mark, event string) []string {
				if m.Seq == 20 {
					return []string{closeFrame}
				}
				return []string{event}
			},
			158,
			Check{Closed: map[string]int{"close 4008 too slow": 2}},
			"2 connections closed (close 4008 too slow)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.fault = func(client int, m mark.Mark, event string) []string {
				if client > 0 {
					return []string{event}
				}
				return tc.fault(m, event)
			}
			report, got := f.run(t, f.plan())
			check := got.Check
			if len(check.Closed) == 0 {
				check.Closed = nil
			}
			check.ClosedSlow = nil
			if got.Delivered != tc.delivered || fmt.Sprint(check) != fmt.Sprint(tc.want) {
				t.Errorf("%d delivered, %+v; want %d, %+v", got.Delivered, check, tc.delivered, tc.want)
			}
			var want []string
			if tc.problem != "" {
				want = []string{"rate:200:200ms: " + tc.problem}
			}
			if problems := report.Problems(); !slices.Equal(problems, want) {
				t.Errorf("problems %q, want %q", problems, want)
			}
		})
	}
}

// TestRefused: events that the server refuses are told from those that it loses.
func TestRefused(t *testing.T) {
	f := newFake(t)
	f.refuse = func(m mark.Mark) bool { return m.Seq == 2 }
	report, got := f.run(t, f.plan())
	want := []string{"rate:200:200ms: 2 events refused (429 slower, please)", "rate:200:200ms: 8 events missing"}
	if problems := report.Problems(); got.Published != 40 || !slices.Equal(problems, want) {
		t.Errorf("%d published, problems %q, want %q", got.Published, problems, want)
	}
}

func TestConnectionsFail(t *testing.T) {
	f := newFake(t)
	plan := f.plan()
	plan.Load.URL = strings.Replace(plan.Load.URL, "/ws/", "/no/", 1)
	report, err := Run(t.Context(), plan)
	want := []string{"connect: 8 connections failed (refused: 404 Not Found)"}
	if problems := report.Problems(); err == nil || !slices.Equal(problems, want) {
		t.Errorf("error %v, problems %q, want %q", err, problems, want)
	}
	plan.Load.URL = "ws://127.0.0.1:1/"
	report, err = Run(t.Context(), plan)
	want = []string{"connect: 8 connections failed (connect: connection refused)"}
	if problems := report.Problems(); err == nil || !slices.Equal(problems, want) {
		t.Errorf("error %v, problems %q, want %q", err, problems, want)
	}
}

// TestServerThatDoesNotAnswer: connecting ends although a server only accepts.
func TestServerThatDoesNotAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	plan := newFake(t).plan()
	plan.Load.URL, plan.Load.Timeout, plan.Load.Processes = "ws://"+listener.Addr().String(), 50*time.Millisecond, 1
	report, err := Run(t.Context(), plan)
	failures := report.Steps[0].Connect.Failures
	if err == nil || failures["timeout"] != 4 || failures["not tried: the server had stopped answering"] != 4 {
		t.Errorf("error %v, failures %v", err, failures)
	}
}

func TestInterrupt(t *testing.T) {
	plan := newFake(t).plan()
	plan.Phases = []Phase{{Kind: Idle, For: time.Hour}}
	ctx, cancel := context.WithCancel(t.Context())
	plan.Done = func(*Step) { cancel() }
	report, err := Run(ctx, plan)
	if !errors.Is(err, context.Canceled) || len(report.Steps) != 1 {
		t.Errorf("error %v, %d steps", err, len(report.Steps))
	}
	if _, err := Run(ctx, plan); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestGreeting: what is said before a connection is ready is as the protocol and
// the flags have it, whatever pieces it comes in.
func TestGreeting(t *testing.T) {
	f := newFake(t)
	f.greet = func(conn net.Conn, r *http.Request) error {
		i, err := strconv.Atoi(r.Header.Get("X-Number"))
		if want := fmt.Sprintf("Bearer token%d", i%3); err != nil || r.Header.Get("Authorization") != want {
			return fmt.Errorf("client %d has %q (%w)", i, r.Header.Get("Authorization"), err)
		}
		for _, want := range []string{"hello", fmt.Sprintf(`{"join":"c%d"}`, i%2)} {
			if got, err := wsutil.ReadClientText(conn); err != nil || string(got) != want {
				return fmt.Errorf("client %d says %q (%w)", i, got, err)
			}
		}
		ping := ws.MustCompileFrame(ws.NewTextFrame([]byte("are you there")))
		more := ws.MustCompileFrame(ws.NewPingFrame([]byte("you?")))
		for _, piece := range [][]byte{ping[:1], ping[1:5], append(ping[5:], more[:3]...), more[3:]} {
			if _, err := conn.Write(piece); err != nil {
				return err
			}
		}
		if got, err := wsutil.ReadClientText(conn); err != nil || string(got) != "yes" {
			return fmt.Errorf("client %d answers %q (%w)", i, got, err)
		}
		pong, err := ws.ReadFrame(conn)
		if err != nil || pong.Header.OpCode != ws.OpPong || string(ws.UnmaskFrame(pong).Payload) != "you?" {
			return fmt.Errorf("client %d answers %v (%w)", i, pong, err)
		}
		return nil
	}
	plan := f.plan()
	plan.Load.Tokens, plan.Load.Headers = []string{"token0", "token1", "token2"}, []string{"X-Number: {i}"}
	p := &plan.Load.Protocol
	p.First, p.Ping, p.Pong = []string{"hello", `{"join":"c{ch}"}`}, "are you there", "yes"
	if report, got := f.run(t, plan); got.Delivered != 160 || len(report.Problems()) > 0 {
		t.Errorf("%+v, problems %q", got, report.Problems())
	}
}
