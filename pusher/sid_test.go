// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/loop"
)

func TestSessionIDsSayWhereTheSessionLives(t *testing.T) {
	k := newSIDs()
	seen := map[string]bool{}
	for slot := range loop.Slot(loopSlots) {
		h, sid := k.assign(3, slot)
		if got, ok := k.find(sid); !ok || got != h || h.slot != slot || h.shard != 3 || h.owner != k.owner {
			t.Fatalf("%s: found %+v, %v; it is %+v", sid, got, ok, h)
		}
		if seen[sid] || len(sid) != 32 || strings.Trim(sid, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Fatalf("%s is not an id", sid)
		}
		seen[sid] = true
	}
}

const loopSlots = 100

// TestSessionIDsShowNothing: two sessions of neighbouring slots have nothing in
// common but what is secret.
func TestSessionIDsShowNothing(t *testing.T) {
	k := newSIDs()
	prefixes := map[string]int{}
	for range loopSlots {
		_, sid := k.assign(0, 7)
		prefixes[sid[6:12]]++ // the place: letters that are its alone
	}
	if len(prefixes) < loopSlots-2 {
		t.Fatalf("%d ids of one place look like %d", loopSlots, len(prefixes))
	}
}

func TestForgedSessionIDs(t *testing.T) {
	k := newSIDs()
	_, sid := k.assign(0, 1)
	for _, forged := range []string{"", "__proto__", sid[:31], sid + "A", strings.ToUpper(sid), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", strings.Repeat("x", 1<<16), sid[:31] + "="} {
		if _, ok := k.find(forged); ok {
			t.Errorf("%.40q is taken for an id", forged)
		}
	}
	for i := range sid {
		b := []byte(sid)
		if b[i]++; b[i] == '{' || b[i] == ':' || b[i] == '[' || b[i] == '`' || b[i] == '.' {
			b[i] = 'a'
		}
		if string(b) == sid {
			b[i] = 'b'
		}
		if _, ok := k.find(string(b)); ok {
			t.Errorf("%s is taken for an id: %s with another letter", b, sid)
		}
	}
	if _, ok := newSIDs().find(sid); ok {
		t.Error("an id of another Pusher's is taken")
	}
}
