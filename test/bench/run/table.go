// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// table collects what was measured.
type table struct {
	servers []server
	values  map[cell][]float64
	notes   []string
	other   float64 // most CPU that neither server nor clients used, in percent
}

// cell is one figure of one server.
type cell struct {
	server, scenario, figure string
}

func newTable(servers []server) *table {
	return &table{servers: servers, values: map[cell][]float64{}}
}

// note keeps what went wrong.
func (t *table) note(s server, sc *scenario, text string) {
	text = fmt.Sprintf("%s, %s: %s", sc.name, s.name, text)
	if !slices.Contains(t.notes, text) {
		t.notes = append(t.notes, text)
	}
}

// add adds the figures of one report.
func (t *table) add(s server, sc *scenario, r *report) {
	if len(r.Steps) < sc.steps() {
		t.note(s, sc, "it did not come to an end")
		return
	}
	for _, step := range r.Steps[1:] { // connecting may take no time at all
		t.other = max(t.other, step.Clients.OtherCPU)
	}
	for _, f := range sc.figures {
		if v := f.of(r); v != 0 {
			c := cell{s.name, sc.name, f.what}
			t.values[c] = append(t.values[c], v)
		}
	}
}

// markdown writes medians, and how many times the first server's they are.
func (t *table) markdown(scenarios []scenario, rounds int) string {
	var b strings.Builder
	b.WriteString("| |")
	for i, s := range t.servers {
		b.WriteString(" " + s.name + " |")
		if i > 0 {
			b.WriteString(" × |")
		}
	}
	b.WriteString("\n| --- |" + strings.Repeat(" ---: |", 2*len(t.servers)-1) + "\n")
	for i := range scenarios {
		sc := &scenarios[i]
		b.WriteString("| **" + sc.what + "** |" + strings.Repeat(" |", 2*len(t.servers)-1) + "\n")
		for _, f := range sc.figures {
			b.WriteString("| " + f.what + " |")
			first := median(t.values[cell{t.servers[0].name, sc.name, f.what}])
			for i, s := range t.servers {
				v := median(t.values[cell{s.name, sc.name, f.what}])
				b.WriteString(" " + value(v, f.unit) + " |")
				if i > 0 {
					b.WriteString(" " + ratio(v, first) + " |")
				}
			}
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "\nMedians of %d rounds; × is how many times the %s's. Most CPU used by anything else: %.0f %% of one core.\n", rounds, t.servers[0].name, t.other)
	for _, n := range t.notes {
		b.WriteString("\n- " + n)
	}
	if len(t.notes) > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func value(v float64, unit string) string {
	switch {
	case v == 0:
		return "–"
	case v < 100 && unit != "B":
		return fmt.Sprintf("%.2f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

func ratio(v, base float64) string {
	if v == 0 || base <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", v/base)
}
