// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package mark

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRoundTrip(t *testing.T) {
	first, second := Mark{17, 4000000000, 123456789012345}, Mark{999999, 1, 0}
	b := first.Append([]byte(`{"type":"event","data":"`), 5000)
	if got := len(b) - len(`{"type":"event","data":"`); got != 5000 {
		t.Fatalf("the data has %d bytes", got)
	}
	b = append(b, `"}{"data":"~gxx~g123456x`...)
	b = second.Append(b, 0)
	m, rest, ok := Next(b)
	if !ok || m != first || !strings.HasPrefix(string(rest), "xxx") {
		t.Fatalf("found %v %+v", ok, m)
	}
	if m, rest, ok = Next(rest); !ok || m != second || len(rest) != 0 {
		t.Fatalf("found %v %+v", ok, m)
	}
	for _, text := range []string{"", "~g", string(b[len(b)-Size : len(b)-1])} {
		if _, _, ok := Next([]byte(text)); ok {
			t.Errorf("found a mark in %q", text)
		}
	}
}

// TestNowIsTheKernels: marks are compared by processes that started at
// different times.
func TestNowIsTheKernels(t *testing.T) {
	var before, after unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &before); err != nil {
		t.Fatal(err)
	}
	now := Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &after); err != nil {
		t.Fatal(err)
	}
	const slack = 1_000_000 // in nanoseconds: the two clocks are not read at the same moment
	if now < before.Nano()-slack || now > after.Nano()+slack {
		t.Errorf("now is %d, the kernel says %d to %d", now, before.Nano(), after.Nano())
	}
}
