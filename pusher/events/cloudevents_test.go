// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	structured = "application/cloudevents+json"
	batched    = "application/cloudevents-batch+json"
)

// ce is a structured CloudEvent with the required attributes and more members.
func ce(more string) string {
	s := `{"specversion":"1.0","id":"1","source":"/s","type":"t"`
	if more != "" {
		s += "," + more
	}
	return s + "}"
}

// binaryCE is a CloudEvent with the required attributes in headers, and more of
// these; an empty one is taken out.
func binaryCE(path, body string, header ...string) *http.Request {
	req := request1("POST", path, body, append([]string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t"}, header...)...)
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	return req
}

// wantAccepted checks an answer to CloudEvents.
func wantAccepted(t *testing.T, w *httptest.ResponseRecorder, offset string) {
	t.Helper()
	if w.Code != http.StatusAccepted || w.Body.Len() != 0 || w.Header().Get("Klaxon-Offset") != offset {
		t.Fatalf("answer is %d %v %s, want 202 with offset %q", w.Code, w.Header(), w.Body, offset)
	}
}

func TestStructuredCloudEvents(t *testing.T) {
	r128 := strings.Repeat("r", 128)
	sum := func(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }
	for name, tc := range map[string]struct {
		body string
		want wire.Event
	}{
		"least":                  {ce(``), wire.Event{Data: null}},
		"JSON":                   {ce(`"data": {"n": [1, 2]}`), wire.Event{Data: []byte(`{"n":[1,2]}`)}},
		"JSON by its type":       {ce(`"data":"x","datacontenttype":"application/json; charset=utf-8"`), wire.Event{Data: []byte(`"x"`)}},
		"JSON by its suffix":     {ce(`"datacontenttype":"application/geo+json","data":[1]`), wire.Event{Data: []byte(`[1]`)}},
		"null":                   {ce(`"data":null,"data_base64":null,"subject":null`), wire.Event{Data: null}},
		"text":                   {ce(`"datacontenttype":"text/plain; charset=latin1","data":"a\u00e4"`), wire.Event{Data: []byte(`"a\u00e4"`)}},
		"XML":                    {ce(`"datacontenttype":"application/xml","data":"<a\/>"`), wire.Event{Binary: []byte(`<a/>`)}},
		"XML that is no string":  {ce(`"datacontenttype":"application/xml","data":{"a":1}`), wire.Event{Data: []byte(`{"a":1}`)}},
		"bytes":                  {ce(`"data_base64":"AAH/"`), wire.Event{Binary: []byte{0, 1, 255}}},
		"no bytes":               {ce(`"data_base64":""`), wire.Event{Binary: []byte{}}},
		"bytes that are JSON":    {ce(`"datacontenttype":"application/json","data_base64":"eyAiYSI6IDEgfQ=="`), wire.Event{Data: []byte(`{"a":1}`)}},
		"bytes that are text":    {ce(`"datacontenttype":"text/html","data_base64":"PGI+"`), wire.Event{Data: []byte(`"<b>"`)}},
		"subject":                {ce(`"subject":"order:42"`), wire.Event{Data: null, Rooms: []string{"order:42"}}},
		"longest subject":        {ce(`"subject":"` + r128 + `"`), wire.Event{Data: null, Rooms: []string{r128}}},
		"room":                   {ce(`"subject":"x","klaxonroom":"r"`), wire.Event{Data: null, Rooms: []string{"r"}}},
		"user":                   {ce(`"subject":"x","klaxonuser":"ann"`), wire.Event{Data: null, Users: []string{"ann"}}},
		"all":                    {ce(`"klaxonroom":"r","klaxonuser":"u","klaxonsession":"s"`), wire.Event{Data: null, Rooms: []string{"r"}, Users: []string{"u"}, Sessions: []string{"s"}}},
		"subject of no interest": {ce(`"klaxonuser":"u","subject":"` + r128 + `r"`), wire.Event{Data: null, Users: []string{"u"}}},
		"extensions":             {ce(`"time":"2026-01-01T00:00:00Z","n":1,"b":true,"traceparent":"00-x"`), wire.Event{Data: null}},
		"order of members":       {`{"data":"x","datacontenttype":"application/x","type":"t","source":"/s","id":"1","specversion":"1.0"}`, wire.Event{Binary: []byte("x")}},
		"longest id":             {strings.Replace(ce(``), `"1"`, `"`+strings.Repeat("i", 125)+`"`, 1), wire.Event{ID: "/s " + strings.Repeat("i", 125), Data: null}},
		"id that does not fit":   {strings.Replace(ce(``), `"1"`, `"`+strings.Repeat("i", 126)+`"`, 1), wire.Event{ID: sum("/s " + strings.Repeat("i", 126)), Data: null}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			wantAccepted(t, r.do(request1("POST", eventsPath, tc.body, "Content-Type", structured)), "e.1")
			tc.want.Name = "t"
			if tc.want.ID == "" {
				tc.want.ID = "/s 1"
			}
			if got := r.store.events(); len(got) != 1 || !reflect.DeepEqual(*got[0], tc.want) {
				t.Fatalf("stored %+v, want %+v", *got[0], tc.want)
			}
		})
	}
}

func TestBinaryCloudEvents(t *testing.T) {
	for name, tc := range map[string]struct {
		body   string
		header []string
		want   wire.Event
	}{
		"least":             {``, []string{"Content-Type", ""}, wire.Event{Data: null}},
		"JSON":              {"{\n \"n\": 1 }", nil, wire.Event{Data: []byte(`{"n":1}`)}},
		"JSON, no type":     {` 1`, []string{"Content-Type", ""}, wire.Event{Data: []byte(`1`)}},
		"JSON by suffix":    {`[ ]`, []string{"Content-Type", "application/a+json"}, wire.Event{Data: []byte(`[]`)}},
		"lines of JSON":     {"1\n2", []string{"Content-Type", "application/x-ndjson"}, wire.Event{Binary: []byte("1\n2")}},
		"text":              {"a\n\"ä<", []string{"Content-Type", "text/plain"}, wire.Event{Data: []byte(`"a\n\"ä<"`)}},
		"no text":           {"", []string{"Content-Type", "text/plain; charset=UTF-8"}, wire.Event{Data: []byte(`""`)}},
		"bytes":             {"\x00\xff", []string{"Content-Type", "application/octet-stream"}, wire.Event{Binary: []byte{0, 255}}},
		"bytes and charset": {"<a/>", []string{"Content-Type", "application/xml; charset=latin1"}, wire.Event{Binary: []byte("<a/>")}},
		"percent-encoding":  {`1`, []string{"Ce-Subject", "Euro%20%E2%82%AC%20%f0%9f%98%80"}, wire.Event{Data: []byte(`1`), Rooms: []string{"Euro € 😀"}}},
		"decoded once":      {`1`, []string{"Ce-Subject", "%2541"}, wire.Event{Data: []byte(`1`), Rooms: []string{"%41"}}},
		"nothing encoded":   {`1`, []string{"Ce-Subject", "100%, %4, %zz"}, wire.Event{Data: []byte(`1`), Rooms: []string{"100%, %4, %zz"}}},
		"quotes":            {`1`, []string{"Ce-Subject", `"a \"b\\%41"`}, wire.Event{Data: []byte(`1`), Rooms: []string{`a "b\A`}}},
		"plain UTF-8":       {`1`, []string{"Ce-Subject", "ä"}, wire.Event{Data: []byte(`1`), Rooms: []string{"ä"}}},
		"room":              {`1`, []string{"Ce-Klaxonroom", "r", "Ce-Subject", "x"}, wire.Event{Data: []byte(`1`), Rooms: []string{"r"}}},
		"user and session":  {`1`, []string{"Ce-Klaxonuser", "u", "Ce-Klaxonsession", "s"}, wire.Event{Data: []byte(`1`), Users: []string{"u"}, Sessions: []string{"s"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			wantAccepted(t, r.do(binaryCE(eventsPath, tc.body, tc.header...)), "e.1")
			tc.want.Name, tc.want.ID = "t", "/s 1"
			if got := r.store.events(); len(got) != 1 || !reflect.DeepEqual(*got[0], tc.want) {
				t.Fatalf("stored %+v, want %+v", *got[0], tc.want)
			}
		})
	}
}

func TestCloudEventsRefused(t *testing.T) {
	without := func(member string) string { return strings.Replace(ce(""), member, "", 1) }
	long := strings.Repeat("x", 129)
	for name, tc := range map[string]struct {
		body   string
		status int
		code   string
		detail string
	}{
		"nothing":            {``, 400, codeMalformed, "not JSON"},
		"an array":           {`[]`, 400, codeInvalidEvent, "JSON object"},
		"no specversion":     {without(`"specversion":"1.0",`), 400, codeInvalidEvent, "specversion: is missing"},
		"no id":              {without(`"id":"1",`), 400, codeInvalidEvent, "id: is missing"},
		"no source":          {without(`"source":"/s",`), 400, codeInvalidEvent, "source: is missing"},
		"no type":            {without(`,"type":"t"`), 400, codeInvalidEvent, "type: is missing"},
		"null for a type":    {strings.Replace(ce(""), `"t"`, `null`, 1), 400, codeInvalidEvent, "type: is missing"},
		"another version":    {strings.Replace(ce(""), `1.0`, `0.3`, 1), 400, codeInvalidEvent, "specversion: only 1.0"},
		"version's number":   {strings.Replace(ce(""), `"1.0"`, `1.0`, 1), 400, codeInvalidEvent, "specversion: must be a string"},
		"empty id":           {strings.Replace(ce(""), `"1"`, `""`, 1), 400, codeInvalidEvent, "id: is empty"},
		"id with a newline":  {strings.Replace(ce(""), `"1"`, `"1\n"`, 1), 400, codeInvalidEvent, "id: has a control character"},
		"source with spaces": {strings.Replace(ce(""), `/s`, `/s 1`, 1), 400, codeInvalidEvent, "source: has a space"},
		"type twice":         {ce(`"type":"t"`), 400, codeInvalidEvent, "type: comes twice"},
		"long type":          {strings.Replace(ce(""), `"t"`, `"`+long+`"`, 1), 400, codeInvalidEvent, "type: has 129 bytes"},
		"Klaxon's type":      {strings.Replace(ce(""), `"t"`, `"klaxon.x"`, 1), 400, codeInvalidEvent, "type: names that begin"},
		"Socket.IO's type":   {strings.Replace(ce(""), `"t"`, `"connect"`, 1), 400, codeInvalidEvent, `keep the name "connect"`},
		"empty subject":      {ce(`"subject":""`), 400, codeInvalidEvent, "subject: is empty"},
		"long subject":       {ce(`"subject":"` + long + `"`), 400, codeInvalidEvent, "cloudEvents.room"},
		"long room":          {ce(`"klaxonroom":"` + long + `"`), 400, codeInvalidEvent, "klaxonroom: has 129 bytes"},
		"long user":          {ce(`"klaxonuser":"` + long + long + `"`), 400, codeInvalidEvent, "klaxonuser: has 258 bytes"},
		"long session":       {ce(`"klaxonsession":"` + long + `"`), 400, codeInvalidEvent, "klaxonsession: has 129 bytes"},
		"user is a number":   {ce(`"klaxonuser":1`), 400, codeInvalidEvent, "klaxonuser: must be a string"},
		"other case":         {ce(`"Subject":"x"`), 400, codeInvalidEvent, `"Subject" is no name`},
		"an object":          {ce(`"ext":{}`), 400, codeInvalidEvent, "ext: an attribute is"},
		"both kinds of data": {ce(`"data":1,"data_base64":"AA=="`), 400, codeInvalidEvent, "exclude each other"},
		"bad base64":         {ce(`"data_base64":"AA"`), 400, codeInvalidEvent, "data_base64: is not base64"},
		"base64 is a number": {ce(`"data_base64":1`), 400, codeInvalidEvent, "data_base64: is not base64"},
		"bad media type":     {ce(`"data":1,"datacontenttype":"a b"`), 400, codeInvalidEvent, "datacontenttype:"},
		"base64 is no JSON":  {ce(`"datacontenttype":"application/json","data_base64":"AA=="`), 400, codeMalformed, "unless its media type"},
		"base64 is no text":  {ce(`"datacontenttype":"text/plain","data_base64":"/w=="`), 400, codeMalformed, "UTF-8"},
		"text of old":        {ce(`"datacontenttype":"text/plain;charset=latin1","data_base64":"AA=="`), 415, codeMediaType, "UTF-8 only"},
		"large":              {ce(`"data":"` + strings.Repeat("x", 63) + `"`), 413, codeEventTooLarge, "65 bytes"},
		"large bytes":        {ce(`"data_base64":"` + base64.StdEncoding.EncodeToString(make([]byte, 65)) + `"`), 413, codeEventTooLarge, "65 bytes"},
		"large string":       {ce(`"datacontenttype":"a/b","data":"` + strings.Repeat("x", 65) + `"`), 413, codeEventTooLarge, "65 bytes"},
		"large body":         {ce(strings.Repeat(" ", 513<<10) + `"data":1`), 413, codeEventTooLarge, "may need"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			p := wantProblem(t, r.do(request1("POST", eventsPath, tc.body, "Content-Type", structured)), tc.status, tc.code)
			if !strings.Contains(p.Detail, tc.detail) || len(r.store.events()) != 0 {
				t.Fatalf("detail is %q, want %q in it; %d are stored", p.Detail, tc.detail, len(r.store.events()))
			}
		})
	}
}

func TestBinaryCloudEventsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		body   string
		header []string
		status int
		code   string
		detail string
	}{
		"no specversion":   {`1`, []string{"Ce-Specversion", ""}, 400, codeInvalidEvent, "specversion: is missing"},
		"no id":            {`1`, []string{"Ce-Id", ""}, 400, codeInvalidEvent, "id: is missing"},
		"no type":          {`1`, []string{"Ce-Type", ""}, 400, codeInvalidEvent, "type: is missing"},
		"not UTF-8":        {`1`, []string{"Ce-Subject", "%C0%A0"}, 400, codeInvalidEvent, "subject: is not UTF-8"},
		"a newline":        {`1`, []string{"Ce-Subject", "a%0Ab"}, 400, codeInvalidEvent, "subject: has a control character"},
		"an encoded space": {`1`, []string{"Ce-Source", "/s%201"}, 400, codeInvalidEvent, "source: has a space"},
		"no JSON":          {`x`, nil, 400, codeMalformed, "unless its media type says otherwise"},
		"no JSON, no type": {`x`, []string{"Content-Type", ""}, 400, codeMalformed, "unless its media type says otherwise"},
		"text of old":      {`x`, []string{"Content-Type", "text/plain; charset=latin1"}, 415, codeMediaType, "UTF-8 only"},
		"bad type":         {`x`, []string{"Content-Type", "a b"}, 400, codeInvalidEvent, "Content-Type:"},
		"encoded":          {`1`, []string{"Content-Encoding", "gzip"}, 415, codeMediaType, "not encoded"},
		"another format":   {`1`, []string{"Content-Type", "application/cloudevents+avro"}, 415, codeMediaType, "cloudevents+json"},
		"large":            {strings.Repeat("x", 65), []string{"Content-Type", "a/b"}, 413, codeEventTooLarge, "65 bytes"},
		"large body":       {`1` + strings.Repeat(" ", 513<<10), nil, 413, codeEventTooLarge, "may need"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			p := wantProblem(t, r.do(binaryCE(eventsPath, tc.body, tc.header...)), tc.status, tc.code)
			if !strings.Contains(p.Detail, tc.detail) || len(r.store.events()) != 0 {
				t.Fatalf("detail is %q, want %q in it; %d are stored", p.Detail, tc.detail, len(r.store.events()))
			}
		})
	}
	r := newRig()
	req := binaryCE(eventsPath, `1`)
	req.Header.Add("Ce-Id", "2")
	if p := wantProblem(t, r.do(req), 400, codeInvalidEvent); p.Detail != "id: comes twice" {
		t.Fatal(p.Detail)
	}
}

// TestStructuredModeWithHeaders: a sender may repeat attributes in headers, and what
// counts is the body.
func TestStructuredModeWithHeaders(t *testing.T) {
	r := newRig()
	wantAccepted(t, r.do(binaryCE(eventsPath, ce(`"data":1`), "Content-Type", "Application/CloudEvents+json; charset=utf-8", "Ce-Id", "other")), "e.1")
	if got := r.store.events(); len(got) != 1 || got[0].ID != "/s 1" || string(got[0].Data) != "1" {
		t.Fatalf("stored %+v", *got[0])
	}
}

func TestSubjectIsNoRoom(t *testing.T) {
	r := newRig()
	const path = "/v1/channels/flat/events"
	wantAccepted(t, r.do(binaryCE(path, `1`, "Ce-Subject", strings.Repeat("s", 1000))), "e.1")
	wantAccepted(t, r.do(binaryCE(path, `1`, "Ce-Subject", "s", "Ce-Klaxonroom", "r", "Ce-Id", "2")), "e.2")
	if got := r.store.events(); !got[0].Broadcast() || !reflect.DeepEqual(got[1].Rooms, []string{"r"}) {
		t.Fatalf("stored %+v, %+v", *got[0], *got[1])
	}
}

func TestCloudEventsBatch(t *testing.T) {
	r := newRig()
	other := strings.Replace(ce(`"data":1`), "/s", "/other", 1)
	wantAccepted(t, r.do(request1("POST", eventsPath, "["+ce("")+","+other+"]", "Content-Type", batched)), "e.2")
	if len(r.store.batches) != 1 || len(r.store.batches[0]) != 2 || r.store.batches[0][1].ID != "/other 1" {
		t.Fatalf("stored as %v", r.store.batches)
	}
	// Sent again it is known, by source and id.
	wantAccepted(t, r.do(request1("POST", eventsPath, "["+other+"]", "Content-Type", batched)), "e.2")
	wantAccepted(t, r.do(request1("POST", eventsPath, "[]", "Content-Type", batched)), "")

	r = newRig()
	p := wantProblem(t, r.do(request1("POST", eventsPath, "["+ce("")+`,{"id":"x"}]`, "Content-Type", batched)), 400, codeInvalidEvent)
	if p.Index == nil || *p.Index != 1 || len(r.store.events()) != 0 {
		t.Fatalf("problem is %+v, %d are stored", p, len(r.store.events()))
	}
	wantProblem(t, r.do(request1("POST", eventsPath, ce(""), "Content-Type", batched)), 400, codeInvalidEvent)
	wantProblem(t, r.do(request1("POST", eventsPath, "["+ce("")+strings.Repeat(","+ce(""), 1000)+"]", "Content-Type", batched)), 413, codeTooManyEvents)
}

// TestCloudEventsOutliveBuffers: what was stored does not change when the buffers of
// its request serve the next.
func TestCloudEventsOutliveBuffers(t *testing.T) {
	r := newRig()
	for i := range 30 {
		data := fmt.Sprintf(`{"n":"%02d"}`, i)
		r.do(binaryCE(eventsPath, data, "Ce-Id", fmt.Sprint(i)))
		r.do(binaryCE(eventsPath, data, "Ce-Id", fmt.Sprint(i), "Content-Type", "a/b"))
		r.do(request1("POST", eventsPath, ce(`"subject":"r","data":`+data), "Content-Type", structured))
	}
	for i, ev := range r.store.events() {
		if got, want := string(ev.Data)+string(ev.Binary), fmt.Sprintf(`{"n":"%02d"}`, i/3); got != want {
			t.Fatalf("event %d is %s, want %s", i, got, want)
		}
	}
}

func TestReached(t *testing.T) {
	for _, tc := range []struct {
		query, contentType, body string
		want                     string // what the answer says of it
	}{
		{"?reached=true", "application/json", `{"rooms":["a"]}`, `"reached":16`},
		{"?reached=1", structured, ce(`"subject":"a"`), `16`},
		{"?reached=true", structured, ce(""), `6`},
		{"?reached=false", "application/json", `{}`, ""},
		{"?other=true", "application/json", `{}`, ""},
		{"", structured, ce(""), ""},
	} {
		for _, partial := range []bool{false, true} {
			r := newRig()
			r.sessions.partial = partial
			w := r.do(request1("POST", eventsPath+tc.query, tc.body, "Content-Type", tc.contentType))
			got := w.Header().Get("Klaxon-Reached") + strings.Replace(w.Header().Get("Klaxon-Partial"), "true", ` partial`, 1)
			if tc.contentType == "application/json" {
				_, got, _ = strings.Cut(strings.TrimSuffix(w.Body.String(), "}\n"), `"duplicate":false`)
				got = strings.Replace(strings.TrimPrefix(got, ","), `,"partial":true`, " partial", 1)
				if !json.Valid(w.Body.Bytes()) {
					t.Errorf("answer is %s", w.Body)
				}
			}
			want := tc.want
			if partial && want != "" {
				want += " partial"
			}
			if got != want || w.Code >= 300 {
				t.Errorf("%s %s: %d says %q, want %q", tc.query, tc.body, w.Code, got, want)
			}
		}
	}
	for contentType, body := range map[string]string{"application/json": "[{}]", batched: "[]", "application/x-ndjson": "{}"} {
		r := newRig()
		wantProblem(t, r.do(request1("POST", eventsPath+"?reached=true", body, "Content-Type", contentType)), 400, codeInvalidQuery)
		wantProblem(t, r.do(request1("POST", eventsPath+"?reached=maybe", body, "Content-Type", contentType)), 400, codeInvalidQuery)
		if len(r.store.events()) != 0 {
			t.Errorf("%s: something is stored", contentType)
		}
	}
}

// TestAnonymous: who shows no token may publish where that is allowed, and do
// nothing else there.
func TestAnonymous(t *testing.T) {
	for _, tc := range []struct {
		method, path, token string
		status              int
		header              []string
	}{
		{"POST", "/v1/channels/anonymous/events", "", 200, nil},
		{"POST", "/v1/channels/anonymous/events", "Bearer good", 200, nil},
		{"POST", "/v1/channels/anonymous/events", "Bearer token_expired", 401, nil},
		{"POST", "/v1/channels/orders/events", "", 401, nil},
		{"POST", "/v1/channels/nosuch/events", "", 404, nil}, // gone since
		{"POST", "/v1/channels/anonymous/events", "", 401, []string{"Origin", "https://page"}},
		{"GET", "/v1/channels/anonymous/events", "", 401, nil},
		{"GET", "/v1/channels/anonymous/sessions", "", 401, nil},
		{"GET", "/v1/channels/anonymous/presence", "", 401, nil},
		{"DELETE", "/v1/channels/anonymous/sessions/s1", "", 401, nil},
		{"POST", "/v1/channels/anonymous/sessions/s1/rooms", "", 401, nil},
	} {
		r := newRig()
		w := r.do(request1(tc.method, tc.path, `{}`, append([]string{"Authorization", tc.token}, tc.header...)...))
		if w.Code != tc.status || len(r.sessions.ended) > 0 {
			t.Errorf("%s %s with %q: %d %s, want %d", tc.method, tc.path, tc.token, w.Code, w.Body, tc.status)
		}
	}
}

func TestWebHookHandshake(t *testing.T) {
	for path, ok := range map[string]bool{
		eventsPath: true, "/v1/channels/nosuch/events": true, "/v1/channels/orders/sessions": false, "/v1/channels/orders/events/x": false,
	} {
		r := newRig()
		w := r.do(request1("OPTIONS", path, "", "Authorization", "", "WebHook-Request-Origin", "sender.example.com", "WebHook-Request-Rate", "120"))
		if !ok {
			if h := w.Header(); w.Code < 400 || h.Get("WebHook-Allowed-Origin") != "" {
				t.Errorf("%s: %d %v", path, w.Code, h)
			}
			continue
		}
		if h := w.Header(); w.Code != 200 || w.Body.Len() != 0 || h.Get("WebHook-Allowed-Origin") != "sender.example.com" ||
			h.Get("WebHook-Allowed-Rate") != "*" || !strings.Contains(h.Get("Allow"), "POST") {
			t.Errorf("%s: %d %v %s", path, w.Code, h, w.Body)
		}
	}
	// A browser's question is another, and gets no answer.
	wantProblem(t, newRig().do(request1("OPTIONS", eventsPath, "", "Origin", "https://x", "Access-Control-Request-Method", "POST")), 405, codeMethod)
}
