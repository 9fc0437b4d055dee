// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package plain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Subprotocol is the name to negotiate (RFC 6455 section 1.9). A client that
// asks for none is served the same.
const Subprotocol = "klaxon.v1.json"

// MaxMessage is the largest message that a client may send, in bytes.
const MaxMessage = 32 << 10

// maxRef bounds what a client may have sent back to it.
const maxRef = 64

// Type is the "type" of a client's message.
type Type string

// What clients say.
const (
	Join    Type = "join"
	Leave   Type = "leave"
	Auth    Type = "auth"
	Ping    Type = "ping"
	Watch   Type = "watch"
	Unwatch Type = "unwatch"
	Emit    Type = "emit"
	Publish Type = "publish"
	Ack     Type = "ack"
)

// Request is a client's message.
type Request struct {
	Type Type `json:"type"`
	// Ref is any short JSON value that comes back in the answer.
	Ref json.RawMessage `json:"ref,omitempty"`
	// Rooms to join, leave, watch or watch no more, or to publish to. None to watch or
	// publish to is the channel.
	Rooms []string `json:"rooms,omitempty"`
	// Token replaces the session's token.
	Token string `json:"token,omitempty"`
	// Event is the name of what is emitted or published. Data or DataBase64 goes with it, or with an
	// acknowledgement.
	Event      string          `json:"event,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
	DataBase64 []byte          `json:"dataBase64,omitempty"`
	// Ack is that of the event that is acknowledged.
	Ack uint64 `json:"ack,omitempty"`
}

// Args are what goes with an event or an acknowledgement.
func (r *Request) Args() wire.Args {
	switch {
	case r.DataBase64 != nil:
		return wire.OneBinary(r.DataBase64)
	case r.Data != nil:
		return wire.One(r.Data)
	}
	return wire.Args{}
}

// Decode reads a client's message. Its errors can be shown to the client.
func Decode(msg []byte) (Request, error) {
	var r Request
	dec := json.NewDecoder(bytes.NewReader(msg))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("not a message of %s: %w", Subprotocol, plainer(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("send one JSON object in a message")
	}
	if len(r.Ref) > maxRef {
		r.Ref = nil
		return r, fmt.Errorf("ref is at most %d bytes of JSON", maxRef)
	}
	return r, r.check()
}

func (r *Request) check() error {
	switch r.Type {
	case Join, Leave, Watch, Unwatch:
		if len(r.Rooms) == 0 && (r.Type == Join || r.Type == Leave) {
			return fmt.Errorf("%s needs rooms, for example {\"type\":%q,\"rooms\":[\"order:42\"]}", r.Type, r.Type)
		}
		if len(r.Rooms) > wire.MaxRooms {
			return fmt.Errorf("%s takes at most %d rooms", r.Type, wire.MaxRooms)
		}
		if err := checkRooms(r.Rooms); err != nil {
			return err
		}
	case Publish:
		if r.DataBase64 != nil {
			return errors.New("bytes cannot be published: send JSON as data")
		}
		if r.Event == "" || len(r.Rooms) > wire.MaxRooms {
			return fmt.Errorf("publish needs an event, and takes at most %d rooms, for example {\"type\":\"publish\",\"event\":\"typing\",\"rooms\":[\"order:42\"],\"data\":true}", wire.MaxRooms)
		}
		return errors.Join(wire.CheckEventName(r.Event), checkRooms(r.Rooms))
	case Auth:
		if r.Token == "" {
			return errors.New("auth needs a token")
		}
	case Emit:
		if r.Event == "" {
			return errors.New("emit needs an event, for example {\"type\":\"emit\",\"event\":\"typing\",\"data\":true}")
		}
		if err := wire.CheckEventName(r.Event); err != nil {
			return err
		}
	case Ack:
		if r.Ack == 0 {
			return errors.New("ack needs the ack of the event that it answers")
		}
	case Ping:
	case "":
		return errors.New("type is missing: use join, leave, watch, unwatch, emit, publish, ack, auth or ping")
	default:
		return fmt.Errorf("type %.32q is not known: use join, leave, watch, unwatch, emit, publish, ack, auth or ping", r.Type)
	}
	if r.Data != nil && r.DataBase64 != nil {
		return errors.New("data and dataBase64 exclude each other")
	}
	return nil
}

func checkRooms(rooms []string) error {
	for _, room := range rooms {
		if err := wire.CheckRoom(room); err != nil {
			return err
		}
	}
	return nil
}

// plainer takes Go's words out of a decoding error.
func plainer(err error) error {
	var typeErr *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typeErr) && typeErr.Field == "":
		return fmt.Errorf("expected an object, got %s", typeErr.Value)
	case errors.As(err, &typeErr):
		return fmt.Errorf("%s cannot be %s", typeErr.Field, typeErr.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("incomplete JSON")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}
