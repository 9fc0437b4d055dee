// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"fmt"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// crowded is a Table of 100,000 sessions, each in a room of its own, of which
// the first 1,000 are in one room together.
func crowded(b *testing.B) *Table {
	b.Helper()
	tab := NewTable()
	tab.AddChannel("c")
	tab.Advance("c", wire.Position{Epoch: "e"})
	for s := range Slot(100_000) {
		tab.Add("c", s, fmt.Sprint("user-", s))
		if err := tab.Join(s, room(s)); err != nil {
			b.Fatal(err)
		}
		if s < 1000 {
			if err := tab.Join(s, "together"); err != nil {
				b.Fatal(err)
			}
		}
	}
	return tab
}

func room(s Slot) string { return fmt.Sprint("order:", s) }

// BenchmarkEach is what finding an event's members costs, by how it is addressed.
func BenchmarkEach(b *testing.B) {
	tab := crowded(b)
	rooms, users, sessions := make([]string, 1<<12), make([]string, 1<<12), make([]string, 1<<12)
	for i := range rooms {
		s := Slot(i * 24 % 100_000) // far apart, so that caches do not know them all
		rooms[i], users[i], sessions[i] = room(s), fmt.Sprint("user-", s), tab.ID(s).String()
	}
	at := func(of []string, i int) []string { i %= len(of); return of[i : i+1] }
	for _, each := range []struct {
		name    string
		event   wire.Event
		address func(ev *wire.Event, i int)
		members int
	}{
		{"one-room-of-100k", wire.Event{}, func(ev *wire.Event, i int) { ev.Rooms = at(rooms, i) }, 1},
		{"one-user-of-100k", wire.Event{}, func(ev *wire.Event, i int) { ev.Users = at(users, i) }, 1},
		{"one-session-of-100k", wire.Event{}, func(ev *wire.Event, i int) { ev.Sessions = at(sessions, i) }, 1},
		{"room-of-1000", wire.Event{Rooms: []string{"together"}}, func(*wire.Event, int) {}, 1000},
		{"all-100k", wire.Event{}, func(*wire.Event, int) {}, 100_000},
	} {
		b.Run(each.name, func(b *testing.B) {
			d := &Delivery{Event: &each.event}
			reached, i := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				each.address(d.Event, i)
				tab.Each("c", d, func(Slot) { reached++ })
				i++
			}
			if reached != i*each.members {
				b.Fatalf("%d walks have reached %d members, want %d each", i, reached, each.members)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(reached), "ns/member")
		})
	}
}

// BenchmarkMembership is what one client costs that comes, joins and goes, next
// to 100,000 others.
func BenchmarkMembership(b *testing.B) {
	tab := crowded(b)
	const s = Slot(100_000)
	b.Run("join-and-leave", func(b *testing.B) {
		tab.Add("c", s, "ann")
		defer tab.Remove(s)
		b.ReportAllocs()
		for b.Loop() {
			if err := tab.Join(s, "together"); err != nil {
				b.Fatal(err)
			}
			tab.Leave(s, "together")
		}
	})
	b.Run("join-and-leave-a-new-room", func(b *testing.B) {
		tab.Add("c", s, "ann")
		defer tab.Remove(s)
		b.ReportAllocs()
		for b.Loop() {
			if err := tab.Join(s, "order:new"); err != nil {
				b.Fatal(err)
			}
			tab.Leave(s, "order:new")
		}
	})
	b.Run("add-and-remove", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !tab.Add("c", s, "ann") {
				b.Fatal("the channel is gone")
			}
			tab.Remove(s)
		}
	})
}
