// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/events"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/load"
)

// Plan is what a run does.
type Plan struct {
	Load load.Config
	// Publish is nil when nothing is published: then all phases are idle.
	Publish *events.Config
	Phases  []Phase
	// ServerPID is the server's process on this machine, whose use is measured. 0: none.
	ServerPID int
	// Worker is the command that calls load.Work.
	Worker []string
	// Watch is told what goes on, several times a second. May be nil.
	Watch func(Progress)
	// Done is told each step when it is over. May be nil.
	Done func(*Step)
}

// Progress is how far a step has come.
type Progress struct {
	Step string
	Part float64 // from 0 to 1
	Live load.Live
}

// Kind is what a phase does.
type Kind string

// The kinds of phases.
const (
	Idle     Kind = "idle"      // nothing, to see what connections cost
	Rate     Kind = "rate"      // publishes at a rate
	InFlight Kind = "in-flight" // publishes while few enough events are on their way
	Slow     Kind = "slow"      // publishes at a rate while some clients don't read
)

// Phase is one part of a run, after all have connected.
type Phase struct {
	Kind Kind
	// Rate is how many events are published in a second, over all groups.
	Rate float64
	// InFlight is how many events' deliveries may be outstanding.
	InFlight int
	// Slow is the share of the connections that do not read, from 0 to 1.
	Slow float64
	// For is how long it takes, without waiting for the last deliveries.
	For time.Duration
}

// Forms are how phases are written.
const Forms = "idle:TIME, rate:EVENTS-A-SECOND:TIME, in-flight:EVENTS:TIME or slow:PERCENT%:EVENTS-A-SECOND:TIME, as in rate:100:10s"

// String writes the phase as ParsePhases reads it.
func (p Phase) String() string {
	text := string(p.Kind)
	if p.Kind == Slow {
		text += ":" + number(p.Slow*100) + "%"
	}
	if p.Kind == Slow || p.Kind == Rate {
		text += ":" + number(p.Rate)
	}
	if p.Kind == InFlight {
		text += ":" + strconv.Itoa(p.InFlight)
	}
	long := p.For.String()
	for _, unit := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(long, unit) {
			long = long[:len(long)-2]
		}
	}
	return text + ":" + long
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }

// ParsePhases reads phases with commas between them.
func ParsePhases(text string) ([]Phase, error) {
	var all []Phase
	for word := range strings.SplitSeq(text, ",") {
		p, ok := parsePhase(strings.Split(strings.TrimSpace(word), ":"))
		if !ok {
			return nil, fmt.Errorf("%q is no phase: write %s", word, Forms)
		}
		all = append(all, p)
	}
	return all, nil
}

func parsePhase(fields []string) (Phase, bool) {
	p := Phase{Kind: Kind(fields[0])}
	want := map[Kind]int{Idle: 2, Rate: 3, InFlight: 3, Slow: 4}[p.Kind]
	if want == 0 || len(fields) != want {
		return p, false
	}
	var errs [3]error
	p.For, errs[0] = time.ParseDuration(fields[want-1])
	switch p.Kind {
	case Slow:
		percent, found := strings.CutSuffix(fields[1], "%")
		p.Slow, errs[1] = strconv.ParseFloat(percent, 64)
		p.Slow /= 100
		if !found || p.Slow <= 0 || p.Slow > 1 {
			return p, false
		}
		p.Rate, errs[2] = strconv.ParseFloat(fields[2], 64)
	case Rate:
		p.Rate, errs[1] = strconv.ParseFloat(fields[1], 64)
	case InFlight:
		p.InFlight, errs[1] = strconv.Atoi(fields[1])
	}
	for _, err := range errs {
		if err != nil {
			return p, false
		}
	}
	return p, p.For > 0 && (p.Kind == Idle || p.Rate > 0 || p.InFlight > 0)
}
