// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Row is one run in the table.
type Row struct {
	Fault   string
	Nodes   int           // of the broker; 0: of any
	Skipped string        // why it was not run; empty: it was
	Events  int           // published
	Waited  time.Duration // the longest wait for an acknowledgement
	Verdict Verdict
}

// Table is the rows in Markdown.
func Table(rows []Row) string {
	var b strings.Builder
	heads := []string{
		"fault", "broker nodes", "events published", "delivered live", "recovered", "reported lost", "session forgotten (Socket.IO)",
		"silently lost", "duplicated", "out of order", "otherwise wrong", "longest outage", "reconnects", "longest wait for an acknowledgement",
	}
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat(" --- |", len(heads)))
	for i := range rows {
		r, v := &rows[i], &rows[i].Verdict
		if r.Skipped != "" {
			fmt.Fprintf(&b, "| %s | %d | not run: %s |%s\n", r.Fault, r.Nodes, r.Skipped, strings.Repeat("  |", len(heads)-3))
			continue
		}
		nodes := strconv.Itoa(r.Nodes)
		if r.Nodes == 0 {
			nodes = ""
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %s | %d | %s |\n",
			r.Fault, nodes, r.Events, v.Live, v.Recovered, v.Lost, v.Forgotten,
			v.Silent, v.Duplicated, v.Reordered, v.Foreign+v.Unfounded+v.Wronged, seconds(v.Outage), v.Reconnects, seconds(r.Waited))
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
