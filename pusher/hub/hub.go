// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// Delivery is one event on its way to the loops, encoded once. It is shared by
// all of them and not changed.
type Delivery struct {
	Channel  string
	Position wire.Position
	Event    *wire.Event
	// Plain is the event's frame for plain WebSocket clients.
	Plain []byte
	// Published is when the broker handed the event over.
	Published time.Time
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

// Deliver encodes an event and gives it to every loop. For one channel it must
// be called in the order of positions, one call after the other.
func (h *Hub) Deliver(channel string, pos wire.Position, ev *wire.Event) {
	d := &Delivery{
		Channel: channel, Position: pos, Event: ev, Plain: plain.EncodeEvent(ev, pos), Published: time.Now(),
	}
	for _, l := range h.loops {
		l.Deliver(d)
	}
}
