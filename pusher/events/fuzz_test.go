// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

var seeds = []string{
	``, `{}`, `[]`, `[{},{}]`, `null`, `"`, `{"event":"a","data":{"x":[1,"}",null]},"rooms":["r"],"users":["u"],"sessions":["s"],"id":"i"}`,
	`{"dataBase64":"AAH/"}`, `[{"data":"\""},{"data":"\\"}]`, `{"rooms":["\u00e4","\ud800"]}`, `{"data":1e5 , "id":"x"}`, "{\"data\":\"\xff\"}",
	`{"event":"klaxon.x"}`, `{"a":{"b":[{}]}}`, `[[[]]]`, `{"data":[[],{}],"data":1}`, `{"":0}`, `{"data":tru}`,
}

// plainEvent is an event as encoding/json reads it.
type plainEvent struct {
	Event      *string
	Data       json.RawMessage
	DataBase64 []byte
	Rooms      []string
	Users      []string
	Sessions   []string
	ID         *string
}

// FuzzBody compares what is taken with how encoding/json reads the same.
func FuzzBody(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	req := &request{settings: limits(1000)("orders")}
	f.Fuzz(func(t *testing.T, body []byte) {
		var b buffers
		b.body.Write(body)
		events, p := decodeJSON(&b, nil, req)
		if p != nil && p.Code == codeMalformed {
			if json.Valid(body) && utf8.Valid(body) {
				t.Fatalf("%q is refused: %+v", body, p)
			}
			return
		}
		if p != nil {
			if p.Status < 400 || p.Code == "" || !json.Valid(p.json()) {
				t.Fatalf("%q is refused with %+v", body, p)
			}
			return
		}
		var want []plainEvent
		if err := json.Unmarshal(body, &want); err != nil {
			want = make([]plainEvent, 1)
			if err := json.Unmarshal(body, &want[0]); err != nil {
				t.Fatalf("%q is taken: %v", body, err)
			}
		}
		if len(events) != len(want) {
			t.Fatalf("%q: %d events, want %d", body, len(events), len(want))
		}
		for i, ev := range events {
			checkEvent(t, ev, &want[i])
		}
	})
}

func checkEvent(t *testing.T, ev *wire.Event, want *plainEvent) {
	t.Helper()
	name, id := defaultName, ""
	if want.Event != nil {
		name = *want.Event
	}
	if want.ID != nil {
		id = *want.ID
	}
	if ev.Name != name || ev.ID != id || strings.ContainsAny(ev.Name+ev.ID, "\r\n\x00") {
		t.Fatalf("name and id are %q %q, want %q %q", ev.Name, ev.ID, name, id)
	}
	for _, pair := range [][2][]string{{ev.Rooms, want.Rooms}, {ev.Users, want.Users}, {ev.Sessions, want.Sessions}} {
		if len(pair[0])+len(pair[1]) > 0 && !reflect.DeepEqual(pair[0], pair[1]) {
			t.Fatalf("targets are %q, want %q", pair[0], pair[1])
		}
	}
	if (ev.Data == nil) == (ev.Binary == nil) || ev.Size() > 1000 {
		t.Fatalf("data is %q and %q", ev.Data, ev.Binary)
	}
	if ev.Data == nil {
		if !bytes.Equal(ev.Binary, want.DataBase64) {
			t.Fatalf("bytes are %q, want %q", ev.Binary, want.DataBase64)
		}
		return
	}
	var data bytes.Buffer
	if want.Data == nil {
		want.Data = null
	}
	if err := json.Compact(&data, want.Data); err != nil || !bytes.Equal(data.Bytes(), ev.Data) {
		t.Fatalf("data is %s, want %s", ev.Data, data.Bytes())
	}
}

// FuzzStream: there is one answer for each line that is not blank, in order.
func FuzzStream(f *testing.F) {
	f.Add([]byte(strings.Join(seeds, "\n")))
	f.Add([]byte("{}\n\n \r\n{}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := newRig()
		w := r.do(request1(http.MethodPost, eventsPath, string(body), "Content-Type", "application/x-ndjson"))
		lines := 0
		for line := range bytes.Lines(body) {
			if len(bytes.TrimSpace(line)) > 0 {
				lines++
			}
		}
		answers, last := 0, 0
		for line := range bytes.Lines(w.Body.Bytes()) {
			answers++
			var p problem
			if err := json.Unmarshal(line, &p); err != nil {
				t.Fatalf("answer %q: %v", line, err)
			}
			if p.Line != 0 && p.Line <= last {
				t.Fatalf("line %d is answered after line %d", p.Line, last)
			}
			last = max(last, p.Line)
		}
		if answers != lines {
			t.Fatalf("%d answers to %d lines", answers, lines)
		}
	})
}
