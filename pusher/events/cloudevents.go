// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// cloudEvent is what of a CloudEvent (version 1.0) means something here. An attribute
// that has come is not empty.
type cloudEvent struct {
	specVersion, id, source, name, subject, contentType string
	room, user, session, trace                          string
}

// place is where an attribute is kept; nil: it means nothing here.
func (c *cloudEvent) place(attribute string) *string {
	switch attribute {
	case "specversion":
		return &c.specVersion
	case "id":
		return &c.id
	case "source":
		return &c.source
	case "type":
		return &c.name
	case "subject":
		return &c.subject
	case "datacontenttype":
		return &c.contentType
	case "klaxonroom":
		return &c.room
	case "klaxonuser":
		return &c.user
	case "klaxonsession":
		return &c.session
	case "traceparent":
		return &c.trace
	}
	return nil
}

// set notes an attribute that has a place.
func (c *cloudEvent) set(attribute, value string) *problem {
	place := c.place(attribute)
	switch {
	case *place != "":
		return invalid("%s: comes twice", attribute)
	case value == "":
		return invalid("%s: is empty", attribute)
	case hasControl(value):
		return invalid("%s: has a control character", attribute)
	}
	*place = value
	return nil
}

// event is the CloudEvent as an event that has no data yet.
func (c *cloudEvent) event(to settings.CloudEvents) (*wire.Event, *problem) {
	for _, required := range [...]string{"specversion", "id", "source", "type"} {
		if *c.place(required) == "" {
			return nil, invalid("%s: is missing: a CloudEvent has specversion, id, source and type", required)
		}
	}
	if c.specVersion != "1.0" {
		return nil, invalid("specversion: only 1.0 is understood")
	}
	if strings.Contains(c.source, " ") {
		return nil, invalid("source: has a space: a URI reference has none")
	}
	if p := checkName("type", c.name); p != nil {
		return nil, p
	}
	ev := &wire.Event{ID: dedupID(c.source, c.id), Name: c.name, Trace: c.trace}
	return ev, c.address(ev, to)
}

// dedupID is one for each pair of a source, which has no space, and an id.
func dedupID(source, id string) string {
	both := source + " " + id
	if len(both) <= wire.MaxEventID {
		return both
	}
	sum := sha256.Sum256([]byte(both))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// address says whom the event is for: those that extension attributes name, or else
// the room of its subject, or else everybody.
func (c *cloudEvent) address(ev *wire.Event, to settings.CloudEvents) *problem {
	named := c.room != "" || c.user != "" || c.session != ""
	for _, t := range []struct {
		attribute, name string
		limit           int
		list            *[]string
	}{
		{"klaxonroom", c.room, wire.MaxRoomName, &ev.Rooms},
		{"klaxonuser", c.user, wire.MaxUserName, &ev.Users},
		{"klaxonsession", c.session, maxSessionID, &ev.Sessions},
	} {
		if len(t.name) > t.limit {
			return invalid("%s: has %d bytes, more than %d", t.attribute, len(t.name), t.limit)
		}
		if t.name != "" {
			*t.list = []string{t.name}
		}
	}
	if named || to.IgnoreSubject || c.subject == "" {
		return nil
	}
	if len(c.subject) > wire.MaxRoomName {
		return invalid("subject: has %d bytes, more than the %d of a room's name: where subjects are no rooms, set cloudEvents.room to None in the Channel",
			len(c.subject), wire.MaxRoomName)
	}
	ev.Rooms = []string{c.subject}
	return nil
}

// decodeCloudEvent reads a CloudEvent in the JSON event format from compact JSON. The
// event keeps nothing of b.
func decodeCloudEvent(b []byte, ch *settings.Channel) (*wire.Event, *problem) {
	if b[0] != '{' {
		return nil, invalid("a CloudEvent is a JSON object")
	}
	var c cloudEvent
	var data, encoded []byte
	if p := eachField(b, func(rawName, value []byte) *problem {
		name, _ := text(rawName)
		if string(value) == "null" {
			return nil // as if it had been left out
		}
		switch name {
		case "data":
			data = value
		case "data_base64":
			encoded = value
		default:
			return c.member(name, value)
		}
		return nil
	}); p != nil {
		return nil, p
	}
	ev, p := c.event(ch.CloudEvents)
	if p != nil {
		return nil, p
	}
	switch {
	case data != nil && encoded != nil:
		p = invalid("data and data_base64 exclude each other")
	case encoded != nil:
		p = c.base64Data(ev, encoded, ch.Limits.EventBytes)
	default:
		p = c.jsonData(ev, data, ch.Limits.EventBytes)
	}
	return ev, p
}

// member notes an attribute of the JSON event format.
func (c *cloudEvent) member(name string, value []byte) *problem {
	s, isString := text(value)
	switch {
	case !isAttribute(name):
		return invalid("%q is no name of an attribute: it has lowercase letters and digits", shorten([]byte(name)))
	case value[0] == '{' || value[0] == '[':
		return invalid("%s: an attribute is a string, a number or a boolean", shorten([]byte(name)))
	case c.place(name) == nil:
		return nil
	case !isString:
		return invalid("%s: must be a string", name)
	}
	return c.set(name, s)
}

// isAttribute reports whether a CloudEvent may have an attribute of the name.
func isAttribute(name string) bool {
	for i := range len(name) {
		if b := name[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') {
			return false
		}
	}
	return name != ""
}

// jsonData takes the member data, or nil. What is said to be no JSON comes as a string.
func (c *cloudEvent) jsonData(ev *wire.Event, value []byte, limit int64) *problem {
	if value == nil {
		ev.Data = null
		return nil
	}
	kind, p := kindOf("datacontenttype", c.contentType)
	if p != nil {
		return p
	}
	if s, ok := text(value); ok && kind.form == formBytes {
		ev.Binary = []byte(s)
		return checkSize(len(s), limit)
	}
	ev.Data = append([]byte(nil), value...)
	return checkSize(len(value), limit)
}

// base64Data takes the member data_base64: bytes, unless its type says what they are.
func (c *cloudEvent) base64Data(ev *wire.Event, value []byte, limit int64) *problem {
	s, _ := text(value)
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || value[0] != '"' {
		return invalid("data_base64: is not base64 (RFC 4648 section 4, with padding)")
	}
	kind := kind{form: formBytes}
	if c.contentType != "" {
		var p *problem
		if kind, p = kindOf("datacontenttype", c.contentType); p != nil {
			return p
		}
	}
	return kind.fill(ev, b, limit)
}
