// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package sse

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Names of the events that are the server's own.
const (
	eventWelcome = "klaxon.welcome"
	eventGap     = "klaxon.gap"
	eventError   = "klaxon.error"
	eventRooms   = "klaxon.rooms"

	eventPresence = "klaxon.presence"
)

// reconnectAfter is how long a client waits before it reconnects when the
// connection ends without EncodeRetry.
const reconnectAfter = 2 * time.Second

// Welcome is what a client is told first.
type Welcome struct {
	Session string   `json:"session"`
	Channel string   `json:"channel"`
	User    string   `json:"user,omitempty"`
	Rooms   []string `json:"rooms"`
	// Offset is also the id of the block.
	Offset string `json:"offset"`
	// Heartbeat is the longest silence of the server, in milliseconds.
	Heartbeat int64 `json:"heartbeat"`
	// Recovered is whether exactly what the client has missed since the last event
	// id that it sent follows. Nil when it sent none.
	Recovered *bool `json:"recovered,omitempty"`
	// Oldest is the earliest offset that could be gone on from, when Recovered is
	// false and there is any.
	Oldest string `json:"oldest,omitempty"`
}

// Failure says why something that the client asked for was not done.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Rooms that were not joined.
	Rooms []string `json:"rooms,omitempty"`
}

// EncodeWelcome returns the first block of a stream.
func EncodeWelcome(w Welcome) []byte {
	b := appendRetry(nil, reconnectAfter)
	b = append(b, "id: "...)
	b = appendValue(b, w.Offset)
	b = append(b, '\n')
	return appendJSON(b, eventWelcome, w)
}

// EncodeGap returns the block that reports n dropped events. It has no id: the
// next event's tells where the client is.
func EncodeGap(n uint32) []byte {
	return appendJSON(nil, eventGap, struct {
		Dropped uint32 `json:"dropped"`
	}{n})
}

// EncodeFailure returns the block that reports a failure. The stream goes on.
func EncodeFailure(f Failure) []byte { return appendJSON(nil, eventError, f) }

// EncodeRooms returns the block that reports all rooms that the client is in now,
// from a position on.
func EncodeRooms(rooms []string, pos wire.Position) []byte {
	return appendJSON(appendID(nil, pos), eventRooms, struct {
		Rooms []string `json:"rooms"`
	}{rooms})
}

// EncodePresence returns the block that says who is there. It has no id.
func EncodePresence(p wire.Presence) []byte { return appendJSON(nil, eventPresence, p) }

// EncodePresenceChange returns the block that says who has come and gone. It has no
// id.
func EncodePresenceChange(c wire.PresenceChange) []byte { return appendJSON(nil, eventPresence, c) }

// EncodeRetry returns the block that tells the client to reconnect after d, in
// whole milliseconds, once the stream ends. It causes no event.
func EncodeRetry(d time.Duration) []byte { return append(appendRetry(nil, d), '\n') }

// EncodeHeartbeat returns a comment and a block of nothing but an id. It causes
// no event, but the client reconnects from there.
func EncodeHeartbeat(pos wire.Position) []byte {
	b := make([]byte, 0, len(":\nid: .\n\n")+len(pos.Epoch)+maxSeq)
	b = append(b, ":\n"...)
	b = appendID(b, pos)
	return append(b, '\n')
}

// EncodeEvent returns the block of an event at a position. It is built once for
// all streams of a channel.
func EncodeEvent(ev *wire.Event, pos wire.Position) []byte {
	b := make([]byte, 0, len(`id: .|event: |data: {"dataBase64":""}||`)+len(pos.Epoch)+maxSeq+len(ev.Name)+len(ev.Data)+
		base64.StdEncoding.EncodedLen(len(ev.Binary)))
	b = appendID(b, pos)
	return appendEvent(b, ev)
}

// EncodeDirect returns the block of an event for one session alone. It has no id: its
// place is outside the channel's order.
func EncodeDirect(ev *wire.Event) []byte { return appendEvent(nil, ev) }

func appendEvent(b []byte, ev *wire.Event) []byte {
	if ev.Trace != "" {
		b = append(appendValue(append(b, "traceparent: "...), ev.Trace), '\n')
	}
	b = append(b, "event: "...)
	b = appendValue(b, ev.Name)
	b = append(b, "\ndata: "...)
	if ev.Binary != nil {
		b = append(b, `{"dataBase64":"`...)
		b = base64.StdEncoding.AppendEncode(b, ev.Binary)
		b = append(b, `"}`...)
	} else if len(ev.Attachments) > 0 {
		b = appendAttached(b, ev)
	} else {
		b = appendLines(b, ev.Data)
	}
	return append(b, "\n\n"...)
}

// appendAttached appends data whose placeholders stand for attachments.
func appendAttached(b []byte, ev *wire.Event) []byte {
	b = appendLines(append(b, `{"data":`...), ev.Data)
	b = append(b, `,"attachments":[`...)
	for i, a := range ev.Attachments {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), a), '"')
	}
	return append(b, `]}`...)
}

// maxSeq is the largest number of digits of a position's Seq.
const maxSeq = 20

func appendID(b []byte, pos wire.Position) []byte {
	b = append(b, "id: "...)
	b = appendValue(b, pos.Epoch)
	b = append(b, '.')
	b = strconv.AppendUint(b, pos.Seq, 10)
	return append(b, '\n')
}

func appendRetry(b []byte, d time.Duration) []byte {
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, max(0, d.Milliseconds()), 10) // a sign would have the field ignored
	return append(b, '\n')
}

// appendJSON appends the fields event and data, and ends the block.
func appendJSON(b []byte, event string, v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("sse: a message of ours cannot be marshalled: " + err.Error())
	}
	b = append(b, "event: "...)
	b = append(b, event...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

// appendValue appends the value of a field that has one line. Line ends in it
// become spaces.
func appendValue(b []byte, s string) []byte {
	if !strings.ContainsAny(s, "\r\n") {
		return append(b, s...)
	}
	for i := range len(s) {
		c := s[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		b = append(b, c)
	}
	return b
}

// appendLines appends data behind "data: ". A line end (CR LF, LF or CR) begins
// another data field, which the client joins with LF again: the same JSON.
func appendLines(b, data []byte) []byte {
	if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0 { // compact JSON: two quick searches
		return append(b, data...)
	}
	for i, c := range data {
		switch {
		case c == '\n' && i > 0 && data[i-1] == '\r': // the CR began the line
		case c == '\n' || c == '\r':
			b = append(b, "\ndata: "...)
		default:
			b = append(b, c)
		}
	}
	return b
}
