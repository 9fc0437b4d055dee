// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package socketio

import (
	"encoding/json"
	"strconv"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/engineio"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// The encoders return whole WebSocket frames, each with an Engine.IO packet.

// ConnectError says why a namespace refuses a client. The client does not try again
// by itself.
type ConnectError struct {
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

// EncodeConnect returns the answer to a CONNECT: the session's id and, unless it is
// empty, the secret by which a client asks to be recovered.
func EncodeConnect(namespace, sid, pid string) []byte {
	return encode(Connect, namespace, struct {
		SID string `json:"sid"`
		PID string `json:"pid,omitempty"`
	}{sid, pid})
}

// EncodeConnectError returns the answer to a CONNECT that is refused.
func EncodeConnectError(namespace string, e ConnectError) []byte {
	return encode(ConnectFailed, namespace, e)
}

// EncodeDisconnect returns the packet that ends a client's session of a namespace.
// The client does not come back by itself.
func EncodeDisconnect(namespace string) []byte {
	return finish(appendHead(begin(len(namespace)), Disconnect, namespace))
}

// EncodeAck returns the answer to the event of an ack id.
func EncodeAck(namespace string, id uint64, args ...any) []byte {
	if args == nil {
		args = []any{}
	}
	data := marshal(args)
	b := appendHead(begin(len(namespace)+20+len(data)), Ack, namespace)
	return finish(append(strconv.AppendUint(b, id, 10), data...))
}

// EncodeMessage returns an event of the server's own.
func EncodeMessage(namespace, name string, args ...any) []byte {
	return encode(Event, namespace, append([]any{name}, args...))
}

func encode(t Type, namespace string, data any) []byte {
	d := marshal(data)
	return finish(append(appendHead(begin(len(namespace)+len(d)), t, namespace), d...))
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("socketio: a packet of ours cannot be marshalled: " + err.Error())
	}
	return b
}

// EncodeArgsAck returns the answer to the event of an ack id: the text's frame and
// those of its attachments.
func EncodeArgsAck(namespace string, id uint64, args *wire.Args) []byte {
	list := args.Array()
	b := appendKind(begin(len(namespace)+24+len(list)), Ack, namespace, len(args.Attachments))
	b = strconv.AppendUint(b, id, 10)
	return appendAttachments(finish(append(b, list...)), args.Attachments)
}

// Emit is an event for one session alone.
type Emit struct {
	Name string
	Args wire.Args
	// ID asks for an acknowledgement; 0: none is wanted.
	ID uint64
	// Offset is the last argument; empty: there is none. It goes with no ID.
	Offset string
}

// EncodeEmit returns the frames of an event for one session.
func EncodeEmit(namespace string, e *Emit) []byte {
	list := e.Args.Array()
	b := appendKind(begin(len(namespace)+32+len(e.Name)+len(list)+len(e.Offset)), Event, namespace, len(e.Args.Attachments))
	if e.ID > 0 {
		b = strconv.AppendUint(b, e.ID, 10)
	}
	b = appendString(append(b, '['), e.Name)
	b = appendElements(b, list)
	if e.Offset != "" {
		b = appendString(append(b, ','), e.Offset)
	}
	return appendAttachments(finish(append(b, ']')), e.Args.Attachments)
}

// appendElements appends the elements of a JSON array, each behind a comma.
func appendElements(b, array []byte) []byte {
	if inner := array[1 : len(array)-1]; len(inner) > 0 {
		b = append(append(b, ','), inner...)
	}
	return b
}

// appendKind appends what stands before ack id and data, for a packet with so many
// attachments.
func appendKind(b []byte, t Type, namespace string, attachments int) []byte {
	if attachments == 0 {
		return appendHead(b, t, namespace)
	}
	b = append(b, byte(engineio.Message), '0'+byte(t+BinaryEvent-Event))
	return appendNamespace(append(strconv.AppendInt(b, int64(attachments), 10), '-'), namespace)
}

func appendAttachments(b []byte, attachments [][]byte) []byte {
	for _, a := range attachments {
		b = append(frames.AppendHead(b, frames.Binary, len(a)), a...)
	}
	return b
}

const (
	placeholder = `{"_placeholder":true,"num":0}`
)

// EncodeEvent returns the frame of an event; for binary data the frame of its
// attachment follows. A client that may want to be recovered gets the event's
// offset as the last argument; an empty offset is left out. It is built once for all
// sessions of a namespace.
func EncodeEvent(namespace string, ev *wire.Event, offset string) []byte {
	attachments := ev.Attachments
	if ev.Binary != nil {
		attachments = [][]byte{ev.Binary}
	}
	b := begin(len(namespace) + len(ev.Name) + len(offset) + ev.Size() + len(placeholder) + len(attachments)*frames.MaxHead + len(ev.Trace) + 32)
	b = appendKind(b, Event, namespace, len(attachments))
	b = append(b, '[')
	b = appendString(b, ev.Name)
	switch {
	case ev.Binary != nil:
		b = append(append(b, ','), placeholder...)
	case ev.Spread:
		b = appendElements(b, ev.Data)
	default:
		b = append(append(b, ','), ev.Data...)
	}
	if ev.Trace != "" {
		b = appendString(append(b, `,{"traceparent":`...), ev.Trace)
		b = append(b, '}')
	}
	if offset != "" {
		b = append(b, ',')
		b = appendString(b, offset)
	}
	return appendAttachments(finish(append(b, ']')), attachments)
}

// begin returns a buffer for a text frame with a header of Socket.IO and n bytes. A
// frame's header depends on the payload's size, so the payload is written behind
// the largest one, and finish moves the header up to it.
func begin(n int) []byte {
	return make([]byte, frames.MaxHead, frames.MaxHead+3+n)
}

func finish(b []byte) []byte {
	var head [frames.MaxHead]byte
	h := frames.AppendHead(head[:0], frames.Text, len(b)-frames.MaxHead)
	start := frames.MaxHead - len(h)
	copy(b[start:], h)
	return b[start:]
}

// appendHead appends what stands before ack id and data.
func appendHead(b []byte, t Type, namespace string) []byte {
	return appendNamespace(append(b, byte(engineio.Message), '0'+byte(t)), namespace)
}

func appendNamespace(b []byte, namespace string) []byte {
	if namespace == "/" || namespace == "" {
		return b
	}
	return append(append(b, namespace...), ',')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return append(b, marshal(s)...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
