// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// payloads returns what a server's frames carry; binary ones begin with "bytes ".
func payloads(t *testing.T, stream []byte) []string {
	t.Helper()
	var all []string
	for r := bytes.NewReader(stream); ; {
		f, err := ws.ReadFrame(r)
		if errors.Is(err, io.EOF) && r.Len() == 0 {
			return all
		}
		if err != nil || !f.Header.Fin || f.Header.Masked || f.Header.Rsv != 0 {
			t.Fatalf("frames %x: header %+v, error %v", stream, f.Header, err)
		}
		kind := map[ws.OpCode]string{ws.OpText: "", ws.OpBinary: "bytes "}[f.Header.OpCode]
		all = append(all, kind+string(f.Payload))
	}
}

func TestEncode(t *testing.T) {
	const two = `[{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]`
	binary := &wire.Event{Name: "b", Binary: []byte{0, 255}}
	created := &wire.Event{Name: "created", Data: json.RawMessage(`{"a":[1,null]}`)}
	for name, tc := range map[string]struct {
		frames []byte
		want   []string
	}{
		"connect":                     {EncodeConnect("/orders", "S", ""), []string{`40/orders,{"sid":"S"}`}},
		"connect that may recover":    {EncodeConnect("/", "S", "P"), []string{`40{"sid":"S","pid":"P"}`}},
		"refusal":                     {EncodeConnectError("/x", ConnectError{Message: "Invalid namespace"}), []string{`44/x,{"message":"Invalid namespace"}`}},
		"refusal with a code":         {EncodeConnectError("/", ConnectError{"no", map[string]string{"code": "token"}}), []string{`44{"message":"no","data":{"code":"token"}}`}},
		"disconnect":                  {EncodeDisconnect("/orders"), []string{"41/orders,"}},
		"disconnect from the root":    {EncodeDisconnect("/"), []string{"41"}},
		"ack":                         {EncodeAck("/orders", 12, map[string]any{"rooms": []string{"a"}}), []string{`43/orders,12[{"rooms":["a"]}]`}},
		"empty ack":                   {EncodeAck("/", maxID), []string{`439007199254740991[]`}},
		"message":                     {EncodeMessage("/orders", "klaxon.gap", map[string]int{"dropped": 3}), []string{`42/orders,["klaxon.gap",{"dropped":3}]`}},
		"message without arguments":   {EncodeMessage("/", "x"), []string{`42["x"]`}},
		"event":                       {EncodeEvent("/orders", created, ""), []string{`42/orders,["created",{"a":[1,null]}]`}},
		"event of the root":           {EncodeEvent("/", created, ""), []string{`42["created",{"a":[1,null]}]`}},
		"event with an offset":        {EncodeEvent("/orders", created, "e.41"), []string{`42/orders,["created",{"a":[1,null]},"e.41"]`}},
		"event with an odd name":      {EncodeEvent("/orders", &wire.Event{Name: "\"ä\n", Data: json.RawMessage(`1`)}, ""), []string{`42/orders,["\"ä\n",1]`}},
		"binary event":                {EncodeEvent("/orders", binary, ""), []string{`451-/orders,["b",{"_placeholder":true,"num":0}]`, "bytes \x00\xff"}},
		"binary event with an offset": {EncodeEvent("/", binary, "e.41"), []string{`451-["b",{"_placeholder":true,"num":0},"e.41"]`, "bytes \x00\xff"}},
		"spread event":                {EncodeEvent("/", &wire.Event{Name: "b", Data: json.RawMessage(`[1,"x"]`), Spread: true}, "e.1"), []string{`42["b",1,"x","e.1"]`}},
		"event of no arguments":       {EncodeEvent("/", &wire.Event{Name: "b", Data: json.RawMessage(`[]`), Spread: true}, ""), []string{`42["b"]`}},
		"event with attachments": {
			EncodeEvent("/", &wire.Event{Name: "b", Data: json.RawMessage(two), Spread: true, Attachments: [][]byte{{1}, {2}}}, "e.1"),
			[]string{`452-["b",` + two[1:len(two)-1] + `,"e.1"]`, "bytes \x01", "bytes \x02"},
		},
		"ack with attachments": {EncodeArgsAck("/x", 7, &wire.Args{List: json.RawMessage(two), Attachments: [][]byte{{1}, {2}}}), []string{`462-/x,7` + two, "bytes \x01", "bytes \x02"}},
		"ack of nothing":       {EncodeArgsAck("/", 7, &wire.Args{}), []string{`437[]`}},
		"emit":                 {EncodeEmit("/x", &Emit{Name: "b", Args: wire.Args{List: json.RawMessage(`[{"a":1}]`)}, Offset: "e.1"}), []string{`42/x,["b",{"a":1},"e.1"]`}},
		"emit to be answered":  {EncodeEmit("/", &Emit{Name: "b", ID: 3}), []string{`423["b"]`}},
		"emit of bytes":        {EncodeEmit("/", &Emit{Name: "b", ID: 3, Args: wire.OneBinary([]byte{9})}), []string{`451-3["b",{"_placeholder":true,"num":0}]`, "bytes \x09"}},
		"empty binary event":   {EncodeEvent("/", &wire.Event{Name: "b", Binary: []byte{}}, ""), []string{`451-["b",{"_placeholder":true,"num":0}]`, "bytes "}},
	} {
		if got := payloads(t, tc.frames); !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, tc.want)
		}
	}
}

func TestEncodeEventOfAllSizes(t *testing.T) {
	for _, n := range []int{1, 80, 125, 126, 0xff00, 0x10000, 1 << 20} {
		data := `"` + strings.Repeat("x", n) + `"`
		ev := &wire.Event{Name: "a", Data: json.RawMessage(data)}
		if got := payloads(t, EncodeEvent("/orders", ev, "")); len(got) != 1 || got[0] != `42/orders,["a",`+data+"]" {
			t.Errorf("%d bytes came out as %d frames, the first %.40q", n, len(got), got[0])
		}
		ev = &wire.Event{Name: "a", Binary: []byte(data)}
		if got := payloads(t, EncodeEvent("/orders", ev, "")); len(got) != 2 || got[1] != "bytes "+data {
			t.Errorf("%d bytes came out as %d frames", n, len(got))
		}
	}
}

func TestEncodeEventAllocatesOnce(t *testing.T) {
	for name, ev := range map[string]*wire.Event{
		"JSON":   {Name: "created", Data: json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)},
		"binary": {Name: "created", Binary: make([]byte, 1000)},
	} {
		if n := testing.AllocsPerRun(100, func() { EncodeEvent("/orders", ev, "k3x9f2.1048576") }); n != 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzEncodeEvent checks that every event comes out as what went in.
func FuzzEncodeEvent(f *testing.F) {
	f.Add("name", `{"a":1}`, []byte{}, "")
	f.Add("\"", `"\u0000"`, []byte("x"), "e.1")
	f.Fuzz(func(t *testing.T, name, data string, binary []byte, offset string) {
		if !json.Valid([]byte(data)) || !utf8.ValidString(name+data+offset) || reserved(name) {
			return
		}
		ev := &wire.Event{Name: name, Data: json.RawMessage(data)}
		if len(binary) > 0 {
			ev.Data, ev.Binary = nil, binary
		}
		var d Decoder
		var p Packet
		var done bool
		for i, m := range payloads(t, EncodeEvent("/orders", ev, offset)) {
			var err error
			if i == 0 {
				p, done, err = d.Text([]byte(m[1:]), 1<<30)
			} else {
				p, done, err = d.Binary([]byte(strings.TrimPrefix(m, "bytes ")), 1<<30)
			}
			if err != nil {
				t.Fatalf("%+v: error %v", ev, err)
			}
		}
		got, args := p.Event()
		want := 1
		if offset != "" {
			want++
		}
		if !done || p.Namespace != "/orders" || got != name || len(args) != want {
			t.Fatalf("%+v came out as %+v", ev, p)
		}
		if ev.Binary == nil && string(args[0]) != strings.Trim(data, " \t\r\n") || ev.Binary != nil && !bytes.Equal(p.Attachments[0], binary) {
			t.Fatalf("%+v came out as %s", ev, args)
		}
		var last string
		if offset != "" && (json.Unmarshal(args[1], &last) != nil || last != offset) {
			t.Fatalf("offset %q came out as %s", offset, args[1])
		}
	})
}

// BenchmarkEncodeEvent is paid once for each event, however many clients get it.
func BenchmarkEncodeEvent(b *testing.B) {
	for _, size := range []int{128, 1 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ev := &wire.Event{Name: "created", Data: json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`)}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				EncodeEvent("/orders", ev, "k3x9f2.1048576")
			}
		})
	}
}

// BenchmarkDecoder is what a client's request costs.
func BenchmarkDecoder(b *testing.B) {
	msg := []byte(`2/orders,12["join","order:42"]`)
	b.ReportAllocs()
	for b.Loop() {
		var d Decoder
		p, done, err := d.Text(msg, 1<<16)
		if name, args := p.Event(); name != "join" || len(args) != 1 || !done || err != nil {
			b.Fatal(name, args, done, err)
		}
	}
}
