// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Type is a packet's type.
type Type byte

// The types of packets, as numbered on the wire.
const (
	Connect       Type = iota // join a namespace, or the answer
	Disconnect                // leave a namespace
	Event                     // an event
	Ack                       // the answer to an event that has an id
	ConnectFailed             // a namespace refuses: CONNECT_ERROR
	BinaryEvent               // an event with attachments
	BinaryAck                 // an answer with attachments
)

func (t Type) binary() bool { return t == BinaryEvent || t == BinaryAck }

const (
	// MaxNamespace is the length of the longest namespace, in bytes.
	MaxNamespace = 128
	// maxID is the largest ack id that every client holds exactly.
	maxID = 1<<53 - 1
)

// Packet is one packet that a client sent.
type Packet struct {
	Type Type
	// Namespace begins with a slash and has no query.
	Namespace string
	// ID is the ack id, if HasID.
	ID    uint64
	HasID bool
	// Data is the JSON that goes with the packet, nil if there is none. It has been
	// checked to be what the type asks for.
	Data []byte
	// Attachments are what the placeholders in Data stand for.
	Attachments [][]byte
}

// What is wrong with packets. The texts may be sent to the client.
var (
	errSize        = errors.New("socket.io: packet too big")
	errType        = errors.New("socket.io: unknown packet type")
	errCount       = errors.New("socket.io: illegal number of attachments")
	errNamespace   = errors.New("socket.io: namespace is no UTF-8 of at most 128 bytes")
	errID          = errors.New("socket.io: ack id too big")
	errNoID        = errors.New("socket.io: ack without an id")
	errNoPayload   = errors.New("socket.io: payload is missing")
	errPayload     = errors.New("socket.io: invalid payload")
	errName        = errors.New("socket.io: event name is reserved, or no string")
	errPlaceholder = errors.New("socket.io: placeholder of no attachment")
	errText        = errors.New("socket.io: text where attachments were due")
	errBinary      = errors.New("socket.io: attachment of no packet")
)

// parse reads a packet's text, and how many attachments follow it. Data aliases b.
func parse(b []byte) (p Packet, attachments int, err error) {
	if len(b) == 0 || b[0] < '0' || b[0] > '0'+byte(BinaryAck) {
		return Packet{}, 0, errType
	}
	p.Type, b = Type(b[0]-'0'), b[1:]
	if p.Type.binary() {
		n, rest, ok := number(b, wire.MaxAttachments)
		if !ok || len(rest) == len(b) || len(rest) == 0 || rest[0] != '-' {
			return Packet{}, 0, errCount
		}
		attachments, b = int(n), rest[1:] //nolint:gosec // at most wire.MaxAttachments
	}
	if p.Namespace, b, err = namespace(b); err != nil {
		return Packet{}, 0, err
	}
	id, rest, ok := number(b, maxID)
	if !ok {
		return Packet{}, 0, errID
	}
	p.ID, p.HasID = id, len(rest) < len(b)
	if len(rest) > 0 {
		p.Data = rest
	}
	return p, attachments, p.check(attachments)
}

// number reads the digits that b begins with, if any. It reports false for a number
// over most.
func number(b []byte, most uint64) (n uint64, rest []byte, ok bool) {
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
		if n = n*10 + uint64(b[0]-'0'); n > most {
			return 0, b, false
		}
		b = b[1:]
	}
	return n, b, true
}

// namespace reads the namespace that b begins with. Older clients add a query, which
// means nothing in this version.
func namespace(b []byte) (name string, rest []byte, err error) {
	if len(b) == 0 || b[0] != '/' {
		return "/", b, nil
	}
	b, rest, _ = bytes.Cut(b, []byte{','})
	b, _, _ = bytes.Cut(b, []byte{'?'})
	if len(b) > MaxNamespace || !utf8.Valid(b) {
		return "", nil, errNamespace
	}
	return string(b), rest, nil
}

// check reports whether the payload is what the type asks for.
func (p *Packet) check(attachments int) error {
	switch p.Type {
	case Connect:
		if p.Data == nil {
			return nil
		}
		return p.checkData("{")
	case Disconnect:
		if p.Data != nil {
			return errPayload
		}
		return nil
	case ConnectFailed:
		return p.checkData(`{"`)
	case Ack, BinaryAck:
		if !p.HasID {
			return errNoID
		}
	}
	if err := p.checkData("["); err != nil {
		return err
	}
	if p.Type == Event || p.Type == BinaryEvent {
		if err := p.checkName(); err != nil {
			return err
		}
	}
	if p.Type.binary() && wire.CheckPlaceholders(p.Data, attachments) != nil {
		return errPlaceholder
	}
	return nil
}

// checkData reports whether the payload is JSON that begins with one of the letters
// of begin. White space before it is none of them.
func (p *Packet) checkData(begin string) error {
	switch {
	case p.Data == nil:
		return errNoPayload
	case bytes.IndexByte([]byte(begin), p.Data[0]) < 0, !json.Valid(p.Data):
		return errPayload
	}
	return nil
}

func (p *Packet) checkName() error {
	for first := range elements(p.Data) {
		name, ok := eventName(first)
		if !ok || reserved(name) && first[0] == '"' {
			return errName
		}
		return nil
	}
	return errName
}

// reserved reports whether a client or server uses a name for its own events.
func reserved(name string) bool {
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}

// eventName returns the name that the first element of an event stands for: a
// string, or a number as it is written.
func eventName(first []byte) (name string, ok bool) {
	switch c := first[0]; {
	case c == '"':
		return name, json.Unmarshal(first, &name) == nil
	case c == '-', c >= '0' && c <= '9':
		return string(first), true
	}
	return "", false
}

// Event returns the name and the arguments of an Event or BinaryEvent that the
// Decoder returned. A name that is a number comes as it is written. The arguments
// alias Data; those of a BinaryEvent have placeholders in them.
func (p *Packet) Event() (name string, args []json.RawMessage) {
	first := true
	for e := range elements(p.Data) {
		if first {
			name, _ = eventName(e)
			first = false
			continue
		}
		args = append(args, json.RawMessage(e))
	}
	return name, args
}

// Args returns the arguments of an Event or BinaryEvent, or those of an Ack or
// BinaryAck. The list is a copy.
func (p *Packet) Args() wire.Args {
	a := wire.Args{Attachments: p.Attachments, List: []byte{'['}}
	named := p.Type == Event || p.Type == BinaryEvent
	for e := range elements(p.Data) {
		if named { // not an argument
			named = false
			continue
		}
		if len(a.List) > 1 {
			a.List = append(a.List, ',')
		}
		a.List = append(a.List, e...)
	}
	a.List = append(a.List, ']')
	return a
}
