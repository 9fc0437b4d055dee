// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Event is something that a publisher says to clients of one channel. Rooms,
// Users and Sessions address it to the union of those; all three empty address
// the whole channel. An Event is not changed once it has been published.
type Event struct {
	// ID is the publisher's, or one that was made up. The same ID is stored
	// once within the dedup window.
	ID string
	// Name is the event's name, "message" by default.
	Name string
	// Data is one JSON value in UTF-8, compact. Nil when Binary is set.
	Data json.RawMessage
	// Binary is data that is no JSON.
	Binary []byte
	// Spread has Socket.IO clients get the elements of Data, an array then, as
	// arguments: others get the array.
	Spread bool
	// Attachments are what placeholders in Data stand for: see Args.
	Attachments [][]byte
	// Trace is the publisher's traceparent (W3C Trace Context); empty: there is none,
	// or clients are not to get it.
	Trace string

	Rooms    []string
	Users    []string
	Sessions []string
	// Except are sessions that do not get the event although it is addressed to them.
	Except []string
}

// Limits on the strings of an event and of a session, in bytes.
const (
	MaxEventName = 128
	MaxEventID   = 128
	MaxRoomName  = 128
	MaxUserName  = 256
	// MaxTargets is how many rooms, users and sessions one event may name in all.
	MaxTargets = 1000
	// MaxRooms is how many rooms one session may be in.
	MaxRooms = 100
)

// CheckRoom says what is wrong with a room's name, if anything.
func CheckRoom(room string) error {
	if room == "" || len(room) > MaxRoomName || !utf8.ValidString(room) {
		return fmt.Errorf("a room's name has 1 to %d bytes of UTF-8", MaxRoomName)
	}
	return nil
}

// CheckEventName says what is wrong with the name of an event for clients, if anything.
func CheckEventName(name string) error {
	switch {
	case name == "" || len(name) > MaxEventName || !utf8.ValidString(name):
		return fmt.Errorf("an event's name has 1 to %d bytes of UTF-8", MaxEventName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("an event's name has no control characters")
	case strings.HasPrefix(name, "klaxon."):
		return errors.New("names that begin with \"klaxon.\" are Klaxon's own")
	}
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return fmt.Errorf("Socket.IO clients keep the name %q to themselves", name)
	}
	return nil
}

// Size is the number of bytes of the event's data.
func (e *Event) Size() int {
	n := len(e.Data) + len(e.Binary)
	for _, a := range e.Attachments {
		n += len(a)
	}
	return n
}

// Broadcast reports whether the event is addressed to the whole channel.
func (e *Event) Broadcast() bool {
	return len(e.Rooms) == 0 && len(e.Users) == 0 && len(e.Sessions) == 0
}

// Position is a place in a channel's order of events. Clients see it as an
// opaque offset. Positions of one epoch are ordered by Seq; positions of
// different epochs cannot be compared.
type Position struct {
	Epoch string
	Seq   uint64
}

// String is the offset as clients see it.
func (p Position) String() string {
	return p.Epoch + "." + strconv.FormatUint(p.Seq, 10)
}

// ParsePosition reads what String writes.
func ParsePosition(s string) (Position, error) {
	epoch, seq, ok := strings.Cut(s, ".")
	n, err := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || epoch == "" || len(epoch) > 32 {
		return Position{}, errors.New("not an offset: use one that a welcome, event or answer carried")
	}
	return Position{Epoch: epoch, Seq: n}, nil
}

// Receipt is a broker's answer to one published event.
type Receipt struct {
	ID       string
	Position Position
	// Duplicate is true when the ID was stored before; Position is then that event's.
	Duplicate bool
}

// Session describes one connected session to backends.
type Session struct {
	ID          string    `json:"id"`
	User        string    `json:"user,omitempty"`
	Rooms       []string  `json:"rooms,omitempty"`
	Protocol    string    `json:"protocol"`
	Remote      string    `json:"remote,omitempty"`
	ConnectedAt time.Time `json:"connectedAt"`
}
