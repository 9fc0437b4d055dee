// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// MaxData bounds what a handler may leave with a session, in bytes of JSON.
	MaxData = 4 << 10
	// maxEmits is how many events one answer may have.
	maxEmits = 100
	// maxRef bounds what a handler gives an event to know its acknowledgement by.
	maxRef = 128
	// defaultPatience is how long a client has for an acknowledgement, and maxPatience
	// how long it may be given.
	defaultPatience = 10 * time.Second
	maxPatience     = 5 * time.Minute
)

// Answer is what a handler wants done. The zero Answer is nothing at all.
type Answer struct {
	// Ack are the arguments of the acknowledgement, for a client that waits for one.
	Ack *Args `json:"ack"`
	// Emit are events to send.
	Emit []Emit `json:"emit"`
	// Join and Leave are rooms of the session.
	Join  []string `json:"join"`
	Leave []string `json:"leave"`
	// Data replaces what is left with the session; null takes it away.
	Data json.RawMessage `json:"data"`
	// Disconnect ends the session.
	Disconnect bool `json:"disconnect"`

	// Refuse and User answer a client that wants to connect: it may not, or its user's
	// name.
	Refuse *Refusal `json:"refuse"`
	User   string   `json:"user"`
}

// Refusal says to a client why it may not connect.
type Refusal struct {
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

// Args are arguments in an answer: a list or, if there are bytes among them, an object
// with "args" and "attachments".
type Args struct{ wire.Args }

// UnmarshalJSON reads both forms.
func (a *Args) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		a.Args = wire.Args{List: bytes.Clone(b)}
		return nil
	}
	var long struct {
		Args        json.RawMessage `json:"args"`
		Attachments [][]byte        `json:"attachments"`
	}
	if err := strictly(b, &long); err != nil {
		return errors.New("ack: write a list of arguments, or an object with args and attachments")
	}
	a.Args = wire.Args{List: long.Args, Attachments: long.Attachments}
	return nil
}

// Who gets an event of a handler's that names no rooms, users or sessions, or who of
// those.
const (
	ToSender = "sender" // the session alone
	ToOthers = "others" // all but the session
	ToAll    = "all"
)

// Emit is an event to send.
type Emit struct {
	Event       string          `json:"event"`
	Args        json.RawMessage `json:"args"`
	Attachments [][]byte        `json:"attachments"`
	// To is one of the constants. Without it, an event that names rooms, users or
	// sessions is for all of those, another for the sender.
	To       string   `json:"to"`
	Rooms    []string `json:"rooms"`
	Users    []string `json:"users"`
	Sessions []string `json:"sessions"`
	// ID is the dedup id of an event that is not for the sender alone.
	ID string `json:"id"`
	// Ack asks the sender for an acknowledgement.
	Ack *Ask `json:"ack"`
}

// Ask is a handler's wish for an acknowledgement, which comes as a call of its own.
type Ask struct {
	// Ref is what the handler knows it by.
	Ref string `json:"ref"`
	// Timeout is how long the client has, in milliseconds. 0: ten seconds.
	Timeout int64 `json:"timeout"`
}

// Patience is how long the client has.
func (a *Ask) Patience() time.Duration {
	if a.Timeout == 0 {
		return defaultPatience
	}
	return time.Duration(a.Timeout) * time.Millisecond
}

// Direct reports whether the event is for the sender alone.
func (e *Emit) Direct() bool { return e.To == ToSender }

// Arguments are those of the event.
func (e *Emit) Arguments() wire.Args {
	return wire.Args{List: e.Args, Attachments: e.Attachments}
}

// Published is the event as it goes to others than the sender alone.
func (e *Emit) Published(sender string) *wire.Event {
	ev := &wire.Event{ID: e.ID, Name: e.Event, Rooms: e.Rooms, Users: e.Users, Sessions: e.Sessions}
	if e.To == ToOthers && sender != "" {
		ev.Except = []string{sender}
	}
	args := e.Arguments()
	args.Fill(ev)
	return ev
}

// strictly reads JSON in which nothing is unknown, so that what is misspelt does not go
// unnoticed.
func strictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the object")
	}
	return nil
}

// parseAnswer reads the body of a response. Events have at most maxEvent bytes of
// arguments.
func parseAnswer(b []byte, maxEvent int64) (*Answer, error) {
	a := &Answer{}
	if len(bytes.TrimSpace(b)) == 0 {
		return a, nil
	}
	if !utf8.Valid(b) {
		return nil, errors.New("is not UTF-8")
	}
	var whole bytes.Buffer
	if err := json.Compact(&whole, b); err != nil {
		return nil, err
	}
	if err := strictly(whole.Bytes(), a); err != nil {
		return nil, err
	}
	return a, a.check(maxEvent)
}

func (a *Answer) check(maxEvent int64) error {
	if a.Ack != nil {
		if err := checkArgs(&a.Ack.Args, maxEvent); err != nil {
			return fmt.Errorf("ack: %w", err)
		}
	}
	for _, list := range [][]string{a.Join, a.Leave} {
		if err := checkRooms(list, wire.MaxRooms); err != nil {
			return err
		}
	}
	switch {
	case len(a.Emit) > maxEmits:
		return fmt.Errorf("emit: has more than %d events", maxEmits)
	case len(a.Data) > MaxData:
		return fmt.Errorf("data: has more than %d bytes", MaxData)
	case len(a.User) > wire.MaxUserName:
		return fmt.Errorf("user: has more than %d bytes", wire.MaxUserName)
	case a.Refuse != nil && a.Refuse.Message == "":
		return errors.New("refuse: needs a message")
	}
	for i := range a.Emit {
		if err := a.Emit[i].check(maxEvent); err != nil {
			return fmt.Errorf("emit[%d]: %w", i, err)
		}
	}
	return nil
}

func (e *Emit) check(maxEvent int64) error {
	if err := wire.CheckEventName(e.Event); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	if string(e.Args) == "null" {
		e.Args = nil
	}
	args := e.Arguments()
	if err := checkArgs(&args, maxEvent); err != nil {
		return err
	}
	targets := len(e.Rooms) + len(e.Users) + len(e.Sessions)
	switch e.To {
	case "":
		if e.To = ToAll; targets == 0 {
			e.To = ToSender
		}
	case ToAll, ToOthers:
	case ToSender:
		if targets > 0 {
			return errors.New("to: the sender alone is no room, user or session: leave one of them out")
		}
	default:
		return fmt.Errorf("to: %.32q is none of sender, others and all", e.To)
	}
	switch {
	case targets > wire.MaxTargets:
		return fmt.Errorf("rooms, users and sessions are more than %d", wire.MaxTargets)
	case len(e.ID) > wire.MaxEventID:
		return fmt.Errorf("id: has more than %d bytes", wire.MaxEventID)
	case e.Ack != nil && !e.Direct():
		return errors.New("ack: only the sender can be asked for an acknowledgement")
	case e.Ack != nil && (len(e.Ack.Ref) == 0 || len(e.Ack.Ref) > maxRef):
		return fmt.Errorf("ack.ref: has %d bytes, not from 1 to %d", len(e.Ack.Ref), maxRef)
	case e.Ack != nil && (e.Ack.Timeout < 0 || e.Ack.Patience() > maxPatience):
		return fmt.Errorf("ack.timeout: is not from 0 to %d milliseconds", maxPatience.Milliseconds())
	}
	return checkRooms(e.Rooms, wire.MaxTargets)
}

func checkArgs(a *wire.Args, most int64) error {
	if n := int64(a.Size()); n > most {
		return fmt.Errorf("the arguments have %d bytes, more than the channel's limit of %d (limits.eventBytes)", n, most)
	}
	return wire.CheckArgs(a)
}

func checkRooms(rooms []string, most int) error {
	if len(rooms) > most {
		return fmt.Errorf("rooms: there are more than %d", most)
	}
	for _, room := range rooms {
		if err := wire.CheckRoom(room); err != nil {
			return err
		}
	}
	return nil
}
