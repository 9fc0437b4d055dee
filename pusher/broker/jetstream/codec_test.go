// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

var events = []*wire.Event{
	{},
	{ID: "1", Name: "näme", Data: []byte(`{"a":[1,"ü"]}`), Rooms: []string{"r:1", "r 2"}, Users: []string{"u"}, Sessions: []string{"s1", "s2"}},
	{Name: "n", Binary: []byte{0, 1, 255}},
	{Name: "empty", Binary: []byte{}},
	{Name: "several", Data: []byte(`[1,{"_placeholder":true,"num":0}]`), Spread: true, Attachments: [][]byte{{1, 2}, {3}}, Except: []string{"s1"}},
	{Name: "traced", Binary: []byte{1}, Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
}

func TestEventsComeBack(t *testing.T) {
	for _, ev := range events {
		got, m, err := decode(encode(ev))
		if err != nil || m != nil || !reflect.DeepEqual(got, ev) {
			t.Errorf("%+v comes back as %+v, %v, %v", ev, got, m, err)
		}
	}
	if ev, m, err := decode(encodeMark(mark{1 << 60})); err != nil || ev != nil || m.floor != 1<<60 {
		t.Errorf("a mark comes back as %v, %v, %v", ev, m, err)
	}
}

func TestUnknownFormats(t *testing.T) {
	whole := encode(events[1])
	for name, b := range map[string][]byte{
		"nothing": nil, "another format": {2, 1, 0}, "another kind": {1, 9, 0}, "a mark without a floor": {1, 2},
		"a mark with more": {1, 2, 0, 0}, "a long id": {1, 1, 255, 255, 1}, "many rooms": {1, 1, 0, 0, 255, 255, 3},
		"other data": {1, 1, 0, 0, 0, 0, 0, 7}, "no data with data": {1, 1, 0, 0, 0, 0, 0, 0, 1}, "half": whole[:20],
		"many attachments": {1, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 11}, "no data behind more": {1, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0},
	} {
		if ev, m, err := decode(b); !errors.Is(err, errFormat) || ev != nil || m != nil {
			t.Errorf("%s: %v, %v, %v", name, ev, m, err)
		}
	}
}

// FuzzDecode: whatever the bytes are there is an answer, and what is taken for an
// event is the same event when it has been written and read again.
func FuzzDecode(f *testing.F) {
	for _, ev := range events {
		f.Add(encode(ev))
	}
	f.Add(encodeMark(mark{7}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, m, err := decode(b)
		switch {
		case err != nil:
		case m != nil:
			if _, again, err := decode(encodeMark(*m)); err != nil || *again != *m {
				t.Fatalf("%v comes back as %v, %v", m, again, err)
			}
		default:
			if again, _, err := decode(encode(ev)); err != nil || !reflect.DeepEqual(again, ev) {
				t.Fatalf("%+v comes back as %+v, %v", ev, again, err)
			}
		}
	})
}

// TestPatience lasts for as long as the caller has time, and for nothing else than a
// stream that has no leader.
func TestPatience(t *testing.T) {
	tries := 0
	err := patiently(t.Context(), func(context.Context) error {
		if tries++; tries < 3 {
			return fmt.Errorf("ask: %w", nats.ErrNoResponders)
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), leaderWait/2)
	defer cancel()
	if err := patiently(ctx, func(context.Context) error { return nats.ErrNoResponders }); !gone(err) {
		t.Errorf("out of time: %v", err)
	}
	tries = 0
	if err := patiently(t.Context(), func(context.Context) error { tries++; return ErrUnknownChannel }); !errors.Is(err, ErrUnknownChannel) || tries != 1 {
		t.Errorf("another error: %d tries, %v", tries, err)
	}
}
