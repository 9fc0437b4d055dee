// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// defaultName is the name of an event that has none.
	defaultName = "message"
	// reserved names are for messages of Klaxon's own.
	reserved = "klaxon."
	// maxSessionID bounds the ids of sessions that an event is addressed to.
	maxSessionID = 128
)

// null is the data of an event that has none. It is never written to.
var null = json.RawMessage("null")

// decoder reads one event. Fields that are null count as left out.
type decoder struct {
	ev       *wire.Event
	maxData  int64
	seen     uint
	hasData  bool
	targeted bool
}

// decodeEvent is the decoding of events in Klaxon's own form.
func decodeEvent(b []byte, ch *settings.Channel) (*wire.Event, *problem) {
	if b[0] != '{' {
		return nil, invalid("an event is a JSON object, for example {\"event\":\"hello\",\"data\":{\"n\":1}}")
	}
	d := &decoder{ev: &wire.Event{Name: defaultName}, maxData: ch.Limits.EventBytes}
	if p := eachField(b, d.field); p != nil {
		return nil, p
	}
	if !d.hasData {
		d.ev.Data = null
	}
	targets := len(d.ev.Rooms) + len(d.ev.Users) + len(d.ev.Sessions)
	if targets > wire.MaxTargets {
		return nil, invalid("rooms, users and sessions name %d targets, more than %d", targets, wire.MaxTargets)
	}
	if d.targeted && targets == 0 {
		return nil, invalid("rooms, users and sessions are empty, so nobody is addressed: leave them out to address the whole channel")
	}
	return d.ev, nil
}

func invalid(format string, args ...any) *problem {
	return newProblem(http.StatusBadRequest, codeInvalidEvent, format, args...)
}

// The fields of an event, to tell which were seen.
const (
	fieldEvent = 1 << iota
	fieldData
	fieldDataBase64
	fieldRooms
	fieldUsers
	fieldSessions
	fieldID
)

func (d *decoder) field(rawName, value []byte) *problem {
	name, _ := text(rawName)
	var bit uint
	var read func(value []byte) *problem
	switch name {
	case "event":
		bit, read = fieldEvent, d.name
	case "data":
		bit, read = fieldData, d.data
	case "dataBase64":
		bit, read = fieldDataBase64, d.binary
	case "rooms":
		bit, read = fieldRooms, d.rooms
	case "users":
		bit, read = fieldUsers, d.users
	case "sessions":
		bit, read = fieldSessions, d.sessions
	case "id":
		bit, read = fieldID, d.id
	default:
		return invalid("unknown field %s: an event has event, data or dataBase64, rooms, users, sessions and id", shorten(rawName))
	}
	if d.seen&bit != 0 {
		return invalid("the field %s comes twice", name)
	}
	d.seen |= bit
	if string(value) == "null" {
		return nil
	}
	return read(value)
}

// shorten cuts what a publisher sent down to what an answer can repeat. The
// result may end within a character; problem details replace that.
func shorten(b []byte) []byte { return b[:min(len(b), 64)] }

func (d *decoder) name(value []byte) *problem {
	s, ok := text(value)
	if !ok {
		return invalid("event: must be a string")
	}
	d.ev.Name = s
	return checkName("event", s)
}

// checkName says what is wrong with an event's name, which comes in a field.
func checkName(field, name string) *problem {
	if p := checkLabel(field, name, wire.MaxEventName); p != nil {
		return p
	}
	switch {
	case strings.HasPrefix(name, reserved):
		return invalid("%s: names that begin with %q are Klaxon's own", field, reserved)
	case ofSocketIO(name):
		return invalid("%s: Socket.IO clients keep the name %q to themselves and close the connection when such an event comes: give it another name", field, name)
	}
	return nil
}

// ofSocketIO says whether Socket.IO's clients use a name for what happens to
// their own connection. Their parser takes an event of such a name for
// malformed, and the client closes the connection.
func ofSocketIO(name string) bool {
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}

func (d *decoder) id(value []byte) *problem {
	s, ok := text(value)
	if !ok {
		return invalid("id: must be a string")
	}
	d.ev.ID = s
	return checkLabel("id", s, wire.MaxEventID)
}

func (d *decoder) data(value []byte) *problem {
	if p := d.single(); p != nil {
		return p
	}
	if p := checkSize(len(value), d.maxData); p != nil {
		return p
	}
	d.ev.Data = append(make(json.RawMessage, 0, len(value)), value...)
	return nil
}

func (d *decoder) binary(value []byte) *problem {
	if p := d.single(); p != nil {
		return p
	}
	s, ok := text(value)
	if !ok {
		return invalid("dataBase64: must be a string")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return invalid("dataBase64: is not base64 (RFC 4648 section 4, with padding)")
	}
	if p := checkSize(len(b), d.maxData); p != nil {
		return p
	}
	d.ev.Binary = b
	return nil
}

// single refuses a second kind of data.
func (d *decoder) single() *problem {
	if d.hasData {
		return invalid("data and dataBase64 exclude each other")
	}
	d.hasData = true
	return nil
}

// checkSize holds data of n bytes to a channel's limit.
func checkSize(n int, limit int64) *problem {
	if int64(n) <= limit {
		return nil
	}
	return newProblem(http.StatusRequestEntityTooLarge, codeEventTooLarge,
		"the event's data has %d bytes, more than the channel's limit of %d (limits.eventBytes)", n, limit)
}

func (d *decoder) rooms(value []byte) (p *problem) {
	d.ev.Rooms, p = d.targets("rooms", value, wire.MaxRoomName)
	return p
}

func (d *decoder) users(value []byte) (p *problem) {
	d.ev.Users, p = d.targets("users", value, wire.MaxUserName)
	return p
}

func (d *decoder) sessions(value []byte) (p *problem) {
	d.ev.Sessions, p = d.targets("sessions", value, maxSessionID)
	return p
}

func (d *decoder) targets(field string, value []byte, maxLen int) ([]string, *problem) {
	d.targeted = true
	if value[0] != '[' {
		return nil, invalid("%s: must be a list of strings", field)
	}
	var out []string
	p := eachElement(value, func(i int, value []byte) *problem {
		s, ok := text(value)
		switch {
		case i >= wire.MaxTargets:
			return invalid("%s: has more than %d entries", field, wire.MaxTargets)
		case !ok:
			return invalid("%s[%d]: must be a string", field, i)
		case s == "" || len(s) > maxLen:
			return invalid("%s[%d]: has %d bytes, not from 1 to %d", field, i, len(s), maxLen)
		}
		out = append(out, s)
		return nil
	})
	return out, p
}

// checkLabel says what is wrong with a string that protocols put on a line of its own.
func checkLabel(field, s string, maxLen int) *problem {
	if s == "" || len(s) > maxLen {
		return invalid("%s: has %d bytes, not from 1 to %d", field, len(s), maxLen)
	}
	if hasControl(s) {
		return invalid("%s: has a control character", field)
	}
	return nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}
