// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func TestPublishOne(t *testing.T) {
	x64 := strings.Repeat("x", 62) // and two quotes
	for name, tc := range map[string]struct {
		body string
		want wire.Event
	}{
		"empty":              {`{}`, wire.Event{Name: "message", Data: null}},
		"everything":         {`{"event":"paid","data":{"n":1},"rooms":["a","b"],"users":["u"],"sessions":["s"],"id":"i"}`, wire.Event{ID: "i", Name: "paid", Data: []byte(`{"n":1}`), Rooms: []string{"a", "b"}, Users: []string{"u"}, Sessions: []string{"s"}}},
		"nulls":              {`{"event":null,"data":null,"dataBase64":null,"rooms":null,"users":null,"sessions":null,"id":null}`, wire.Event{Name: "message", Data: null}},
		"data is compacted":  {" {\n\t\"data\" : { \"a b\" : [ 1 , 2 ] , \"c\" : \" \\\" ] } \" } }\r\n", wire.Event{Name: "message", Data: []byte(`{"a b":[1,2],"c":" \" ] } "}`)}},
		"data is a string":   {`{"data":"x"}`, wire.Event{Name: "message", Data: []byte(`"x"`)}},
		"data is a number":   {`{"data":-1.50e+10}`, wire.Event{Name: "message", Data: []byte(`-1.50e+10`)}},
		"data is false":      {`{"data":false,"event":"e"}`, wire.Event{Name: "e", Data: []byte(`false`)}},
		"data has HTML":      {`{"data":"<&>` + "\u2028" + `"}`, wire.Event{Name: "message", Data: []byte("\"<&>\u2028\"")}},
		"data at the limit":  {`{"data": "` + x64 + `"}`, wire.Event{Name: "message", Data: []byte(`"` + x64 + `"`)}},
		"bytes":              {`{"dataBase64":"AAH/"}`, wire.Event{Name: "message", Binary: []byte{0, 1, 255}}},
		"no bytes":           {`{"dataBase64":""}`, wire.Event{Name: "message", Binary: []byte{}}},
		"bytes, data null":   {`{"dataBase64":"AA==","data":null}`, wire.Event{Name: "message", Binary: []byte{0}}},
		"escapes":            {`{"\u0065vent":"n\u00e4me","id":"a\"b\\c","rooms":["\ud83d\ude00"]}`, wire.Event{ID: `a"b\c`, Name: "näme", Data: null, Rooms: []string{"😀"}}},
		"one kind of target": {`{"rooms":[],"users":["u"]}`, wire.Event{Name: "message", Data: null, Users: []string{"u"}}},
		"longest strings":    {fmt.Sprintf(`{"event":%q,"id":%q,"rooms":[%q]}`, strings.Repeat("e", 128), strings.Repeat("i", 128), strings.Repeat("r", 128)), wire.Event{ID: strings.Repeat("i", 128), Name: strings.Repeat("e", 128), Data: null, Rooms: []string{strings.Repeat("r", 128)}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			w := r.do(request1("POST", eventsPath, tc.body))
			if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("answer is %d %s", w.Code, w.Body)
			}
			got := r.store.events()
			if len(got) != 1 {
				t.Fatalf("%d events are stored", len(got))
			}
			var a map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil ||
				!reflect.DeepEqual(a, map[string]any{"id": got[0].ID, "offset": "e.1", "duplicate": false}) {
				t.Fatalf("answer is %s (%v)", w.Body, err)
			}
			if tc.want.ID == "" {
				tc.want.ID = "made-up-1"
			}
			if !reflect.DeepEqual(*got[0], tc.want) {
				t.Fatalf("stored %+v, want %+v", *got[0], tc.want)
			}
		})
	}
}

func TestPublishRefuses(t *testing.T) {
	x65 := strings.Repeat("x", 63)
	for name, tc := range map[string]struct {
		body   string
		status int
		code   string
		detail string
	}{
		"nothing":              {"", 400, codeMalformed, "not JSON"},
		"spaces":               {"  ", 400, codeMalformed, "not JSON"},
		"broken":               {`{"data":}`, 400, codeMalformed, "at byte 9"},
		"cut off":              {`{"data":1`, 400, codeMalformed, "unexpected end"},
		"two values":           {`{} {}`, 400, codeMalformed, "not JSON"},
		"not UTF-8":            {"{\"data\":\"\xff\"}", 400, codeMalformed, "UTF-8"},
		"byte order mark":      {"\ufeff{}", 400, codeMalformed, "not JSON"},
		"too deep":             {strings.Repeat("[", 10002) + strings.Repeat("]", 10002), 400, codeMalformed, "not JSON"},
		"a string":             {`"x"`, 400, codeInvalidEvent, "JSON object"},
		"null":                 {`null`, 400, codeInvalidEvent, "JSON object"},
		"unknown field":        {`{"room":"a"}`, 400, codeInvalidEvent, `unknown field "room"`},
		"other case":           {`{"Data":1}`, 400, codeInvalidEvent, `unknown field "Data"`},
		"field twice":          {`{"data":1,"data":2}`, 400, codeInvalidEvent, "data comes twice"},
		"field twice, null":    {`{"id":null,"id":"x"}`, 400, codeInvalidEvent, "id comes twice"},
		"data twice":           {`{"data":1,"dataBase64":"AA=="}`, 400, codeInvalidEvent, "exclude each other"},
		"event is no string":   {`{"event":1}`, 400, codeInvalidEvent, "event: must be a string"},
		"event is empty":       {`{"event":""}`, 400, codeInvalidEvent, "event: has 0 bytes"},
		"event is long":        {fmt.Sprintf(`{"event":%q}`, strings.Repeat("e", 129)), 400, codeInvalidEvent, "event: has 129 bytes"},
		"event has a newline":  {`{"event":"a\nb"}`, 400, codeInvalidEvent, "control character"},
		"event of Socket.IO":   {`{"event":"connect"}`, 400, codeInvalidEvent, `keep the name "connect" to themselves`},
		"one of them escaped":  {`{"event":"dis\u0063onnect"}`, 400, codeInvalidEvent, "give it another name"},
		"one in an array":      {`[{"event":"a"},{"event":"removeListener"}]`, 400, codeInvalidEvent, "give it another name"},
		"event is reserved":    {`{"event":"klaxon.gap"}`, 400, codeInvalidEvent, "Klaxon's own"},
		"id is no string":      {`{"id":{}}`, 400, codeInvalidEvent, "id: must be a string"},
		"id is empty":          {`{"id":""}`, 400, codeInvalidEvent, "id: has 0 bytes"},
		"id has a NUL":         {`{"id":"a\u0000"}`, 400, codeInvalidEvent, "control character"},
		"rooms is no list":     {`{"rooms":"a"}`, 400, codeInvalidEvent, "rooms: must be a list"},
		"room is no string":    {`{"rooms":["a",["b"]]}`, 400, codeInvalidEvent, "rooms[1]: must be a string"},
		"room is empty":        {`{"rooms":[""]}`, 400, codeInvalidEvent, "rooms[0]: has 0 bytes"},
		"room is long":         {fmt.Sprintf(`{"rooms":[%q]}`, strings.Repeat("r", 129)), 400, codeInvalidEvent, "rooms[0]: has 129 bytes"},
		"user is long":         {fmt.Sprintf(`{"users":[%q]}`, strings.Repeat("r", 257)), 400, codeInvalidEvent, "users[0]: has 257 bytes"},
		"session is null":      {`{"sessions":[null]}`, 400, codeInvalidEvent, "sessions[0]: must be a string"},
		"nobody":               {`{"rooms":[]}`, 400, codeInvalidEvent, "nobody is addressed"},
		"too many rooms":       {`{"rooms":["a"` + strings.Repeat(`,"a"`, 1000) + `]}`, 400, codeInvalidEvent, "more than 1000"},
		"too many targets":     {`{"users":["b"],"rooms":["a"` + strings.Repeat(`,"a"`, 999) + `]}`, 400, codeInvalidEvent, "1001 targets"},
		"base64 is no string":  {`{"dataBase64":[]}`, 400, codeInvalidEvent, "dataBase64: must be a string"},
		"base64 without pad":   {`{"dataBase64":"AA"}`, 400, codeInvalidEvent, "is not base64"},
		"base64 for URLs":      {`{"dataBase64":"__8="}`, 400, codeInvalidEvent, "is not base64"},
		"data over the limit":  {`{"data":"` + x65 + `"}`, 413, codeEventTooLarge, "65 bytes"},
		"bytes over the limit": {`{"dataBase64":"` + base64.StdEncoding.EncodeToString([]byte(x65+"xx")) + `"}`, 413, codeEventTooLarge, "65 bytes"},
		"body over the limit":  {`{"data":1}` + strings.Repeat(" ", 513<<10), 413, codeEventTooLarge, "may need"},
		"array over the limit": {`[]` + strings.Repeat(" ", maxArrayBytes), 413, codeBodyTooLarge, "8388608"},
		"too many events":      {`[{}` + strings.Repeat(`,{}`, 1000) + `]`, 413, codeTooManyEvents, "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			p := wantProblem(t, r.do(request1("POST", eventsPath, tc.body)), tc.status, tc.code)
			if !strings.Contains(p.Detail, tc.detail) {
				t.Fatalf("detail is %q, want %q in it", p.Detail, tc.detail)
			}
			if len(r.store.events()) != 0 {
				t.Fatal("something is stored")
			}
		})
	}
}

func TestPublishArray(t *testing.T) {
	r := newRig()
	w := r.do(request1("POST", eventsPath, ` [ {"id":"a"} , {"id":"b","data":[1, 2]} , {"id":"a"} ] `))
	const want = `{"results":[{"id":"a","offset":"e.1","duplicate":false},{"id":"b","offset":"e.2","duplicate":false},{"id":"a","offset":"e.1","duplicate":true}]}` + "\n"
	if w.Code != 200 || w.Body.String() != want {
		t.Fatalf("answer is %d %s", w.Code, w.Body)
	}
	if len(r.store.batches) != 1 || len(r.store.batches[0]) != 3 {
		t.Fatalf("stored as %v", r.store.batches)
	}
	if w := r.do(request1("POST", eventsPath, `[]`)); w.Code != 200 || w.Body.String() != `{"results":[]}`+"\n" {
		t.Fatalf("nothing is answered %d %s", w.Code, w.Body)
	}
	full := `[{}` + strings.Repeat(`,{}`, 999) + `]`
	if w := r.do(request1("POST", eventsPath, full)); w.Code != 200 {
		t.Fatalf("1000 events are answered %d %s", w.Code, w.Body)
	}
}

func TestPublishArrayWholeOrNot(t *testing.T) {
	for body, index := range map[string]int{`[{},{},{"x":1},{}]`: 2, `[1]`: 0, `[{},[{}]]`: 1, `[{},{"data":"` + strings.Repeat("x", 64) + `"}]`: 1} {
		r := newRig()
		w := r.do(request1("POST", eventsPath, body))
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code < 400 || p.Index == nil || *p.Index != index {
			t.Errorf("%s is answered %d %s", body, w.Code, w.Body)
		}
		if len(r.store.events()) != 0 {
			t.Errorf("%s: something is stored", body)
		}
	}
}

func TestMediaType(t *testing.T) {
	for _, tc := range []struct {
		header []string
		ok     bool
	}{
		{[]string{"Content-Type", "application/json; charset=utf-8"}, true},
		{[]string{"Content-Type", "Application/JSON;charset=\"UTF-8\""}, true},
		{[]string{"Content-Encoding", "identity"}, true},
		{[]string{"Content-Type", "application/x-ndjson"}, true},
		{[]string{"Content-Type", "application/json; charset=latin1"}, false},
		{[]string{"Content-Type", "text/plain"}, false},
		{[]string{"Content-Type", "application/x-www-form-urlencoded"}, false},
		{[]string{"Content-Type", "application/json/x"}, false},
		{[]string{"Content-Type", ""}, false},
		{[]string{"Content-Encoding", "gzip"}, false},
	} {
		r := newRig()
		w := r.do(request1("POST", eventsPath, "{}", tc.header...))
		if !tc.ok {
			wantProblem(t, w, 415, codeMediaType)
		} else if w.Code != 200 {
			t.Errorf("%v is answered %d %s", tc.header, w.Code, w.Body)
		}
	}
}

func TestSettingsChange(t *testing.T) {
	r := newRig()
	body := `{"data":"` + strings.Repeat("x", 100) + `"}`
	wantProblem(t, r.do(request1("POST", eventsPath, body)), 413, codeEventTooLarge)
	r.rules.Store(&Rules{Authorizer: r.auth, Channel: limits(200)})
	if w := r.do(request1("POST", eventsPath, body)); w.Code != 200 {
		t.Fatalf("answer is %d %s", w.Code, w.Body)
	}
}

// TestEventsOutliveBuffers: what was stored does not change when the buffers of
// its request serve the next.
func TestEventsOutliveBuffers(t *testing.T) {
	r := newRig()
	for i := range 50 {
		body := fmt.Sprintf(`{"event":"e%02d","id":"i%02d","rooms":["r%02d"],"data":{"n":"%02d"}}`, i, i, i, i)
		if w := r.do(request1("POST", eventsPath, body)); w.Code != 200 {
			t.Fatal(w.Body)
		}
	}
	for i, ev := range r.store.events() {
		got := fmt.Sprintf("%s %s %s %s", ev.Name, ev.ID, ev.Rooms[0], ev.Data)
		if want := fmt.Sprintf(`e%02d i%02d r%02d {"n":"%02d"}`, i, i, i, i); got != want {
			t.Fatalf("event %d is %s", i, got)
		}
	}
}
