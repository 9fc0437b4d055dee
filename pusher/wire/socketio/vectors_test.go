// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package socketio

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// message is a message as the vectors have it: a string, or bytes in Base64.
type message struct {
	text   string
	bytes  []byte
	binary bool
}

func (m *message) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &m.text) == nil {
		return nil
	}
	m.binary = true
	return json.Unmarshal(b, &struct {
		Base64 *[]byte `json:"base64"`
	}{&m.bytes})
}

// vectorPacket is a packet as the vectors have it. Bytes in the data are
// {"$bytes": Base64}. Types are those without attachments.
type vectorPacket struct {
	Type Type     `json:"type"`
	NSP  string   `json:"nsp"`
	ID   *float64 `json:"id"`
	Data any      `json:"data"`
}

// step is what became of one message: a packet, nothing yet, or refusal.
type step struct {
	packet  *vectorPacket
	refused bool
}

func (s *step) UnmarshalJSON(b []byte) error {
	if s.refused = string(b) == `"refused"`; s.refused {
		return nil
	}
	return json.Unmarshal(b, &s.packet)
}

// asVector puts attachments where the placeholders are, as the parser does.
func asVector(t *testing.T, p *Packet) *vectorPacket {
	t.Helper()
	v := &vectorPacket{Type: p.Type, NSP: p.Namespace}
	switch p.Type {
	case BinaryEvent:
		v.Type = Event
	case BinaryAck:
		v.Type = Ack
	}
	if p.HasID {
		id := float64(p.ID) // exact, as it is in the parser
		v.ID = &id
	}
	if p.Data == nil {
		return v
	}
	// A number that is too large becomes null, as infinity does when the vectors are written.
	var tooLarge *json.UnmarshalTypeError
	if err := json.Unmarshal(p.Data, &v.Data); err != nil && !errors.As(err, &tooLarge) {
		t.Fatal(err)
	}
	if p.Type.binary() {
		v.Data = filled(v.Data, p.Attachments)
	}
	return v
}

func filled(v any, attachments [][]byte) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = filled(v[i], attachments)
		}
	case map[string]any:
		if v["_placeholder"] == true {
			return map[string]any{"$bytes": base64.StdEncoding.EncodeToString(attachments[int(v["num"].(float64))])}
		}
		for k := range v {
			v[k] = filled(v[k], attachments)
		}
	}
	return v
}

// Where we are stricter than npm's parser on purpose: what it accepts and we refuse
// must be one of these.
var stricter = []struct {
	why   string
	input *regexp.Regexp
	err   error
}{
	{"the parser reads an empty or blank text as CONNECT, because Number('') is 0", regexp.MustCompile(`^ ?$`), errType},
	{"an event, an ack or an error without a payload says nothing", regexp.MustCompile(`^[2-6]`), errNoPayload},
	{"an ack without an id answers nothing", regexp.MustCompile(`^(3|6\d+-)(/[^,]*,?)?(\[|$)`), errNoID},
	{"other clients cannot hold the id: the parser rounds it", regexp.MustCompile(`\d{16}`), errID},
	{"white space is no digit: the parser reads it as one of an ack id", regexp.MustCompile(`^[0-6](\d+-)?(/[^,]*,)?\d*[ \n\x{a0}]`), errPayload},
	{"a number of attachments has digits only, no sign, blank, fraction or exponent", regexp.MustCompile(`^[56]([^\d-]|\d+[^\d-])[^-]*-`), errCount},
	{"the parser puts undefined where a fraction points to", regexp.MustCompile(`"num":0\.5`), errPlaceholder},
	{"a placeholder within a placeholder; the parser drops it", regexp.MustCompile(`"_placeholder":true,[^}]*"_placeholder":true`), errPlaceholder},
}

// TestVectors compares, message by message, what becomes of what clients say.
// Vectors end where one of the two refuses.
func TestVectors(t *testing.T) {
	file, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Decode []struct {
			Messages []message `json:"messages"`
			Steps    []step    `json:"steps"`
		} `json:"decode"`
	}
	if err := json.Unmarshal(file, &vectors); err != nil {
		t.Fatal(err)
	}
	used := map[string]int{}
	for _, v := range vectors.Decode {
		var d Decoder
		for i, want := range v.Steps {
			m := v.Messages[i]
			decode, data := d.Text, []byte(m.text)
			if m.binary {
				decode, data = d.Binary, m.bytes
			}
			p, done, err := decode(data, limit)
			if want.refused != (err != nil) {
				why := deviation(m.text, err, v.Steps[i:])
				if why == "" {
					t.Errorf("%+v: message %d: error %v; the parser refused: %v", v.Messages, i, err, want.refused)
				}
				used[why]++
				break
			}
			used["same"]++
			var got *vectorPacket
			if done {
				got = asVector(t, &p)
			}
			if want.packet != nil {
				want.packet.NSP, _, _ = strings.Cut(want.packet.NSP, "?") // a query means nothing in this version
			}
			if !reflect.DeepEqual(got, want.packet) {
				t.Errorf("%+v: message %d:\n got %+v\nwant %+v", v.Messages, i, got, want.packet)
			}
		}
	}
	for _, s := range stricter {
		if used[s.why] == 0 {
			t.Errorf("no vector is about this: %s", s.why)
		}
	}
	if used["same"] < 800 {
		t.Errorf("only %d messages were compared", used["same"])
	}
}

const (
	early  = "the parser looks at placeholders when the attachments are there, we do before"
	looser = "a binary packet may have no attachments: parsers before 4.2.7 took such"
)

var noAttachments = regexp.MustCompile(`^[56]0+-`)

// deviation says why we may differ from the parser about a text, if so. The steps
// are the parser's from here on.
func deviation(text string, failed error, steps []step) string {
	if failed == nil {
		if noAttachments.MatchString(text) {
			return looser
		}
		return ""
	}
	for _, s := range stricter {
		if errors.Is(failed, s.err) && s.input.MatchString(text) {
			return s.why
		}
	}
	waiting := 0
	for waiting < len(steps) && steps[waiting].packet == nil && !steps[waiting].refused {
		waiting++
	}
	if errors.Is(failed, errPlaceholder) && (waiting == len(steps) || steps[waiting].refused) {
		return early
	}
	return ""
}

// TestEncodedAsTheParserDoes compares what we send with what npm's parser writes.
func TestEncodedAsTheParserDoes(t *testing.T) {
	file, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Encode []struct {
			Packet struct {
				Type Type            `json:"type"`
				NSP  string          `json:"nsp"`
				ID   uint64          `json:"id"`
				Data json.RawMessage `json:"data"`
			} `json:"packet"`
			Messages []message `json:"messages"`
		} `json:"encode"`
	}
	if err := json.Unmarshal(file, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors.Encode {
		p := v.Packet
		var frames []byte
		switch p.Type {
		case Connect:
			var a struct{ SID, PID string }
			err = json.Unmarshal(p.Data, &a)
			frames = EncodeConnect(p.NSP, a.SID, a.PID)
		case Disconnect:
			frames = EncodeDisconnect(p.NSP)
		case Event:
			var ev wire.Event
			var offset string
			ev, offset, err = eventOf(p.Data)
			frames = EncodeEvent(p.NSP, &ev, offset)
		case Ack:
			var args []any
			err = json.Unmarshal(p.Data, &args)
			frames = EncodeAck(p.NSP, p.ID, args...)
		case ConnectFailed:
			var e ConnectError
			err = json.Unmarshal(p.Data, &e)
			frames = EncodeConnectError(p.NSP, e)
		}
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, m := range v.Messages {
			if m.binary {
				want = append(want, "bytes "+string(m.bytes))
			} else {
				want = append(want, "4"+m.text)
			}
		}
		if got := payloads(t, frames); !reflect.DeepEqual(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
}

func eventOf(data []byte) (ev wire.Event, offset string, err error) {
	var args []json.RawMessage
	if err = json.Unmarshal(data, &args); err != nil {
		return ev, "", err
	}
	if err = json.Unmarshal(args[0], &ev.Name); err != nil {
		return ev, "", err
	}
	ev.Data = args[1]
	var attached struct {
		Bytes *[]byte `json:"$bytes"`
	}
	if json.Unmarshal(args[1], &attached) == nil && attached.Bytes != nil {
		ev.Data, ev.Binary = nil, *attached.Bytes
	}
	if len(args) > 2 {
		err = json.Unmarshal(args[2], &offset)
	}
	return ev, offset, err
}
