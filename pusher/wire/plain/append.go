// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package plain

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// Welcome is the first message of a session.
type Welcome struct {
	Type    string   `json:"type"`
	Session string   `json:"session"`
	Channel string   `json:"channel"`
	User    string   `json:"user,omitempty"`
	Rooms   []string `json:"rooms"`
	Offset  string   `json:"offset"`
	// Heartbeat is how often the server pings, in milliseconds.
	Heartbeat int64 `json:"heartbeat"`
	// Recovered is whether exactly what the client has missed follows. Nil when it
	// did not say where it was.
	Recovered *bool `json:"recovered,omitempty"`
	// Oldest is the earliest offset that could be gone on from, when Recovered is
	// false and there is any.
	Oldest string `json:"oldest,omitempty"`
	// Resume brings the session's rooms back as well as its place.
	Resume string `json:"resume,omitempty"`
}

// Answer answers a request: "joined", "left", "watching",
// "unwatched", "authenticated" or "pong". Nobody has
// asked for "rooms".
type Answer struct {
	Type   string          `json:"type"`
	Ref    json.RawMessage `json:"ref,omitempty"`
	Rooms  []string        `json:"rooms,omitzero"`
	Offset string          `json:"offset,omitempty"`
	// Resume replaces that of the welcome.
	Resume string `json:"resume,omitempty"`
}

// Failure says why a request, or a part of it, was not done.
type Failure struct {
	Type    string          `json:"type"`
	Ref     json.RawMessage `json:"ref,omitempty"`
	Code    string          `json:"code"`
	Message string          `json:"message"`
	// Rooms that were not joined.
	Rooms []string `json:"rooms,omitempty"`
	// Data is what a handler has to say to a client that it refuses.
	Data json.RawMessage `json:"data,omitempty"`
}

// Codes of failures.
const (
	CodeBadMessage = "bad_message"
	CodeForbidden  = "forbidden"
	CodeTooMany    = "too_many_rooms"
	CodeToken      = "token"
	CodePresence   = "presence_off"
	CodeNotHandled = "not_handled"
	CodeBusy       = "busy"
	CodeRate       = "rate_limited"
	CodeTooLarge   = "too_large"
	CodeAway       = "unavailable"
	CodeFailed     = "failed"
	CodeRefused    = "refused"
)

// Gap stands where events were dropped because the client read too slowly.
type Gap struct {
	Type    string `json:"type"`
	Dropped uint32 `json:"dropped"`
}

// Goodbye comes before a close that the client should come back from.
type Goodbye struct {
	Type string `json:"type"`
	// After how many milliseconds to reconnect: different for each client.
	After int64 `json:"after"`
	// Recovered is whether what is missed meanwhile will be made up for.
	Recovered bool `json:"recovered"`
}

// EncodeWelcome returns the frame of w.
func EncodeWelcome(w Welcome) []byte { w.Type = "welcome"; return encode(w) }

// EncodeAnswer returns the frame of an answer.
func EncodeAnswer(a Answer) []byte { return encode(a) }

// EncodeFailure returns the frame of an error message.
func EncodeFailure(f Failure) []byte { f.Type = "error"; return encode(f) }

// EncodeGap returns the frame that reports n dropped events.
func EncodeGap(n uint32) []byte { return encode(Gap{Type: "gap", Dropped: n}) }

// EncodeGoodbye returns the frame that asks a client to reconnect after d.
func EncodeGoodbye(d time.Duration, recovered bool) []byte {
	return encode(Goodbye{Type: "reconnect", After: d.Milliseconds(), Recovered: recovered})
}

// EncodeAck returns the frame that acknowledges what a client has emitted.
func EncodeAck(ref json.RawMessage, args *wire.Args) []byte {
	return encode(struct {
		Type string          `json:"type"`
		Ref  json.RawMessage `json:"ref"`
		eventData
	}{"ack", ref, argsData(args)})
}

// EncodeDirect returns the frame of an event for one session alone, which has no place
// in the channel's order. An ack other than 0 asks for an acknowledgement.
func EncodeDirect(name string, args *wire.Args, ack uint64) []byte {
	return encode(struct {
		Type  string `json:"type"`
		Event string `json:"event"`
		eventData
		Ack uint64 `json:"ack,omitempty"`
	}{"event", name, argsData(args), ack})
}

// eventData is the data of an event as clients get it.
type eventData struct {
	Data        json.RawMessage `json:"data,omitempty"`
	DataBase64  []byte          `json:"dataBase64,omitzero"`
	Attachments [][]byte        `json:"attachments,omitempty"`
}

func argsData(args *wire.Args) eventData {
	var ev wire.Event
	args.Fill(&ev)
	return eventData{ev.Data, ev.Binary, ev.Attachments}
}

// EncodePresence returns the frame that says who is there.
func EncodePresence(p wire.Presence) []byte {
	return encode(struct {
		Type string `json:"type"`
		wire.Presence
	}{"presence", p})
}

// EncodePresenceChange returns the frame that says who has come and gone.
func EncodePresenceChange(c wire.PresenceChange) []byte {
	return encode(struct {
		Type string `json:"type"`
		wire.PresenceChange
	}{"presence", c})
}

func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("plain: a message of ours cannot be marshalled: " + err.Error())
	}
	return frames.Encode(frames.Text, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// EncodeEvent returns the frame of an event at a position. It is built once for
// all sessions of a channel.
func EncodeEvent(ev *wire.Event, pos wire.Position) []byte {
	// The header's size depends on the payload's, so the payload is written
	// behind the largest header and the header is moved up to it.
	b := make([]byte, frames.MaxHead, frames.MaxHead+96+len(ev.Name)+len(ev.ID)+len(pos.Epoch)+len(ev.Data)+
		base64.StdEncoding.EncodedLen(ev.Size()-len(ev.Data))+len(ev.Attachments)*4)
	b = append(b, `{"type":"event","event":`...)
	b = appendString(b, ev.Name)
	b = append(b, `,"id":`...)
	b = appendString(b, ev.ID)
	b = append(b, `,"offset":"`...)
	b = append(b, pos.Epoch...)
	b = append(b, '.')
	b = strconv.AppendUint(b, pos.Seq, 10)
	if ev.Binary != nil {
		b = append(b, `","dataBase64":"`...)
		b = base64.StdEncoding.AppendEncode(b, ev.Binary)
		b = append(b, '"')
	} else {
		b = append(b, `","data":`...)
		b = append(b, ev.Data...)
		b = appendAttachments(b, ev.Attachments)
	}
	if ev.Trace != "" {
		b = appendString(append(b, `,"traceparent":`...), ev.Trace)
	}
	b = append(b, '}')
	var head [frames.MaxHead]byte
	h := frames.AppendHead(head[:0], frames.Text, len(b)-frames.MaxHead)
	start := frames.MaxHead - len(h)
	copy(b[start:], h)
	return b[start:]
}

func appendAttachments(b []byte, attachments [][]byte) []byte {
	if len(attachments) == 0 {
		return b
	}
	b = append(b, `,"attachments":[`...)
	for i, a := range attachments {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), a), '"')
	}
	return append(b, ']')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			q, err := json.Marshal(s)
			if err != nil {
				panic("plain: a string cannot be marshalled: " + err.Error())
			}
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
