// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func TestDecode(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":"join","rooms":["a","b"],"ref":1}`: "",
		`{"type":"leave","rooms":["a"]}`:            "",
		`{"type":"auth","token":"x"}`:               "",
		`{"type":"ping","ref":"abc"}`:               "",
		`{"type":"watch"}`:                          "",
		`{"type":"unwatch","rooms":["a"]}`:          "",
		`{"type":"publish","event":"x"}`:            "",
		`{"type":"publish","rooms":["a"]}`:          `publish needs an event, and takes at most 100 rooms, for example {"type":"publish","event":"typing","rooms":["order:42"],"data":true}`,
		`{"type":"publish","event":"x","rooms":["` + strings.Repeat(`a","`, 100) + `z"]}`: `publish needs an event, and takes at most 100 rooms, for example {"type":"publish","event":"typing","rooms":["order:42"],"data":true}`,
		`{"type":"publish","event":"x","dataBase64":"AA=="}`:                              "bytes cannot be published: send JSON as data",
		`{"type":"publish","event":"x","rooms":[""]}`:                                     "a room's name has 1 to 128 bytes of UTF-8",
		`{"type":"publish","event":"klaxon.x"}`:                                           `names that begin with "klaxon." are Klaxon's own`,
		``:                                                                                "not a message of klaxon.v1.json: incomplete JSON",
		`{`:                                                                               "not a message of klaxon.v1.json: incomplete JSON",
		`[]`:                                                                              "not a message of klaxon.v1.json: expected an object, got array",
		`{"type":1}`:                                                                      "not a message of klaxon.v1.json: type cannot be number",
		`{"type":"ping"} {}`:                                                              "send one JSON object in a message",
		`{"typ":"ping"}`:                                                                  `not a message of klaxon.v1.json: unknown field "typ"`,
		`{}`:                                                                              "type is missing: use join, leave, watch, unwatch, emit, publish, ack, auth or ping",
		`{"type":"shout"}`:                                                                `type "shout" is not known: use join, leave, watch, unwatch, emit, publish, ack, auth or ping`,
		`{"type":"join"}`:                                                                 `join needs rooms, for example {"type":"join","rooms":["order:42"]}`,
		`{"type":"join","rooms":[""]}`:                                                    "a room's name has 1 to 128 bytes of UTF-8",
		`{"type":"auth"}`:                                                                 "auth needs a token",
		`{"type":"ping","ref":"` + strings.Repeat("x", 80) + `"}`:          "ref is at most 64 bytes of JSON",
		`{"type":"join","rooms":["` + strings.Repeat(`a","`, 100) + `z"]}`: "join takes at most 100 rooms",
		`{"type":"join","rooms":["` + strings.Repeat("x", 129) + `"]}`:     "a room's name has 1 to 128 bytes of UTF-8",
		`{"type":"` + strings.Repeat("x", 100) + `"}`:                      `type "` + strings.Repeat("x", 32) + `" is not known: use join, leave, watch, unwatch, emit, publish, ack, auth or ping`,
	} {
		_, err := Decode([]byte(in))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.60s\n got %q\nwant %q", in, got, want)
		}
	}
}

func payload(t *testing.T, frame []byte) string {
	t.Helper()
	f, err := ws.ReadFrame(bytes.NewReader(frame))
	if err != nil || f.Header.OpCode != ws.OpText {
		t.Fatalf("frame %x: %v, error %v", frame, f.Header, err)
	}
	return string(f.Payload)
}

func TestTranscript(t *testing.T) {
	pos := wire.Position{Epoch: "k3x9f2", Seq: 41}
	for name, tc := range map[string]struct {
		frame []byte
		want  string
	}{
		"welcome": {
			EncodeWelcome(Welcome{Session: "S", Channel: "orders", Rooms: []string{}, Offset: pos.String(), Heartbeat: 25000}),
			`{"type":"welcome","session":"S","channel":"orders","rooms":[],"offset":"k3x9f2.41","heartbeat":25000}`,
		},
		"event": {
			EncodeEvent(&wire.Event{ID: "1", Name: "created", Data: json.RawMessage(`{"a":[1,null]}`)}, pos),
			`{"type":"event","event":"created","id":"1","offset":"k3x9f2.41","data":{"a":[1,null]}}`,
		},
		"event with odd names": {
			EncodeEvent(&wire.Event{ID: "\"\\", Name: "ä\n", Data: json.RawMessage(`1`)}, pos),
			`{"type":"event","event":"ä\n","id":"\"\\","offset":"k3x9f2.41","data":1}`,
		},
		"binary event": {
			EncodeEvent(&wire.Event{ID: "1", Name: "b", Binary: []byte{0, 255}}, pos),
			`{"type":"event","event":"b","id":"1","offset":"k3x9f2.41","dataBase64":"AP8="}`,
		},
		"empty binary event": {
			EncodeEvent(&wire.Event{ID: "1", Name: "b", Binary: []byte{}}, pos),
			`{"type":"event","event":"b","id":"1","offset":"k3x9f2.41","dataBase64":""}`,
		},
		"joined": {
			EncodeAnswer(Answer{Type: "joined", Ref: json.RawMessage(`7`), Rooms: []string{"a"}, Offset: "e.1"}),
			`{"type":"joined","ref":7,"rooms":["a"],"offset":"e.1"}`,
		},
		"error": {EncodeFailure(Failure{Code: CodeForbidden, Message: "no"}), `{"type":"error","code":"forbidden","message":"no"}`},
		"presence": {
			EncodePresence(wire.Presence{Room: "a", Users: []wire.PresenceUser{{User: "ann", Sessions: 2}}, PresenceTotals: wire.PresenceTotals{Users: 1, Sessions: 3}}),
			`{"type":"presence","room":"a","users":[{"user":"ann","sessions":2}],"userCount":1,"sessionCount":3}`,
		},
		"a change of presence": {
			EncodePresenceChange(wire.PresenceChange{Joined: []string{"bob"}, PresenceTotals: wire.PresenceTotals{Users: 2, Sessions: 4}}),
			`{"type":"presence","joined":["bob"],"userCount":2,"sessionCount":4}`,
		},
		"gap": {EncodeGap(3), `{"type":"gap","dropped":3}`},
		"goodbye": {
			EncodeGoodbye(1500*time.Millisecond, false),
			`{"type":"reconnect","after":1500,"recovered":false}`,
		},
	} {
		if got := payload(t, tc.frame); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tc.want)
		}
	}
}

// FuzzEncodeEvent checks that every event comes out as the JSON that went in.
func FuzzEncodeEvent(f *testing.F) {
	f.Add("id", "name", `{"a":1}`)
	f.Add("\x00", "\"", `"\u0000"`)
	f.Fuzz(func(t *testing.T, id, name, data string) {
		if !json.Valid([]byte(data)) {
			return
		}
		var got struct {
			ID, Event string
			Data      json.RawMessage
		}
		if err := json.Unmarshal([]byte(payload(t, EncodeEvent(&wire.Event{ID: id, Name: name, Data: json.RawMessage(data)}, wire.Position{Epoch: "e"}))), &got); err != nil {
			t.Fatal(err)
		}
		if got.ID != strings.ToValidUTF8(id, "\ufffd") && !strings.Contains(got.ID, "\ufffd") {
			t.Fatalf("id %q came out as %q", id, got.ID)
		}
	})
}

// FuzzDecode checks that no message makes the decoder panic, and that what it
// accepts is within bounds.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"join","rooms":["a"],"ref":{"a":1}}`))
	f.Fuzz(func(t *testing.T, msg []byte) {
		r, err := Decode(msg)
		if err == nil && (len(r.Rooms) > wire.MaxRooms || len(r.Ref) > maxRef) {
			t.Fatalf("%q was accepted as %+v", msg, r)
		}
	})
}

// BenchmarkEncodeEvent is paid once for each event, however many clients get it.
func BenchmarkEncodeEvent(b *testing.B) {
	for _, size := range []int{128, 1 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ev := &wire.Event{ID: "0123456789abcdef", Name: "created", Data: json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`)}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				EncodeEvent(ev, wire.Position{Epoch: "k3x9f2", Seq: 1 << 20})
			}
		})
	}
}
