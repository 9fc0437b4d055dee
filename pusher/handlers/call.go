// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// The types of calls.
const (
	TypeConnected    = "dev.klaxon.client.connected"
	TypeEvent        = "dev.klaxon.client.event"
	TypeAcknowledged = "dev.klaxon.client.acknowledged"
	TypeDisconnected = "dev.klaxon.client.disconnected"
	TypeOccupied     = "dev.klaxon.room.occupied"
	TypeVacated      = "dev.klaxon.room.vacated"
)

// Call is one thing that a client did: a CloudEvent. What is in the body is signed; the
// headers repeat some of it for who routes by them.
type Call struct {
	// ID tells calls apart, and is the same for repetitions of one.
	ID string `json:"id"`
	// Type is one of the constants.
	Type string `json:"type"`
	// Source is the channel, as /namespaces/NAMESPACE/channels/NAME.
	Source string    `json:"source"`
	Time   time.Time `json:"time"`

	Channel string   `json:"channel"`
	Session string   `json:"session,omitempty"` // none: of a room
	User    string   `json:"user,omitempty"`
	Rooms   []string `json:"rooms,omitzero"`
	// Data is what an earlier answer has left with the session.
	Data json.RawMessage `json:"data,omitempty"`

	// What is what the client did: an *Event, *Acknowledged, *Connected,
	// *Disconnected or *Room. In JSON its members are the call's.
	What any `json:"-"`
}

// Event is something that a client emitted.
type Event struct {
	Name        string          `json:"event"`
	Args        json.RawMessage `json:"args"`
	Attachments [][]byte        `json:"attachments,omitempty"`
	// Ack is whether the client waits for the answer.
	Ack bool `json:"ack"`
}

// Acknowledged is a client's answer to an event for which a handler had asked for one.
type Acknowledged struct {
	Ref         string          `json:"ref"`
	Args        json.RawMessage `json:"args"`
	Attachments [][]byte        `json:"attachments,omitempty"`
	// Error says why there is no answer: timeout, or unsupported by the client's protocol.
	Error string `json:"error,omitempty"`
}

// Connected is a client that wants to connect.
type Connected struct {
	Protocol string              `json:"protocol"`
	Remote   string              `json:"remote"`
	Query    map[string][]string `json:"query"`
	Headers  map[string]string   `json:"headers"`
	// Auth is what a Socket.IO client has sent besides its token.
	Auth json.RawMessage `json:"auth,omitempty"`
	// Claims are those of its token.
	Claims json.RawMessage `json:"claims,omitempty"`
	// Recovered is whether it goes on with a session that it had before; Previous is
	// one that it had before and does not go on with.
	Recovered bool   `json:"recovered,omitempty"`
	Previous  string `json:"previous,omitempty"`

	// Trace is the client's traceparent.
	Trace string `json:"-"`
}

// Disconnected is a client that has gone.
type Disconnected struct {
	// Code is the close code, 1006 when there was none.
	Code   uint16 `json:"code"`
	Reason string `json:"reason"`
}

// Room is a room that somebody has come to, or that everybody has left.
type Room struct {
	Room string `json:"room"`
	// Number orders the room's changes: a lower one is older.
	Number uint64 `json:"number"`
}

// Encode returns the body of the request.
func (c *Call) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // what clients say arrives as they said it
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	b.Truncate(b.Len() - len("}\n"))
	end := b.Len()
	if err := enc.Encode(c.What); err != nil {
		return nil, err
	}
	all := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	all[end] = ',' // instead of the second brace
	return all, nil
}

// describe sets the headers of the CloudEvent.
func (c *Call) describe(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Ce-Specversion", "1.0")
	h.Set("Ce-Id", c.ID)
	h.Set("Ce-Type", c.Type)
	h.Set("Ce-Source", c.Source)
	h.Set("Ce-Subject", c.Session)
	h.Set("Ce-Time", c.Time.UTC().Format(time.RFC3339Nano))
	h.Set("Idempotency-Key", c.ID)
	if c.User != "" {
		h.Set("Ce-User", headerValue(c.User))
	}
	if len(c.Rooms) > 0 {
		h.Set("Ce-Rooms", roomsValue(c.Rooms))
	}
	switch what := c.What.(type) {
	case *Event:
		h.Set("Ce-Event", headerValue(what.Name))
	case *Room:
		h.Set("Ce-Subject", headerValue(what.Room))
	case *Connected:
		if what.Trace != "" {
			h.Set("Ce-Traceparent", headerValue(what.Trace))
			h.Set("Traceparent", headerValue(what.Trace))
		}
	}
}

// maxRoomsHeader bounds the header of the rooms: servers refuse large ones, and the body
// has them all.
const maxRoomsHeader = 2 << 10

// roomsValue lists rooms, each percent-encoded, so that a comma divides them.
func roomsValue(rooms []string) string {
	var b strings.Builder
	for i, room := range rooms {
		v := strings.ReplaceAll(headerValue(room), ",", "%2C")
		if b.Len()+len(v) > maxRoomsHeader {
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(v)
	}
	return b.String()
}

// headerValue is how CloudEvents writes a string in a header (HTTP protocol binding
// 1.0.2, section 3.1.3.2): percent-encoded where it is not printable ASCII.
func headerValue(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
