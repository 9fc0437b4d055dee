// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// model is what a Table should say, in the simplest words.
type model struct {
	user  map[Slot]string
	id    map[Slot]wire.SessionID
	rooms map[Slot]map[string]bool
}

func (m *model) reached(ev *wire.Event) []Slot {
	var out []Slot
	for s := range m.id {
		hit := ev.Broadcast() || slices.Contains(ev.Sessions, m.id[s].String()) || m.user[s] != "" && slices.Contains(ev.Users, m.user[s])
		for _, r := range ev.Rooms {
			hit = hit || m.rooms[s][r]
		}
		if hit {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

func (m *model) holder(id wire.SessionID) (Slot, bool) {
	for s, other := range m.id {
		if other == id {
			return s, true
		}
	}
	return 0, false
}

// reached checks on its way that Count says the same and changes nothing.
func reached(t *testing.T, tab *Table, ev *wire.Event, seq uint64) []Slot {
	t.Helper()
	const name = "c"
	before, n := tab.Position(name), tab.Count(name, ev)
	if after := tab.Position(name); after != before {
		t.Fatalf("counting moves the channel to %v", after)
	}
	var out []Slot
	tab.Each(name, &Delivery{Event: ev, Position: wire.Position{Epoch: "e", Seq: seq}}, func(s Slot) { out = append(out, s) })
	if n != len(out) {
		t.Fatalf("%+v is for %d sessions, counted %d", ev, len(out), n)
	}
	slices.Sort(out)
	return out
}

func TestTableAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tab := NewTable()
		tab.AddChannel("c")
		tab.Advance("c", wire.Position{Epoch: "e"})
		m := &model{user: map[Slot]string{}, id: map[Slot]wire.SessionID{}, rooms: map[Slot]map[string]bool{}}
		var ids []wire.SessionID // also of sessions that have gone
		pick := func(prefix string, n int) []string {
			var out []string
			for range rng.IntN(4) {
				out = append(out, fmt.Sprint(prefix, rng.IntN(n)))
			}
			return out
		}
		for step := range 4000 {
			s, room := Slot(rng.IntN(60)), fmt.Sprint("room", rng.IntN(12))
			_, present := m.id[s]
			switch op := rng.IntN(11); {
			case op < 2 && !present:
				user := ""
				if rng.IntN(3) > 0 {
					user = fmt.Sprint("user", rng.IntN(8))
				}
				tab.Add("c", s, user)
				m.id[s], m.user[s], m.rooms[s] = tab.ID(s), user, map[string]bool{}
				ids = append(ids, m.id[s])
			case op == 2:
				tab.Remove(s)
				delete(m.id, s)
				delete(m.user, s)
				delete(m.rooms, s)
			case op < 6 && present:
				m.rooms[s][room] = true
				if err := tab.Join(s, room); err != nil {
					t.Fatal(err)
				}
			case op < 8 && present:
				delete(m.rooms[s], room)
				tab.Leave(s, room)
			case op == 8 && present:
				id := ids[rng.IntN(len(ids))]
				holder, taken := m.holder(id)
				if got, want := tab.Rename(s, id), !taken || holder == s; got != want {
					t.Fatalf("seed %d step %d: renaming %d: %v, want %v", seed, step, s, got, want)
				} else if got {
					m.id[s] = id
				}
			default:
				ev := &wire.Event{Rooms: pick("room", 13), Users: pick("user", 9)}
				for range min(len(ids), rng.IntN(4)) {
					ev.Sessions = append(ev.Sessions, ids[rng.IntN(len(ids))].String())
				}
				if got, want := reached(t, tab, ev, uint64(step)), m.reached(ev); !slices.Equal(got, want) {
					t.Fatalf("seed %d step %d: %+v reached %v, want %v", seed, step, ev, got, want)
				}
				if got, want := tab.Addressed(s, wire.SessionID{}, ev), present && slices.Contains(m.reached(ev), s); got != want {
					t.Fatalf("seed %d step %d: %+v is addressed to %d: %v, want %v", seed, step, ev, s, got, want)
				}
				if tab.Position("c").Seq != uint64(step) {
					t.Fatalf("position is %v, want %d", tab.Position("c"), step)
				}
			}
			if got, want := slices.Sorted(slices.Values(tab.Rooms(s))), slices.Sorted(maps.Keys(m.rooms[s])); !slices.Equal(got, want) {
				t.Fatalf("seed %d step %d: slot %d is in %v, want %v", seed, step, s, got, want)
			}
		}
		for s := range m.id {
			tab.Remove(s)
		}
		if len(tab.renamed) != 0 {
			t.Fatalf("seed %d: ids of nobody are left: %v", seed, tab.renamed)
		}
		if c := tab.channels["c"]; c.rooms.len()+c.users.len()+len(c.all.slots) != 0 {
			t.Fatalf("seed %d: something is left when everybody has gone: %+v", seed, c)
		}
	}
}

func TestRemovalDuringAWalkMissesNobody(t *testing.T) {
	for _, ev := range []*wire.Event{{}, {Rooms: []string{"r"}}} {
		tab := NewTable()
		tab.AddChannel("c")
		for s := range Slot(200) {
			tab.Add("c", s, "")
			if err := tab.Join(s, "r"); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[Slot]int{}
		tab.Each("c", &Delivery{Event: ev}, func(s Slot) {
			seen[s]++
			if s%3 == 0 {
				tab.Remove(s) // as when a write fails
			}
		})
		for s := range Slot(200) {
			if seen[s] != 1 {
				t.Fatalf("slot %d was reached %d times", s, seen[s])
			}
		}
	}
}

func TestRoomsAreBounded(t *testing.T) {
	tab := NewTable()
	tab.AddChannel("c")
	tab.Add("c", 1, "")
	for i := range wire.MaxRooms {
		if err := tab.Join(1, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.Join(1, "0"); err != nil {
		t.Fatalf("joining again: %v", err)
	}
	if err := tab.Join(1, "more"); !errors.Is(err, ErrTooManyRooms) {
		t.Fatalf("got %v, want ErrTooManyRooms", err)
	}
}

// TestIDsDoNotTellHowManyThereAre: who collects ids learns nothing of their slots.
func TestIDsDoNotTellHowManyThereAre(t *testing.T) {
	tab := NewTable()
	tab.AddChannel("c")
	const sessions = 256
	var differ uint32 // bits in which the last bytes of two ids do
	for s := range Slot(sessions) {
		tab.Add("c", s, "")
		first, id := tab.ID(0), tab.ID(s)
		differ |= binary.BigEndian.Uint32(first[12:]) ^ binary.BigEndian.Uint32(id[12:])
		if found, ok := tab.Find("c", id.String()); !ok || found != s {
			t.Fatalf("the id of slot %d is that of %d, %v", s, found, ok)
		}
	}
	if differ != ^uint32(0) {
		t.Errorf("ids of %d sessions differ in the bits %#x only", sessions, differ)
	}
}

func TestRemovedChannelKeepsNothing(t *testing.T) {
	tab := NewTable()
	tab.AddChannel("c")
	tab.Advance("c", wire.Position{Epoch: "one", Seq: 7})
	tab.Add("c", 3, "u")
	if got := tab.RemoveChannel("c"); !slices.Equal(got, []Slot{3}) {
		t.Fatalf("got %v, want the one session", got)
	}
	tab.Remove(3)
	if tab.Add("c", 3, "u") {
		t.Fatal("a session was added to a channel that is gone")
	}
	tab.AddChannel("c")
	tab.Advance("c", wire.Position{Epoch: "two"})
	if p := tab.Position("c"); p.Epoch != "two" || len(tab.Members("c")) != 0 {
		t.Fatalf("the new channel begins at %v with %v", p, tab.Members("c"))
	}
}

func TestAnIndexGivesMemoryBack(t *testing.T) {
	var x index[int, int]
	const many = 50 * minShrink
	for i := range many {
		x.put(i, -i)
	}
	for i := range many - 3 {
		x.remove(i)
		x.remove(i)
	}
	if x.len() != 3 || x.peak > 2*minShrink {
		t.Fatalf("%d entries are left, in a map made for %d", x.len(), x.peak)
	}
	for i := many - 3; i < many; i++ {
		if v, ok := x.get(i); !ok || v != -i {
			t.Errorf("entry %d is %d, %v", i, v, ok)
		}
	}
	if _, ok := x.get(0); ok {
		t.Error("a removed entry is there")
	}
}

func TestExceptedSessions(t *testing.T) {
	table := NewTable()
	table.AddChannel("a")
	for s := range Slot(3) {
		table.Add("a", s, "")
		_ = table.Join(s, "r")
	}
	not := table.ID(1).String()
	for name, ev := range map[string]*wire.Event{
		"everybody but one": {Except: []string{not, "nobody's"}},
		"a room but one":    {Except: []string{not}, Rooms: []string{"r"}},
	} {
		var got []Slot
		table.Each("a", &Delivery{Event: ev}, func(s Slot) { got = append(got, s) })
		slices.Sort(got)
		if !slices.Equal(got, []Slot{0, 2}) {
			t.Errorf("%s: %v", name, got)
		}
		for s := range Slot(3) {
			if table.Addressed(s, wire.SessionID{}, ev) != (s != 1) {
				t.Errorf("%s: session %d", name, s)
			}
		}
		if table.Addressed(0, table.ID(1), ev) {
			t.Errorf("%s: a session that was the excepted one", name)
		}
	}
}
