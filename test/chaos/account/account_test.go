// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func at(seq uint64) wire.Position { return wire.Position{Epoch: "e", Seq: seq} }

// six are events 1 to 6 at 1 to 6. The third is for room a, the fourth for room b.
func six() *Log {
	rooms := []string{"", "", "a", "b", "", ""}
	var acked []Event
	for i, room := range rooms {
		acked = append(acked, Event{Key{0, i + 1}, room, at(uint64(i + 1))})
	}
	slices.Reverse(acked[3:]) // of several publishers acknowledgements come in any order
	acked[3].Publisher, acked[3].Seq = 1, 1
	log, err := NewLog(acked)
	if err != nil {
		panic(err)
	}
	return log
}

// The events of six in room a: 1 2 3 5 6, of which the last is the other publisher's.
var keys = map[int]Key{1: {0, 1}, 2: {0, 2}, 3: {0, 3}, 4: {0, 4}, 5: {0, 5}, 6: {1, 1}}

func got(n int) Moment { return Moment{Kind: Received, Key: keys[n], Position: at(uint64(n))} }

func all(ns ...int) (m []Moment) {
	for _, n := range ns {
		m = append(m, got(n))
	}
	return m
}

func replayed(n int) Moment {
	m := got(n)
	m.Replayed = true
	return m
}

func began(seq uint64) []Moment { return []Moment{{Kind: Began, Position: at(seq)}} }

func TestJudge(t *testing.T) {
	lost := func(since, now uint64, oldest string) Moment {
		return Moment{Kind: Lost, Since: at(since), Position: at(now), Oldest: oldest}
	}
	elsewhere := got(2)
	elsewhere.Position = at(9)
	for name, c := range map[string]struct {
		story []Moment
		want  Verdict
		says  string
	}{
		"all live":                   {story: slices.Concat(began(0), all(1, 2, 3, 5, 6)), want: Verdict{Live: 5}},
		"what was before is not its": {story: slices.Concat(began(2), all(3, 5, 6)), want: Verdict{Live: 3}},
		"recovered":                  {story: slices.Concat(began(0), all(1, 2), []Moment{{Kind: Back}, replayed(3), replayed(5)}, all(6)), want: Verdict{Live: 3, Recovered: 2, Reconnects: 1}},
		"nothing came":               {story: began(0), want: Verdict{Silent: 5}, says: "p0-1 at e.1 was lost silently"},
		"the last is missing":        {story: slices.Concat(began(0), all(1, 2, 3, 5)), want: Verdict{Live: 4, Silent: 1}, says: "p1-1 at e.6"},
		"one is missing":             {story: slices.Concat(began(0), all(1, 3, 5, 6)), want: Verdict{Live: 4, Silent: 1}, says: "p0-2"},
		"recovered, and yet missing": {story: slices.Concat(began(0), all(1), []Moment{{Kind: Back}}, all(5, 6)), want: Verdict{Live: 3, Silent: 2, Reconnects: 1}},
		"twice":                      {story: slices.Concat(began(0), all(1, 2, 2, 3, 5, 6)), want: Verdict{Live: 5, Duplicated: 1}, says: "p0-2 came again"},
		"twice, stored twice":        {story: slices.Concat(began(0), all(1, 2), []Moment{elsewhere}, all(3, 5, 6)), want: Verdict{Live: 5, Duplicated: 1}, says: "p0-2 came again, at e.9"},
		"in another place":           {story: slices.Concat(began(0), all(1), []Moment{elsewhere}, all(3, 5, 6)), want: Verdict{Live: 5, Wronged: 1}, says: "p0-2 came at e.9 and is stored at e.2"},
		"late":                       {story: slices.Concat(began(0), all(1, 3, 2, 5, 6)), want: Verdict{Live: 4, Reordered: 1}, says: "p0-2 at e.2 came late"},
		"from before it began":       {story: slices.Concat(began(2), all(1, 3, 5, 6)), want: Verdict{Live: 3, Reordered: 1}},
		"of another room":            {story: slices.Concat(began(0), all(1, 2, 3, 4, 5, 6)), want: Verdict{Live: 5, Foreign: 1}, says: `p0-4 is for "b"`},
		"of nobody":                  {story: slices.Concat(began(5), []Moment{{Kind: Received, Key: Key{7, 7}}}, all(6)), want: Verdict{Live: 1, Foreign: 1}, says: "p7-7"},
		"told":                       {story: slices.Concat(began(0), all(1), []Moment{lost(1, 4, "e.4")}, all(5, 6)), want: Verdict{Live: 3, Lost: 2, Reconnects: 1}},
		"told too little":            {story: slices.Concat(began(0), all(1), []Moment{lost(1, 2, "e.2")}, all(5, 6)), want: Verdict{Live: 3, Lost: 1, Silent: 1, Reconnects: 1}},
		"told, and yet it came":      {story: slices.Concat(began(0), all(1), []Moment{lost(1, 4, "e.4")}, all(3, 5, 6)), want: Verdict{Live: 3, Lost: 2, Reordered: 1, Reconnects: 1}},
		"told what it has":           {story: slices.Concat(began(0), all(1, 2, 3), []Moment{lost(3, 1, "")}, all(5, 6)), want: Verdict{Live: 5, Reconnects: 1}},
		"told though it is kept":     {story: slices.Concat(began(0), all(1), []Moment{lost(1, 4, "e.1")}, all(5, 6)), want: Verdict{Live: 3, Lost: 2, Unfounded: 1, Reconnects: 1}, says: "could have gone on from e.1"},
		"told in another epoch":      {story: slices.Concat(began(0), all(1), []Moment{lost(1, 4, "d.1")}, all(5, 6)), want: Verdict{Live: 3, Lost: 2, Reconnects: 1}},
		"a log that has ended":       {story: slices.Concat(began(0), all(1), []Moment{{Kind: Lost, Since: at(1), Position: wire.Position{Epoch: "f"}}}), want: Verdict{Live: 1, Lost: 4, Reconnects: 1}},
		"forgotten":                  {story: slices.Concat(began(0), all(1), []Moment{{Kind: Forgotten, Since: at(1), Position: at(4), Oldest: "e.1"}}, all(5, 6)), want: Verdict{Live: 3, Forgotten: 2, Reconnects: 1}},
		"forgotten, and not in its room yet": {
			story: slices.Concat(began(0), all(1), []Moment{{Kind: Forgotten, Since: at(1), Position: at(1)}}, all(2, 5), []Moment{{Kind: Joined, Position: at(5)}}, all(6)),
			want:  Verdict{Live: 4, Forgotten: 1, Reconnects: 1},
		},
		"in its room before anything came": {
			story: slices.Concat(began(0), []Moment{{Kind: Forgotten, Position: at(0)}, {Kind: Joined, Position: at(3)}}, all(1, 2, 5, 6)),
			want:  Verdict{Live: 4, Forgotten: 1, Reconnects: 1},
		},
		"in its room, and yet nothing came": {
			story: slices.Concat(began(0), []Moment{{Kind: Forgotten, Position: at(0)}, {Kind: Joined, Position: at(2)}}, all(1, 2, 5, 6)),
			want:  Verdict{Live: 4, Silent: 1, Reconnects: 1}, says: "p0-3 at e.3 was lost silently",
		},
		"a gap":                         {story: slices.Concat(began(0), all(1), []Moment{{Kind: Gap, Dropped: 2}}, all(5, 6)), want: Verdict{Live: 3, Lost: 2}},
		"more than a gap":               {story: slices.Concat(began(0), all(1), []Moment{{Kind: Gap, Dropped: 1}}, all(5, 6)), want: Verdict{Live: 3, Lost: 1, Silent: 1}, says: "p0-3"},
		"wronged":                       {story: slices.Concat(began(5), all(6), []Moment{{Kind: Wronged, Note: "its room was taken"}}), want: Verdict{Live: 1, Wronged: 1}, says: "its room was taken"},
		"never there":                   {want: Verdict{Silent: 5, Wronged: 1}, says: "never connected"},
		"away by its own will and back": {story: slices.Concat(began(0), all(1), []Moment{{Kind: Left}, {Kind: Back}}, all(2, 3, 5, 6)), want: Verdict{Live: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			story := &Story{Name: "ann", Room: "a"}
			for _, m := range c.story {
				m.At = time.Unix(1, 0) // no time passes
				story.Add(m)
			}
			v := Judge(six(), story)
			says := strings.Join(v.Findings, "\n")
			v.Findings = nil
			if got, want := fmt.Sprintf("%+v", v), fmt.Sprintf("%+v", c.want); got != want {
				t.Errorf("got %s, want %s\n%s", got, want, says)
			}
			if !strings.Contains(says, c.says) || v.Bad() != (says != "") {
				t.Errorf("bad is %t, says %q, want %q", v.Bad(), says, c.says)
			}
		})
	}
}

func TestOutage(t *testing.T) {
	story := &Story{Room: "a"}
	for _, m := range []struct {
		second int64
		Moment
	}{
		{0, began(0)[0]},
		{1, got(1)},
		{2, Moment{Kind: Left}},
		{60, Moment{Kind: Back}},
		{63, got(2)},
		{64, Moment{Kind: Back}},
		{67, got(3)},
		{68, got(5)},
		{69, got(6)},
	} {
		m.At = time.Unix(m.second, 0)
		story.Add(m.Moment)
	}
	if v := Judge(six(), story); v.Outage != 4*time.Second || v.Reconnects != 1 {
		t.Errorf("outage of %s, %d reconnects", v.Outage, v.Reconnects)
	}
}

func TestNewLog(t *testing.T) {
	for name, acked := range map[string][]Event{
		"two in one place":               {{Key{0, 1}, "", at(1)}, {Key{1, 1}, "", at(1)}},
		"a publisher's in another order": {{Key{0, 1}, "", at(2)}, {Key{0, 2}, "", at(1)}},
		"one twice":                      {{Key{0, 1}, "", at(1)}, {Key{0, 1}, "", at(2)}},
	} {
		if _, err := NewLog(acked); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	other := wire.Position{Epoch: "a later one", Seq: 1}
	log, err := NewLog([]Event{{Key{0, 1}, "", at(7)}, {Key{0, 2}, "", other}})
	if err != nil || log.Events[1].Position != other {
		t.Errorf("%+v, %v", log, err)
	}
}

func TestTable(t *testing.T) {
	var sum Verdict
	sum.Add(&Verdict{Live: 1, Recovered: 2, Lost: 3, Forgotten: 4, Silent: 5, Duplicated: 6, Reordered: 7, Outage: time.Second})
	sum.Add(&Verdict{Foreign: 1, Unfounded: 1, Wronged: 6, Reconnects: 9, Outage: time.Minute})
	lines := strings.Split(Table([]Row{{Fault: "kill", Nodes: 3, Events: 10, Waited: 2 * time.Second, Verdict: sum}, {Fault: "cut", Nodes: 1, Skipped: "not root"}}), "\n")
	if want := "| kill | 3 | 10 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 60.0 s | 9 | 2.0 s |"; lines[2] != want {
		t.Errorf("got %s, want %s", lines[2], want)
	}
	for _, line := range lines[:4] {
		if n := strings.Count(line, "|"); n != strings.Count(lines[0], "|") {
			t.Errorf("%d bars in %s", n, line)
		}
	}
	if !strings.Contains(lines[3], "not run: not root") {
		t.Error(lines[3])
	}
}
