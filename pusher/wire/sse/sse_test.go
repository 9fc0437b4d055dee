// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package sse

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

var at = wire.Position{Epoch: "k3x9f2", Seq: 41}

func TestBlocks(t *testing.T) {
	no := false
	for name, tc := range map[string]struct {
		block []byte
		want  string
	}{
		"welcome": {
			EncodeWelcome(Welcome{Session: "S", Channel: "orders", Rooms: []string{}, Offset: at.String(), Heartbeat: 25000}),
			"retry: 2000\nid: k3x9f2.41\nevent: klaxon.welcome\n" +
				`data: {"session":"S","channel":"orders","rooms":[],"offset":"k3x9f2.41","heartbeat":25000}` + "\n\n",
		},
		"welcome of one who came back": {
			EncodeWelcome(Welcome{
				Session: "S", Channel: "orders", User: "ann", Rooms: []string{"a\nb"}, Offset: at.String(),
				Heartbeat: 1, Recovered: &no,
			}),
			"retry: 2000\nid: k3x9f2.41\nevent: klaxon.welcome\n" +
				`data: {"session":"S","channel":"orders","user":"ann","rooms":["a\nb"],"offset":"k3x9f2.41","heartbeat":1,"recovered":false}` + "\n\n",
		},
		"event": {
			EncodeEvent(&wire.Event{Name: "created", Data: json.RawMessage(`{"a":[1,null]}`)}, at),
			"id: k3x9f2.41\nevent: created\ndata: {\"a\":[1,null]}\n\n",
		},
		"event without a name of its own": {
			EncodeEvent(&wire.Event{Name: "message", Data: json.RawMessage(`1`)}, at),
			"id: k3x9f2.41\nevent: message\ndata: 1\n\n",
		},
		"event with line ends": {
			EncodeEvent(&wire.Event{Name: "a\r\nb", Data: json.RawMessage("{\n\"a\":\r\n1\r\r}")}, at),
			"id: k3x9f2.41\nevent: a  b\ndata: {\ndata: \"a\":\ndata: 1\ndata: \ndata: }\n\n",
		},
		"binary event": {
			EncodeEvent(&wire.Event{Name: "b", Binary: []byte{0, 255}}, at),
			"id: k3x9f2.41\nevent: b\ndata: {\"dataBase64\":\"AP8=\"}\n\n",
		},
		"empty binary event": {
			EncodeEvent(&wire.Event{Name: "b", Binary: []byte{}}, at),
			"id: k3x9f2.41\nevent: b\ndata: {\"dataBase64\":\"\"}\n\n",
		},
		"heartbeat": {EncodeHeartbeat(at), ":\nid: k3x9f2.41\n\n"},
		"gap":       {EncodeGap(12), "event: klaxon.gap\ndata: {\"dropped\":12}\n\n"},
		"error": {
			EncodeFailure(Failure{Code: "forbidden", Message: "no", Rooms: []string{"a"}}),
			"event: klaxon.error\ndata: {\"code\":\"forbidden\",\"message\":\"no\",\"rooms\":[\"a\"]}\n\n",
		},
		"retry":            {EncodeRetry(1500*time.Millisecond + 1), "retry: 1500\n\n"},
		"retry in no time": {EncodeRetry(-time.Second), "retry: 0\n\n"},
	} {
		if got := string(tc.block); got != tc.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, tc.want)
		}
	}
}

// message is an event as a page gets it.
type message struct{ Type, Data, LastEventID string }

// source reads a stream as WHATWG HTML section 9.2.6 tells browsers to.
type source struct {
	events []message
	lastID string
	retry  string

	data          []byte
	eventType, id string
}

func read(stream []byte) *source {
	s := &source{}
	text := strings.TrimPrefix(strings.ToValidUTF8(string(stream), "\ufffd"), "\ufeff")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(text, "\n")
	for _, line := range lines[:len(lines)-1] { // what no line end follows was not sent yet
		s.line(line)
	}
	return s
}

func (s *source) line(line string) {
	if line == "" {
		s.dispatch()
		return
	}
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "event":
		s.eventType = value
	case "data":
		s.data = append(append(s.data, value...), '\n')
	case "id":
		if !strings.Contains(value, "\x00") {
			s.id = value
		}
	case "retry":
		if strings.Trim(value, "0123456789") == "" {
			s.retry = value
		}
	}
}

func (s *source) dispatch() {
	s.lastID = s.id
	if len(s.data) > 0 {
		m := message{s.eventType, strings.TrimSuffix(string(s.data), "\n"), s.lastID}
		if m.Type == "" {
			m.Type = "message"
		}
		s.events = append(s.events, m)
	}
	s.data, s.eventType = nil, ""
}

func TestStreamAsAPageSeesIt(t *testing.T) {
	next := wire.Position{Epoch: "k3x9f2", Seq: math.MaxUint64}
	s := read(slices.Concat(
		EncodeWelcome(Welcome{Offset: at.String()}),
		EncodeEvent(&wire.Event{Name: "created", Data: json.RawMessage(`{"a":1}`)}, at),
		EncodeGap(2),
		EncodeFailure(Failure{Code: "forbidden"}),
	))
	if s.retry != "2000" || s.lastID != at.String() {
		t.Errorf("retry %q, last event id %q", s.retry, s.lastID)
	}
	var types []string
	for _, e := range s.events {
		types = append(types, e.Type)
		if e.LastEventID != at.String() {
			t.Errorf("%s has the id %q", e.Type, e.LastEventID)
		}
	}
	if got, want := fmt.Sprint(types), "[klaxon.welcome created klaxon.gap klaxon.error]"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}

	quiet := read(slices.Concat(EncodeWelcome(Welcome{Offset: at.String()}), EncodeHeartbeat(next), EncodeRetry(time.Minute)))
	if len(quiet.events) != 1 {
		t.Errorf("a heartbeat and a retry caused events: %v", quiet.events)
	}
	if quiet.lastID != next.String() || quiet.retry != "60000" {
		t.Errorf("last event id %q, retry %q", quiet.lastID, quiet.retry)
	}
}

// FuzzEncodeEvent checks that every event comes out as what went in, whatever
// its strings hold, and that the block behind it is not touched.
func FuzzEncodeEvent(f *testing.F) {
	f.Add("k3x9f2", "created", `{"a":1}`)
	f.Add("e", "", "")
	f.Add("e\r", "a\r\nb\n", "\r\n1\n\r\n\r\r")
	f.Add("e\x00", " x", "\n\n: x\nid: y\n\nevent: z")
	f.Fuzz(func(t *testing.T, epoch, name, data string) {
		pos := wire.Position{Epoch: epoch, Seq: 7}
		s := read(slices.Concat(
			EncodeRetry(0),
			EncodeEvent(&wire.Event{Name: name, Data: json.RawMessage(data)}, pos),
			EncodeGap(1),
		))
		valid := func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
		flat := strings.NewReplacer("\r", " ", "\n", " ")
		want := message{valid(flat.Replace(name)), valid(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data)), valid(flat.Replace(pos.String()))}
		if want.Type == "" {
			want.Type = "message"
		}
		if strings.Contains(epoch, "\x00") {
			want.LastEventID = "" // browsers ignore such ids
		}
		if len(s.events) != 2 || s.events[0] != want || s.events[1].Type != "klaxon.gap" {
			t.Fatalf("got %q, want %q and a gap", s.events, want)
		}
	})
}

// TestManyLineEnds holds the work on data full of line ends to its length.
func TestManyLineEnds(t *testing.T) {
	const n = 1 << 20
	for _, end := range []string{"\r", "\n", "\r\n"} {
		s := read(EncodeEvent(&wire.Event{Name: "x", Data: json.RawMessage(strings.Repeat(end, n))}, at))
		if len(s.events) != 1 || s.events[0].Data != strings.Repeat("\n", n) {
			t.Errorf("%q did not come back", end)
		}
	}
}

func TestEncodeEventAllocatesOnce(t *testing.T) {
	big := wire.Position{Epoch: strings.Repeat("e", 32), Seq: math.MaxUint64}
	for name, ev := range map[string]*wire.Event{
		"JSON":   {Name: "created", Data: json.RawMessage(`{"a":1}`)},
		"binary": {Name: "created", Binary: make([]byte, 1000)},
	} {
		if n := testing.AllocsPerRun(100, func() { EncodeEvent(ev, big) }); n != 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkEncodeEvent is paid once for each event, however many clients get it.
func BenchmarkEncodeEvent(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ev := &wire.Event{Name: "created", Data: json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`)}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				EncodeEvent(ev, wire.Position{Epoch: "k3x9f2", Seq: 1 << 20})
			}
		})
	}
}
