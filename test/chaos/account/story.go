// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Kind is what happened to a subscriber.
type Kind uint8

// What can happen. Began comes first and once.
const (
	// Began: it is connected, and gets what is stored behind Position.
	Began Kind = iota
	// Received: it got the event Key.
	Received
	// Left: it has hung up itself, and comes back later.
	Left
	// Back: it is connected again, and was told that it misses nothing.
	Back
	// Lost: it is connected again, and was told that what it has missed up to
	// Position cannot be made up for: Oldest is the earliest place from which
	// it could have been, Since where it was.
	Lost
	// Forgotten is Lost of a client whose session nobody remembers (Socket.IO), so that
	// it cannot be known what it has missed, although it may be kept.
	Forgotten
	// Joined: behind Position it is in its room again, which it was not since it was
	// Lost or Forgotten.
	Joined
	// Gap: it was told that Dropped events are missing here.
	Gap
	// Wronged: the server did what it must not; Note says what.
	Wronged
)

var kinds = [...]string{Began: "began", Received: "received", Left: "left", Back: "back", Lost: "lost", Forgotten: "forgotten", Joined: "joined", Gap: "gap", Wronged: "wronged"}

// Moment is one thing that happened.
type Moment struct {
	Kind     Kind
	At       time.Time
	Position wire.Position
	Key      Key
	// Replayed: the event had been published before this connection was made.
	Replayed bool
	Since    wire.Position
	Oldest   string // empty: there is none
	Dropped  int
	Note     string
}

// String says it in one line.
func (m *Moment) String() string {
	said := m.At.Format("15:04:05.000 ") + kinds[m.Kind]
	switch m.Kind {
	case Began, Back, Joined:
		return fmt.Sprintf("%s at %s", said, m.Position)
	case Received:
		return fmt.Sprintf("%s %s at %s, replayed %t", said, m.Key, m.Position, m.Replayed)
	case Lost, Forgotten:
		return fmt.Sprintf("%s from %s to %s, oldest %q", said, m.Since, m.Position, m.Oldest)
	case Gap:
		return fmt.Sprintf("%s of %d", said, m.Dropped)
	}
	return said + " " + m.Note
}

// Story is what a subscriber saw. It may be written and read at the same time.
type Story struct {
	// Static.
	Name string
	Room string // that it is in

	// Guarded by mu.
	mu      sync.Mutex
	moments []Moment
}

// Add writes down what happened next.
func (s *Story) Add(m Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moments = append(s.moments, m)
}

// Moments is what has been written down so far.
func (s *Story) Moments() []Moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.moments)
}
