// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"slices"
	"testing"
)

// TestHostile runs all attacks on one server, one after another.
func TestHostile(t *testing.T) {
	t.Parallel() // with TestPatience, which waits nearly all the time
	s := start(t, document(heartbeat, heartbeatTimeout))
	c := gather(t, s)
	rows := []row{attack{"calm", func(*arena) {}}.suffer(t, s, c)}
	before := s.resident(t)
	for _, a := range slices.Concat(floods, frameAttacks, smugglers, contents, forgeries) {
		t.Run(a.name, func(t *testing.T) { rows = append(rows, a.suffer(t, s, c)) })
		if len(c.faults()) > 0 {
			t.FailNow() // nothing that follows says anything
		}
	}
	rows = append(rows, attack{"calm again", func(*arena) {}}.suffer(t, s, c))
	after := 0
	if !within(recovery, func() bool { after = s.resident(t); return after <= before+growth }) {
		t.Errorf("the server takes %d MiB after the attacks, %d before", after, before)
	}
	t.Logf("memory: %d MiB before, %d after\n%s", before, after, table(rows))
}
