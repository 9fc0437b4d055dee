// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// modelSize is how many events the model's logs keep.
const modelSize = 30

// model is a broker in its simplest words.
type model struct {
	logs map[string]*modelLog
	// delivered is all that must be delivered, by channel, through all epochs.
	delivered map[string][]delivery
}

type modelLog struct {
	epoch string
	begin wire.Position
	all   []delivery
	seq   uint64
	ids   map[string]uint64
}

func (m *model) publish(channel string, events []*wire.Event) []wire.Receipt {
	l := m.logs[channel]
	var out []wire.Receipt
	for _, ev := range events {
		if seq, ok := l.ids[ev.ID]; ok && ev.ID != "" {
			out = append(out, wire.Receipt{ID: ev.ID, Position: wire.Position{Epoch: l.epoch, Seq: seq}, Duplicate: true})
			continue
		}
		l.seq++
		if ev.ID != "" {
			l.ids[ev.ID] = l.seq
		}
		pos := wire.Position{Epoch: l.epoch, Seq: l.seq}
		d := delivery{pos, &wire.Event{ID: ev.ID, Name: ev.Name}}
		m.delivered[channel], l.all = append(m.delivered[channel], d), append(l.all, d)
		out = append(out, wire.Receipt{ID: ev.ID, Position: pos})
	}
	return out
}

// testModel compares random histories with the model.
func testModel(t *testing.T, f Factory) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			runModel(t, f, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func runModel(t *testing.T, f Factory, rnd *rand.Rand) {
	names := []string{"a", "b", "c"}
	b, r := start(t, f)
	m := &model{logs: map[string]*modelLog{}, delivered: map[string][]delivery{}}
	for step := range 200 {
		if rnd.IntN(20) == 0 || step == 0 {
			m.setChannels(t, b, subset(rnd, names))
			continue
		}
		channel := names[rnd.IntN(len(names))]
		if rnd.IntN(3) == 0 && m.logs[channel] != nil {
			m.read(t, b, channel, rnd)
			continue
		}
		events := randomEvents(rnd, step)
		if m.logs[channel] == nil {
			if got, err := b.Publish(t.Context(), channel, events); err == nil {
				t.Fatalf("step %d: %s takes events: %v", step, channel, got)
			}
			continue
		}
		want := m.publish(channel, events)
		for i, got := range publish(t, b, channel, events...) {
			if want[i].ID == "" {
				want[i].ID = got.ID // made up
			}
			if got != want[i] {
				t.Fatalf("step %d: receipt %d is %+v, want %+v", step, i, got, want[i])
			}
		}
	}
	for _, name := range names {
		want := m.delivered[name]
		for i, got := range r.wait(t, name, len(want)) {
			if got.pos != want[i].pos || got.ev.Name != want[i].ev.Name {
				t.Fatalf("%s: delivery %d is %v %s, want %v %s", name, i, got.pos, got.ev.Name, want[i].pos, want[i].ev.Name)
			}
		}
		if l := m.logs[name]; l != nil {
			waitPosition(t, b, name, wire.Position{Epoch: l.epoch, Seq: l.seq})
		}
	}
}

func (m *model) setChannels(t *testing.T, b Broker, names []string) {
	t.Helper()
	old := m.logs
	var all []settings.Channel
	for _, name := range names {
		all = append(all, keeping(name, modelSize))
	}
	b.SetChannels(all)
	m.logs = map[string]*modelLog{}
	for _, name := range names {
		if m.logs[name] = old[name]; m.logs[name] == nil {
			epoch := epochOf(t, b, name)
			begin, _ := b.Position(name)
			m.logs[name] = &modelLog{epoch: epoch, begin: begin, ids: map[string]uint64{}}
		}
		if got := epochOf(t, b, name); got != m.logs[name].epoch {
			t.Fatalf("%s: the epoch is %s, want %s", name, got, m.logs[name].epoch)
		}
	}
}

// read compares what is kept behind a random position.
func (m *model) read(t *testing.T, b Broker, channel string, rnd *rand.Rand) {
	t.Helper()
	l := m.logs[channel]
	after, n := l.begin, rnd.IntN(len(l.all)+1)
	if n > 0 {
		after = l.all[n-1].pos
	}
	if len(l.all)-n > modelSize {
		lost(t, b, channel, after)
		return
	}
	got := readAll(t, b, channel, after, 1+rnd.IntN(12))
	if len(got) != len(l.all)-n {
		t.Fatalf("%s: %d events behind %v, want %d", channel, len(got), after, len(l.all)-n)
	}
	for i, s := range got {
		if want := l.all[n+i]; s.Position != want.pos || s.Event.Name != want.ev.Name {
			t.Fatalf("%s: event %d is kept as %v %s, want %v %s", channel, i, s.Position, s.Event.Name, want.pos, want.ev.Name)
		}
	}
}

func subset(rnd *rand.Rand, names []string) []string {
	var out []string
	for _, name := range names {
		if rnd.IntN(4) > 0 {
			out = append(out, name)
		}
	}
	return out
}

// randomEvents takes ids from few, so that duplicates are common.
func randomEvents(rnd *rand.Rand, step int) []*wire.Event {
	events := make([]*wire.Event, rnd.IntN(5))
	for i := range events {
		events[i] = &wire.Event{Name: fmt.Sprintf("%d/%d", step, i)}
		if rnd.IntN(3) > 0 {
			events[i].ID = fmt.Sprint("id", rnd.IntN(100))
		}
	}
	return events
}
