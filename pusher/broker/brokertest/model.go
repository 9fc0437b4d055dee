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
	// lives is how often a channel began.
	lives map[string]int
	// delivered is all that must be delivered, by channel, through all epochs.
	delivered map[string][]delivery
}

type modelLog struct {
	epoch string
	begin wire.Position
	all   []delivery
	at    wire.Position
	ids   map[string]wire.Position
}

// publish takes in what the broker says of events, and checks it: only where a new
// event is placed is up to the broker, as long as that is behind the last.
func (m *model) publish(t *testing.T, channel string, ids []string, events []*wire.Event, got []wire.Receipt) {
	t.Helper()
	l := m.logs[channel]
	for i, id := range ids {
		want := wire.Receipt{ID: id, Position: got[i].Position}
		first, known := l.ids[id]
		switch {
		case known && id != "":
			want.Position, want.Duplicate = first, true
		case got[i].Position.Epoch != l.epoch || got[i].Position.Seq <= l.at.Seq:
			t.Fatalf("receipt %d is %+v behind %v", i, got[i], l.at)
		default:
			l.at = got[i].Position
			d := delivery{l.at, &wire.Event{Name: events[i].Name}}
			m.delivered[channel], l.all = append(m.delivered[channel], d), append(l.all, d)
		}
		if id == "" {
			want.ID = got[i].ID // made up
		} else {
			l.ids[id] = want.Position
		}
		if got[i] != want {
			t.Fatalf("receipt %d is %+v, want %+v", i, got[i], want)
		}
	}
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
	m := &model{logs: map[string]*modelLog{}, lives: map[string]int{}, delivered: map[string][]delivery{}}
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
		var ids []string
		for _, ev := range events {
			ids = append(ids, ev.ID)
		}
		m.publish(t, channel, ids, events, publish(t, b, channel, events...))
	}
	for _, name := range names {
		want := m.delivered[name]
		for i, got := range r.wait(t, name, len(want)) {
			if got.pos != want[i].pos || got.ev.Name != want[i].ev.Name {
				t.Fatalf("%s: delivery %d is %v %s, want %v %s", name, i, got.pos, got.ev.Name, want[i].pos, want[i].ev.Name)
			}
		}
		if l := m.logs[name]; l != nil {
			waitPosition(t, b, name, l.at)
		}
	}
}

func (m *model) setChannels(t *testing.T, b Broker, names []string) {
	t.Helper()
	old := m.logs
	var all []settings.Channel
	for _, name := range names {
		c := keeping(name, modelSize)
		if old[name] == nil {
			m.lives[name]++
		}
		c.UID = fmt.Sprint(name, m.lives[name])
		all = append(all, c)
	}
	for name, l := range old { // so that all there is has been delivered when it ends
		waitPosition(t, b, name, l.at)
	}
	b.SetChannels(all)
	m.logs = map[string]*modelLog{}
	for _, name := range names {
		if m.logs[name] = old[name]; m.logs[name] == nil {
			epoch := epochOf(t, b, name)
			begin, _ := b.Position(name)
			m.logs[name] = &modelLog{epoch: epoch, begin: begin, at: begin, ids: map[string]wire.Position{}}
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
