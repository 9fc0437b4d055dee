// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// FuzzCloudEvent: whatever a structured CloudEvent is, it is taken with what
// encoding/json reads in it, or refused with a problem.
func FuzzCloudEvent(f *testing.F) {
	for _, s := range append([]string{
		ce(`"data":{"a":[1,"}"]},"subject":"s","klaxonroom":"r"`), ce(`"data_base64":"AAH/","datacontenttype":"text/plain"`),
		ce(`"datacontenttype":"application/xml","data":"<a/>"`), ce(`"Subject":1`), ce(`"ext":{}`), ce(`"id":null`), `{"id":"\ud800"}`,
	}, seeds...) {
		f.Add([]byte(s))
	}
	req := &request{settings: limits(1000)("orders")}
	f.Fuzz(func(t *testing.T, body []byte) {
		var b buffers
		b.body.Write(body)
		events, p := decodeStructured(&b, nil, req)
		if p != nil {
			if p.Status < 400 || p.Code == "" || !json.Valid(p.json()) {
				t.Fatalf("%q is refused with %+v", body, p)
			}
			return
		}
		var want struct{ SpecVersion, ID, Source, Type string }
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q is taken: %v", body, err)
		}
		ev := events[0]
		checkTaken(t, ev)
		both := want.Source + " " + want.ID
		if want.SpecVersion != "1.0" || ev.Name != want.Type || len(both) <= wire.MaxEventID && ev.ID != both {
			t.Fatalf("%q is taken as %+v", body, ev)
		}
	})
}

// checkTaken checks what holds for every event.
func checkTaken(t *testing.T, ev *wire.Event) {
	t.Helper()
	for _, s := range []string{ev.Name, ev.ID} {
		if s == "" || len(s) > 128 || hasControl(s) || !utf8.ValidString(s) {
			t.Fatalf("name and id are %q %q", ev.Name, ev.ID)
		}
	}
	for _, room := range ev.Rooms {
		if err := wire.CheckRoom(room); err != nil {
			t.Fatal(err)
		}
	}
	if (ev.Data == nil) == (ev.Binary == nil) || ev.Size() > 1000 || ev.Data != nil && !json.Valid(ev.Data) {
		t.Fatalf("data is %q and %q", ev.Data, ev.Binary)
	}
}

// FuzzCloudEventModes: an event is the same in all modes.
func FuzzCloudEventModes(f *testing.F) {
	f.Add("/s", "1", "t", "order:42", "application/json", []byte(`{"a":1}`))
	f.Add("/s", "€ %41 \"", "t", "100%", "text/plain; charset=utf-8", []byte("a\n<ä>"))
	f.Add("urn:x", `"1"`, "a.b", "", "application/x", []byte{0, 255})
	f.Add("s", `\`, "t", "\\\"", "", []byte(`"x"`))
	f.Add("s", "1", "t", "s", "text/plain; charset=latin1", []byte("x"))
	ch := limits(1000)("orders")
	f.Fuzz(func(t *testing.T, source, id, name, subject, contentType string, data []byte) {
		attributes := map[string]string{"specversion": "1.0", "id": id, "source": source, "type": name, "subject": subject}
		h, members := http.Header{}, map[string]any{}
		for k, v := range attributes {
			if !utf8.ValidString(v) {
				return
			}
			if v != "" {
				h.Set("Ce-"+k, strings.ReplaceAll(url.PathEscape(v), "\"", "%22"))
				members[k] = v
			}
		}
		if contentType != "" {
			if !utf8.ValidString(contentType) || hasControl(contentType) {
				return
			}
			h.Set("Content-Type", contentType)
			members["datacontenttype"] = contentType
		}
		inHeaders, p1 := decodeHeaders(h, data, ch)
		if contentType == "" && len(data) > 0 && json.Valid(data) && utf8.Valid(data) {
			members["data"] = json.RawMessage(data)
		} else if contentType != "" && len(data) > 0 {
			members["data_base64"] = base64.StdEncoding.EncodeToString(data)
		} else {
			return // the JSON format has nothing of the kind
		}
		doc, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		inBody, p2 := decodeCloudEvent(doc, ch)
		if p1 != nil || p2 != nil {
			if (p1 == nil) != (p2 == nil) || p1.Status != p2.Status || p1.Code != p2.Code {
				t.Fatalf("headers %v are refused with %+v, %s with %+v", h, p1, doc, p2)
			}
			return
		}
		checkTaken(t, inHeaders)
		inHeaders.Data, inBody.Data = plainJSON(inHeaders.Data), plainJSON(inBody.Data)
		if !reflect.DeepEqual(inHeaders, inBody) {
			t.Fatalf("headers %v give %+v, %s gives %+v", h, inHeaders, doc, inBody)
		}
		if _, _, err := mime.ParseMediaType(contentType); err != nil && contentType != "" {
			t.Fatalf("the type %q is taken", contentType)
		}
	})
}

// plainJSON escapes what json.Marshal escapes, which is how a value's bytes may differ
// that is the same.
func plainJSON(b json.RawMessage) json.RawMessage {
	if b == nil {
		return nil
	}
	var out bytes.Buffer
	json.HTMLEscape(&out, b)
	return out.Bytes()
}

// FuzzHeader compares with net/url, where that decodes at all.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{"", "%", "%4", "%zz", "a%20b", "%C0%A0", `"a\"%41"`, `"`, `"\`, "ä"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := decodeHeader(s)
		if ok != utf8.ValidString(got) {
			t.Fatalf("%q gives %q, %v", s, got, ok)
		}
		if want, err := url.PathUnescape(s); err == nil && !strings.HasPrefix(s, `"`) && got != want {
			t.Fatalf("%q gives %q, want %q", s, got, want)
		}
		if got, _ := decodeHeader(fmt.Sprintf(`"%s"`, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%25").Replace(s))); got != s {
			t.Fatalf("%q in quotes gives %q", s, got)
		}
	})
}
