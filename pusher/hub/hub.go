// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Form is one of the ways in which clients get an event.
type Form uint8

// The forms. Those that end in Deflate are for connections that take compressed
// messages.
const (
	Plain Form = iota
	PlainDeflate
	SocketIO
	SocketIODeflate
	EventStream

	// Forms is how many there are.
	Forms = iota
)

// Protocol is the name of the protocol as backends see it.
func (f Form) Protocol() string {
	switch f {
	case SocketIO, SocketIODeflate:
		return "socket.io"
	case EventStream:
		return "sse"
	}
	return "klaxon.v1.json"
}

// Delivery is one event on its way to the loops. It is shared by all of them and,
// but for the forms that are added, not changed.
type Delivery struct {
	Channel  string
	Position wire.Position
	Event    *wire.Event
	// Published is when the broker handed the event over.
	Published time.Time

	forms [Forms]encoded
}

// encoded is the event in one form, made when the first client needs it.
type encoded struct {
	once  sync.Once
	bytes []byte
}

// In returns the event in a form. Of all who ask, one encodes.
func (d *Delivery) In(f Form, encode func() []byte) []byte {
	e := &d.forms[f]
	e.once.Do(func() { e.bytes = encode() })
	return e.bytes
}

// Loop takes deliveries for its members, in order. Deliver may wait while the
// loop is busy; that is what slows a publisher down to what the pod can send.
type Loop interface {
	Deliver(d *Delivery)
}

// Hub hands events to loops.
type Hub struct {
	loops []Loop
}

// New returns a Hub over loops.
func New(loops ...Loop) *Hub { return &Hub{loops: loops} }

// Deliver gives an event to every loop. For one channel it must be called in the
// order of positions, one call after the other.
func (h *Hub) Deliver(channel string, pos wire.Position, ev *wire.Event) {
	d := &Delivery{Channel: channel, Position: pos, Event: ev, Published: time.Now()}
	for _, l := range h.loops {
		l.Deliver(d)
	}
}
