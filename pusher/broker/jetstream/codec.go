// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// The body of a message in the stream begins with its format and its kind. An
// event is then, each with its length before it: id, name, the numbers of rooms,
// users and sessions, those, and last a byte that says what the rest is.
const (
	format = 1

	kindEvent = 1
	// kindMark is no event: it says that the log had none after a sequence.
	kindMark = 2

	dataNone   = 0
	dataJSON   = 1
	dataBinary = 2
	// dataMore has, before JSON or bytes, what few events have: see appendMore.
	dataMore = 3
)

// errFormat means that a message is of a version of Klaxon that this one does
// not know, or of nobody's.
var errFormat = errors.New("a message in a form that is not known")

// mark begins a log, or stands for events that have become too old, so that there
// is always something kept by which it is known what has been dropped.
type mark struct {
	// floor is a sequence that no event follows until this message.
	floor uint64
}

// encode returns the event's message. Its id is left out if it is made up.
func encode(ev *wire.Event) []byte {
	n := 32 + len(ev.ID) + len(ev.Name) + ev.Size() + len(ev.Trace) + 10*len(ev.Attachments) + 40*len(ev.Except)
	for _, list := range [][]string{ev.Rooms, ev.Users, ev.Sessions} {
		for _, s := range list {
			n += 3 + len(s)
		}
	}
	b := append(make([]byte, 0, n), format, kindEvent)
	b = appendString(b, ev.ID)
	b = appendString(b, ev.Name)
	for _, list := range [][]string{ev.Rooms, ev.Users, ev.Sessions} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = appendString(b, s)
		}
	}
	if ev.Spread || ev.Trace != "" || len(ev.Attachments) > 0 || len(ev.Except) > 0 {
		b = appendMore(append(b, dataMore), ev)
	}
	switch {
	case ev.Binary != nil:
		b = append(b, dataBinary)
		b = append(b, ev.Binary...)
	case ev.Data != nil:
		b = append(b, dataJSON)
		b = append(b, ev.Data...)
	default:
		b = append(b, dataNone)
	}
	return b
}

// appendMore appends whether the data is spread, the trace, the sessions that are
// excepted and the attachments.
func appendMore(b []byte, ev *wire.Event) []byte {
	spread := byte(0)
	if ev.Spread {
		spread = 1
	}
	b = appendString(append(b, spread), ev.Trace)
	b = binary.AppendUvarint(b, uint64(len(ev.Except)))
	for _, s := range ev.Except {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(ev.Attachments)))
	for _, a := range ev.Attachments {
		b = append(binary.AppendUvarint(b, uint64(len(a))), a...)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func encodeMark(m mark) []byte {
	return binary.AppendUvarint([]byte{format, kindMark}, m.floor)
}

// decode reads what encode or encodeMark wrote: either the event or the mark is
// not nil, or there is an error. The event's data is a part of b.
func decode(b []byte) (*wire.Event, *mark, error) {
	if len(b) < 2 || b[0] != format {
		return nil, nil, errFormat
	}
	r := reader{b: b[2:]}
	switch b[1] {
	case kindEvent:
		ev := r.event()
		if r.bad {
			return nil, nil, fmt.Errorf("event: %w", errFormat)
		}
		return ev, nil, nil
	case kindMark:
		m := &mark{floor: r.number()}
		if r.bad || len(r.b) > 0 {
			return nil, nil, fmt.Errorf("mark: %w", errFormat)
		}
		return nil, m, nil
	}
	return nil, nil, errFormat
}

// reader takes fields from the front of b; after the first that is not there all
// are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) event() *wire.Event {
	ev := &wire.Event{ID: r.string(), Name: r.string(), Rooms: r.list(), Users: r.list(), Sessions: r.list()}
	if !r.bad && len(r.b) > 0 && r.b[0] == dataMore {
		r.b = r.b[1:]
		r.more(ev)
	}
	if r.bad || len(r.b) == 0 {
		r.bad = true
		return ev
	}
	rest := r.b[1:]
	switch {
	case r.b[0] == dataJSON:
		ev.Data = rest[:len(rest):len(rest)]
	case r.b[0] == dataBinary:
		ev.Binary = rest[:len(rest):len(rest)]
	case r.b[0] != dataNone || len(rest) > 0:
		r.bad = true
	}
	return ev
}

// more reads what appendMore wrote.
func (r *reader) more(ev *wire.Event) {
	ev.Spread = r.number() == 1 // a byte, and a number
	ev.Trace, ev.Except = r.string(), r.list()
	n := r.number()
	if n > wire.MaxAttachments {
		r.bad = true
		return
	}
	for range n {
		ev.Attachments = append(ev.Attachments, []byte(r.string()))
	}
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if r.bad || size <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) string() string {
	n := r.number()
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) list() []string {
	n := r.number()
	if r.bad || n > wire.MaxTargets || n > uint64(len(r.b)) {
		r.bad = r.bad || n != 0
		return nil
	}
	if n == 0 {
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, r.string())
	}
	return list
}
