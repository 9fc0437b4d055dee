// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
)

func TestMarkdown(t *testing.T) {
	a, b := server{name: "a"}, server{name: "b"}
	sc := scenario{
		name: "s", what: "Something", flags: "--phases idle:1s,idle:2s",
		figures: []figure{
			perDelivery("one", 1), perPublish("two", 2),
			{"three", "B", func(r *report) float64 { return r.Steps[1].Server.RSSPerConnection }},
		},
	}
	table := newTable([]server{a, b})
	for _, v := range []float64{3, 1, 2, 100} {
		r := &report{Steps: make([]step, 3)}
		r.Steps[1].Server.CPUPerDelivery = v
		r.Steps[2].Clients.OtherCPU = v
		table.add(a, &sc, r)
		r.Steps[1].Server.CPUPerDelivery = 5 * v
		r.Steps[2].Server.CPUPerPublish = 1000 * v
		r.Steps[1].Server.RSSPerConnection = 12.3
		table.add(b, &sc, r)
	}
	table.add(b, &sc, &report{Steps: make([]step, 1)})
	table.note(b, &sc, "it did not come to an end") // once more
	want := `| | a | b | × |
| --- | ---: | ---: | ---: |
| **Something** | | | |
| one | 2.50 µs | 12.50 µs | 5.00 |
| two | – | 2500 µs | – |
| three | – | 12 B | – |

Medians of 4 rounds; × is how many times the a's. Most CPU used by anything else: 100 % of one core.

- s, b: it did not come to an end
`
	if got := table.markdown([]scenario{sc}, 4); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPick(t *testing.T) {
	self := func(s string) string { return s }
	if got, err := pick([]string{"c", "a"}, []string{"a", "b", "c"}, self); err != nil || len(got) != 2 || got[0] != "c" || got[1] != "a" {
		t.Errorf("picked %q (%v)", got, err)
	}
	if _, err := pick([]string{"d"}, []string{"a"}, self); err == nil {
		t.Error("picked what is not there")
	}
}

func TestPickServers(t *testing.T) {
	got, err := pickServers("klaxon,before=/tmp/pusher")
	if err != nil || len(got) != 2 || got[1].name != "before" || !got[1].klaxon {
		t.Fatalf("picked %+v (%v)", got, err)
	}
	c := &config{bin: "bin", port: 1}
	if program := got[1].command(c, nil)[0]; program != "/tmp/pusher" {
		t.Errorf("the other build is %s", program)
	}
	if program := got[0].command(c, nil)[0]; program != "bin/pusher" {
		t.Errorf("this build is %s", program)
	}
}
