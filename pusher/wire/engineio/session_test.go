// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package engineio

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// play runs a transcript against a session with a heartbeat of 300 and 200 ms.
// Each line is a moment in milliseconds, an input, and what must come of it.
func play(t *testing.T, transport Transport, transcript string) {
	t.Helper()
	s := NewSession(transport, 0, 300*time.Millisecond, 200*time.Millisecond)
	for line := range strings.Lines(strings.TrimSpace(transcript)) {
		moment, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		input, want, _ := strings.Cut(rest, " -> ")
		var ms int64
		if _, err := fmt.Sscan(moment, &ms); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got := do(&s, time.Duration(ms)*time.Millisecond, strings.TrimSpace(input)); got != strings.TrimSpace(want) {
			t.Errorf("%s\ngot %s", strings.TrimSpace(line), got)
		}
	}
}

func do(s *Session, now time.Duration, input string) string {
	verdicts := map[Verdict]string{Done: "done", Deliver: "deliver", Hangup: "hangup", Violation: "violation", Refuse: "refuse"}
	what, packet, _ := strings.Cut(input, " ")
	p := Packet{}
	if packet != "" {
		p = Packet{Type: Type(packet[0]), Data: []byte(packet[1:])}
	}
	switch what {
	case "tick":
		return map[Beat]string{Rest: "rest", SayPing: "ping", Dead: "dead"}[s.Tick(now)]
	case "due":
		return fmt.Sprint(s.Due().Milliseconds())
	case "alive":
		return fmt.Sprint(s.Alive(now))
	case "receive":
		return verdicts[s.Receive(now, p)]
	case "poll":
		return verdicts[s.Poll()]
	case "polled":
		s.Polled()
	case "push":
		return verdicts[s.Push()]
	case "pushed":
		s.Pushed()
	case "probe":
		return verdicts[s.Probe()]
	case "lost":
		s.ProbeGone()
	case "pausing":
		return fmt.Sprint(s.Pausing())
	case "probed":
		return map[Step]string{Drop: "drop", Answer: "answer", Switch: "switch"}[s.Probed(p)]
	case "transport":
		return map[Transport]string{Polling: "polling", WebSocket: "websocket"}[s.Transport()]
	default:
		panic(what)
	}
	return "ok"
}

func TestHeartbeat(t *testing.T) {
	play(t, WebSocket, `
		0 due -> 300
		299 tick -> rest
		300 tick -> ping
		300 due -> 500
		310 receive 3 -> done
		310 due -> 610
		600 tick -> rest
		610 tick -> ping
		700 receive 4hello -> deliver
		809 tick -> rest
		810 tick -> dead
	`)
}

func TestOnlyPongCounts(t *testing.T) {
	play(t, WebSocket, `
		300 tick -> ping
		400 receive 4hello -> deliver
		499 alive -> true
		500 alive -> false
		500 tick -> dead
	`)
}

func TestACoarseTimerMakesNobodyLiveLonger(t *testing.T) {
	play(t, Polling, `
		390 tick -> ping
		390 due -> 500
		499 alive -> true
		500 alive -> false
	`)
	play(t, Polling, `
		499 alive -> true
		500 alive -> false
	`)
}

func TestAStallIsNotTheClientsFault(t *testing.T) {
	play(t, WebSocket, `
		5000 tick -> ping
		5000 due -> 5100
		5050 receive 3 -> done
		5050 due -> 5350
	`)
}

func TestPacketsOfTheClient(t *testing.T) {
	play(t, WebSocket, `
		1 receive 4 -> deliver
		1 receive 3 -> done
		1 receive 2 -> violation
		1 receive 1 -> hangup
		1 receive 5 -> done
		1 receive 6 -> done
	`)
}

func TestOnePollAndOnePushAtATime(t *testing.T) {
	play(t, Polling, `
		1 poll -> done
		1 push -> done
		1 poll -> violation
		1 push -> violation
		1 polled -> ok
		1 pushed -> ok
		1 poll -> done
		1 push -> done
	`)
}

func TestUpgrade(t *testing.T) {
	play(t, Polling, `
		1 poll -> done
		2 probe -> done
		2 probe -> refuse
		3 probed 2probe -> answer
		3 polled -> ok
		4 poll -> done
		4 pausing -> true
		4 polled -> ok
		5 probed 5 -> switch
		5 transport -> websocket
		5 pausing -> false
		6 poll -> refuse
		6 push -> refuse
		6 probe -> refuse
	`)
}

func TestUpgradeThatComesToNothing(t *testing.T) {
	play(t, Polling, `
		1 probe -> done
		1 probed 2probe -> answer
		2 lost -> ok
		2 pausing -> false
		2 transport -> polling
		2 poll -> done
		3 probe -> done
		3 probed 4hello -> drop
		3 probed 2hello -> drop
		3 probed 3 -> drop
		3 transport -> polling
	`)
	play(t, WebSocket, `
		1 probe -> refuse
		1 poll -> refuse
		1 push -> refuse
	`)
}
