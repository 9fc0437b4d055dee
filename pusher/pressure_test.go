// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func TestPressure(t *testing.T) {
	srv := limited(t, settings.PusherLimits{MemoryPercent: 80}, nil, open("orders"))
	for i, step := range []struct {
		percent     int32
		full, short bool
	}{
		{0, false, false},
		{79, false, false},
		{80, true, false},
		{89, true, false},
		{90, true, true},
		{89, true, false},
		{71, true, false}, // or it would come and go
		{70, false, false},
		{79, false, false},
		{100, true, true},
		{3, false, false},
	} {
		if n := srv.press(step.percent); n != 0 {
			t.Errorf("step %d: %d clients were closed, there is none", i, n)
		}
		st := srv.Status()
		if st.MemoryPercent != step.percent || st.Full != step.full || (srv.full() != "") != step.short {
			t.Errorf("step %d: %+v, newcomers are told %q", i, st, srv.full())
		}
	}
	srv = limited(t, settings.PusherLimits{}, nil, open("orders")) // older settings say nothing
	if srv.press(100); srv.Status().Full || srv.full() != "" {
		t.Error("full without a limit")
	}
}

func TestMemoryUse(t *testing.T) {
	live, all := newMemoryUse().read()
	if live == 0 || live > all || all > 1<<33 {
		t.Errorf("%d of %d bytes are in use", live, all)
	}
	for _, c := range []struct {
		n    uint64
		most int64
		want int32
	}{{0, 100, 0}, {1 << 30, 2 << 30, 50}, {10 << 30, 1, 1000}, {5, 0, 500}} {
		if got := percentOf(c.n, c.most); got != c.want {
			t.Errorf("%d of %d: %d percent", c.n, c.most, got)
		}
	}
}
