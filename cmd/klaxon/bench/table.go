// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// row is one figure of a step, or a remark.
type row struct {
	name string
	kind unit
	n    float64
	text string // instead of a figure
}

// unit says how a figure is written.
type unit int

const (
	asIs unit = iota
	inMicros
	inBytes
	inPercent
)

// rows are the figures of a step that there are.
func (s *Step) rows() []row {
	var all []row
	add := func(name string, kind unit, n float64) { all = append(all, row{name: name, kind: kind, n: n}) }
	latency := func(name string, l *Latency) {
		add(name+" p50", inMicros, l.P50)
		add(name+" p99", inMicros, l.P99)
		add(name+" p99.9", inMicros, l.P999)
		add(name+" max", inMicros, l.Max)
	}
	if c := s.Connect; c != nil {
		add("connections", asIs, float64(c.Ready))
		add("handshakes/s", asIs, c.PerSecond)
		latency("latency", &c.Latency)
		for _, text := range tally("failed", c.Failures) {
			all = append(all, row{text: text})
		}
	}
	if t := s.Traffic; t != nil {
		add("published/s", asIs, t.PublishesPerS)
		add("deliveries/s", asIs, t.DeliveriesPerS)
		add("deliveries", asIs, float64(t.Delivered))
		if t.Delivered > 0 {
			latency("latency", &t.Latency)
		}
		latency("publish answer", &t.Answer)
		for _, text := range t.remarks() {
			all = append(all, row{text: text})
		}
	}
	return append(all, s.costs()...)
}

// remarks say whether the traffic was as it should be.
func (t *Traffic) remarks() []string {
	all := tally("events refused", t.Refused)
	all = append(all, t.Check.Faults()...)
	switch {
	case t.Check.Gaps > 0:
		all = append(all, fmt.Sprintf("%d events dropped, as %d gaps said", t.Check.Dropped, t.Check.Gaps))
	case len(all) == 0:
		all = append(all, "exact: every event once and in order")
	}
	if t.SlowClients > 0 {
		all = append(all, fmt.Sprintf("%d slow clients, read again at the end", t.SlowClients))
		all = append(all, tally("slow clients closed", t.Check.ClosedSlow)...)
	}
	return all
}

// costs are what the server and the clients used.
func (s *Step) costs() []row {
	var all []row
	if v := s.Server; v != nil {
		for _, r := range []row{
			{name: "server CPU/handshake", kind: inMicros, n: v.CPUPerHandshake},
			{name: "server CPU/delivery", kind: inMicros, n: v.CPUPerDelivery},
			{name: "server CPU/publish", kind: inMicros, n: v.CPUPerPublish},
			{name: "server RSS/connection", kind: inBytes, n: v.RSSPerConnection},
			{name: "kernel/connection", kind: inBytes, n: v.KernelPerConnection},
			{name: "server RSS", kind: inBytes, n: float64(v.RSS)},
			{name: "server CPU", kind: inPercent, n: v.CPUPercent},
		} {
			if r.n != 0 {
				all = append(all, r)
			}
		}
	}
	return append(all, row{name: "clients CPU", kind: inPercent, n: s.Clients.CPUPercent}, row{name: "other CPU", kind: inPercent, n: s.Clients.OtherCPUPercent})
}

// String writes the figure with its unit, or the remark.
func (r row) String() string {
	switch {
	case r.text != "":
		return r.text
	case r.kind == inMicros && r.n >= 1e6:
		return digits(r.n/1e6) + " s"
	case r.kind == inMicros && r.n >= 1e3:
		return digits(r.n/1e3) + " ms"
	case r.kind == inMicros:
		return digits(r.n) + " µs"
	case r.kind == inBytes && math.Abs(r.n) >= 1<<20:
		return digits(r.n/(1<<20)) + " MiB"
	case r.kind == inBytes && math.Abs(r.n) >= 1<<10:
		return digits(r.n/(1<<10)) + " KiB"
	case r.kind == inBytes:
		return digits(r.n) + " B"
	case r.kind == inPercent:
		return strconv.FormatFloat(r.n, 'f', 0, 64) + " %"
	}
	return digits(r.n)
}

// digits writes three significant digits, and commas between thousands.
func digits(f float64) string {
	places := 0
	if f != math.Trunc(f) {
		places = max(0, 2-int(math.Floor(math.Log10(math.Abs(f)))))
	}
	text := strconv.FormatFloat(f, 'f', min(places, 3), 64)
	whole, rest, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}

// Print prints a step, a figure on each line.
func (s *Step) Print(w io.Writer) error {
	lines := []string{"", s.Name}
	for _, r := range s.rows() {
		if r.text != "" {
			lines = append(lines, "  "+r.text)
		} else {
			lines = append(lines, fmt.Sprintf("  %-22s %12s", r.name, r))
		}
	}
	return write(w, lines)
}

// Compare prints the figures of two reports side by side, with how many times the
// first one's the second one's are.
func Compare(w io.Writer, a, b *Report) error {
	lines := []string{"A  " + a.String(), "B  " + b.String()}
	for i := range max(len(a.Steps), len(b.Steps)) {
		nameA, rowsA := a.step(i)
		nameB, rowsB := b.step(i)
		name := nameA
		if nameA != nameB {
			name += " / " + nameB
		}
		lines = append(lines, "", fmt.Sprintf("%-24s %12s %12s %8s", name, "A", "B", "B/A"))
		lines = append(lines, sideBySide(rowsA, rowsB)...)
	}
	return write(w, lines)
}

// step returns the i-th step's name and figures, if there is one.
func (r *Report) step(i int) (string, []row) {
	if i >= len(r.Steps) {
		return "-", nil
	}
	return r.Steps[i].Name, r.Steps[i].rows()
}

// sideBySide joins figures of the same name; remarks follow.
func sideBySide(a, b []row) []string {
	var figures, remarks []string
	line := func(name, a, b, ratio string) {
		figures = append(figures, strings.TrimRight(fmt.Sprintf("  %-22s %12s %12s %8s", name, a, b, ratio), " "))
	}
	others := map[string]row{}
	for _, r := range b {
		others[r.name] = r
	}
	for _, r := range a {
		other, both := others[r.name]
		switch {
		case r.text != "":
			remarks = append(remarks, "  A: "+r.text)
			continue
		case !both:
			line(r.name, r.String(), "", "")
		case r.n == 0:
			line(r.name, r.String(), other.String(), "")
		default:
			line(r.name, r.String(), other.String(), strconv.FormatFloat(other.n/r.n, 'f', 2, 64))
		}
		delete(others, r.name)
	}
	for _, r := range b {
		if r.text != "" {
			remarks = append(remarks, "  B: "+r.text)
		} else if _, left := others[r.name]; left {
			line(r.name, "", r.String(), "")
		}
	}
	return append(figures, remarks...)
}

// String says in short what was measured, when and where.
func (r *Report) String() string {
	s := &r.Setup
	return fmt.Sprintf("%s, %s, kernel %s: %d connections, %d channels of %d rooms, %d bytes %s", r.Version, r.Time.Format(time.DateTime),
		r.Machine.Kernel, s.Connections, s.Channels, s.Rooms, s.Size, s.Mode)
}

func write(w io.Writer, lines []string) error {
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}
