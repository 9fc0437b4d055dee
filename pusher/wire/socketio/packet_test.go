// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const limit = 1 << 16

// feed gives messages to a decoder and writes down what comes out. A message that
// begins with "bytes " is binary.
func feed(messages ...string) string {
	var out strings.Builder
	var d Decoder
	for _, m := range messages {
		decode := d.Text
		data, binary := strings.CutPrefix(m, "bytes ")
		if binary {
			decode = d.Binary
		}
		p, done, err := decode([]byte(data), limit)
		if err != nil {
			fmt.Fprintf(&out, "error %v\n", err)
			return out.String()
		}
		if !done {
			continue
		}
		fmt.Fprintf(&out, "%d %s", p.Type, p.Namespace)
		if p.HasID {
			fmt.Fprintf(&out, " id %d", p.ID)
		}
		if p.Data != nil {
			fmt.Fprintf(&out, " %s", p.Data)
		}
		for _, a := range p.Attachments {
			fmt.Fprintf(&out, " + %s", a)
		}
		out.WriteString("\n")
	}
	if d.pending != nil {
		out.WriteString("incomplete\n")
	}
	return out.String()
}

func TestTranscripts(t *testing.T) {
	long := strings.Repeat("x", MaxNamespace)
	for name, tc := range map[string]struct {
		in   []string
		want string
	}{
		"a session": {
			[]string{"0/orders,", `2/orders,0["join","order:42"]`, `2/orders,1["leave",["a"]]`, "1/orders,"},
			"0 /orders\n2 /orders id 0 [\"join\",\"order:42\"]\n2 /orders id 1 [\"leave\",[\"a\"]]\n1 /orders\n",
		},
		"connect":               {[]string{"0"}, "0 /\n"},
		"connect with a token":  {[]string{`0/orders,{"token":"x"}`}, "0 /orders {\"token\":\"x\"}\n"},
		"a query":               {[]string{`0/orders?token=x&a=b,{}`}, "0 /orders {}\n"},
		"only a query":          {[]string{`0/?token=x,{}`}, "0 / {}\n"},
		"ack":                   {[]string{`3/orders,9007199254740991[]`}, "3 /orders id 9007199254740991 []\n"},
		"error with a string":   {[]string{`4"no"`}, "4 / \"no\"\n"},
		"number as name":        {[]string{`2[1.5]`}, "2 / [1.5]\n"},
		"two attachments":       {[]string{`52-/orders,7["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`, "bytes x", "bytes "}, "5 /orders id 7 [\"a\",{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}] + x + \n"},
		"no attachments":        {[]string{`50-["a"]`, `60-1[]`}, "5 / [\"a\"]\n6 / id 1 []\n"},
		"a second packet":       {[]string{`51-["a"]`, "bytes x", `61-1[]`, "bytes y", `2["b"]`}, "5 / [\"a\"] + x\n6 / id 1 [] + y\n2 / [\"b\"]\n"},
		"cut short":             {[]string{`52-["a"]`, "bytes x"}, "incomplete\n"},
		"longest namespace":     {[]string{"0/" + long[1:]}, "0 /" + long[1:] + "\n"},
		"longer namespace":      {[]string{"0/" + long}, "error socket.io: namespace is no UTF-8 of at most 128 bytes\n"},
		"namespace not UTF-8":   {[]string{"0/\xff,"}, "error socket.io: namespace is no UTF-8 of at most 128 bytes\n"},
		"empty":                 {[]string{""}, "error socket.io: unknown packet type\n"},
		"unknown type":          {[]string{"7"}, "error socket.io: unknown packet type\n"},
		"text when binary due":  {[]string{`51-["a"]`, "0"}, "error socket.io: text where attachments were due\n"},
		"binary without header": {[]string{"bytes x"}, "error socket.io: attachment of no packet\n"},
		"one binary too many":   {[]string{`51-["a"]`, "bytes x", "bytes x"}, "5 / [\"a\"] + x\nerror socket.io: attachment of no packet\n"},
		"eleven attachments":    {[]string{`511-["a"]`}, "error socket.io: illegal number of attachments\n"},
		"no number":             {[]string{`5-["a"]`}, "error socket.io: illegal number of attachments\n"},
		"number without hyphen": {[]string{`51["a"]`}, "error socket.io: illegal number of attachments\n"},
		"only a number":         {[]string{`51`}, "error socket.io: illegal number of attachments\n"},
		"placeholder too high":  {[]string{`51-["a",{"_placeholder":true,"num":1}]`}, "error socket.io: placeholder of no attachment\n"},
		"placeholder of none":   {[]string{`50-["a",{"_placeholder":true,"num":0}]`}, "error socket.io: placeholder of no attachment\n"},
		"placeholder deep down": {[]string{`51-["a",[{"b":{"_placeholder":true,"num":-1}}]]`}, "error socket.io: placeholder of no attachment\n"},
		"large id":              {[]string{`29007199254740992["a"]`}, "error socket.io: ack id too big\n"},
		"endless id":            {[]string{`2` + strings.Repeat("9", 100) + `["a"]`}, "error socket.io: ack id too big\n"},
		"ack without id":        {[]string{`3[]`}, "error socket.io: ack without an id\n"},
		"ack without payload":   {[]string{`31`}, "error socket.io: payload is missing\n"},
		"event without payload": {[]string{`2`}, "error socket.io: payload is missing\n"},
		"error without payload": {[]string{`4`}, "error socket.io: payload is missing\n"},
		"event without name":    {[]string{`2[ ]`}, "error socket.io: event name is reserved, or no string\n"},
		"event with odd name":   {[]string{`2[null]`}, "error socket.io: event name is reserved, or no string\n"},
		"reserved name":         {[]string{`2["disconnecting"]`}, "error socket.io: event name is reserved, or no string\n"},
		"reserved, in disguise": {[]string{`2["dis\u0063onnect"]`}, "error socket.io: event name is reserved, or no string\n"},
		"broken JSON":           {[]string{`2["a",]`}, "error socket.io: invalid payload\n"},
		"two values":            {[]string{`2["a"]["b"]`}, "error socket.io: invalid payload\n"},
		"space before JSON":     {[]string{`2 ["a"]`}, "error socket.io: invalid payload\n"},
		"connect with a list":   {[]string{`0[]`}, "error socket.io: invalid payload\n"},
		"disconnect with data":  {[]string{`1{}`}, "error socket.io: invalid payload\n"},
		"endless nesting":       {[]string{`2["a",` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "]"}, "error socket.io: invalid payload\n"},
		"text too big":          {[]string{`2["` + strings.Repeat("x", limit) + `"]`}, "error socket.io: packet too big\n"},
		"attachments too big":   {[]string{`52-["a"]`, "bytes " + strings.Repeat("x", limit/2), "bytes " + strings.Repeat("x", limit/2)}, "error socket.io: packet too big\n"},
	} {
		if got := feed(tc.in...); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tc.want)
		}
	}
}

// TestDecoderKeepsCopies writes over each message once it has been taken, as the
// buffers that connections share are.
func TestDecoderKeepsCopies(t *testing.T) {
	var d Decoder
	for _, m := range []string{`52-["a"]`, "first"} {
		decode := d.Binary
		if m != "first" {
			decode = d.Text
		}
		b := []byte(m)
		if _, done, err := decode(b, limit); done || err != nil {
			t.Fatalf("%s: done %v, error %v", m, done, err)
		}
		clear(b)
	}
	p, done, err := d.Binary([]byte("second"), limit)
	if !done || err != nil || string(p.Data) != `["a"]` || string(p.Attachments[0]) != "first" || string(p.Attachments[1]) != "second" {
		t.Errorf("got %s %s, done %v, error %v", p.Data, p.Attachments, done, err)
	}
	if d != (Decoder{}) {
		t.Error("the decoder keeps something of a packet that is done")
	}
}

func TestEvent(t *testing.T) {
	for data, want := range map[string]string{
		`["a"]`:         `"a"`,
		`[7,"x"]`:       `"7" "x"`,
		`[-1.5e3 , 1 ]`: `"-1.5e3" 1`,
		`[ "\u00e4\"" , null,[ 1, [2]],{"a":{}} ]`: `"ä\"" null [ 1, [2]] {"a":{}}`,
		`["a","]",[","],"\"","\\"]`:                `"a" "]" [","] "\"" "\\"`,
		`["a","",[],{},""]`:                        `"a" "" [] {} ""`,
	} {
		p := Packet{Type: Event, Data: []byte(data)}
		name, args := p.Event()
		got := fmt.Sprintf("%q", name)
		for _, a := range args {
			got += " " + string(a)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", data, got, want)
		}
	}
}

// FuzzElements checks that cutting an array up gives what decoding it does.
func FuzzElements(f *testing.F) {
	for _, s := range []string{`[]`, `[ ]`, `[1,"a\\",["]"],{"a":[{}]}]`, `[[[]],[{"\"":1}] , "" ]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, array []byte) {
		var want []json.RawMessage
		if len(array) == 0 || array[0] != '[' || json.Unmarshal(array, &want) != nil {
			return
		}
		var got []json.RawMessage
		for e := range elements(array) {
			got = append(got, e)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d elements, want %d", array, len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%s: element %d is %s, want %s", array, i, got[i], want[i])
			}
		}
	})
}

// FuzzDecoder feeds messages, cut at a byte that no JSON has in it; one that begins
// with b is binary. It checks that nothing makes the decoder panic, that packets are
// within bounds, and that events that are accepted can be written and read again.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		"0/orders,{\"token\":\"x\"}", `2/orders,12["a",1]`, "52-[\"a\",{\"_placeholder\":true,\"num\":1}]\x00bx\x00b\x00bx",
		"51-[\"a\"]\x002[\"b\"]", "bx", `31["a"]`, `4"x"`, "50-[\"a\"]\x0060-1[]", "2[7]\x001",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		const most = 512
		var d Decoder
		for m := range bytes.SplitSeq(stream, []byte{0}) {
			decode := d.Text
			if data, binary := bytes.CutPrefix(m, []byte("b")); binary {
				m, decode = data, d.Binary
			}
			p, done, err := decode(m, most)
			if d.pending != nil && (done || err != nil || d.pending.size > most || d.pending.due < 1) {
				t.Fatalf("%q: pending %+v, done %v, error %v", m, d.pending, done, err)
			}
			if done && err == nil {
				checkPacket(t, &p, most)
			}
			if err != nil {
				return
			}
		}
	})
}

func checkPacket(t *testing.T, p *Packet, most int) {
	t.Helper()
	size := len(p.Data)
	for _, a := range p.Attachments {
		size += len(a)
	}
	if size > most || len(p.Attachments) > wire.MaxAttachments || len(p.Namespace) > MaxNamespace || !utf8.ValidString(p.Namespace) ||
		!strings.HasPrefix(p.Namespace, "/") || p.ID > maxID || p.Data != nil && !json.Valid(p.Data) {
		t.Fatalf("accepted %+v", p)
	}
	if p.Type != Event && p.Type != BinaryEvent {
		return
	}
	name, args := p.Event()
	again := Packet{Type: Event}
	if !utf8.Valid(p.Data) || strings.Contains(name, "\ufffd") {
		return // a string that is none: the name that came out is not the one that came in
	}
	list := make([]any, len(args))
	for i := range args {
		list[i] = args[i]
	}
	frame := EncodeMessage(p.Namespace, name, list...)
	text := payloads(t, frame)[0]
	var d Decoder
	again, done, err := d.Text([]byte(text[1:]), limit)
	if errors.Is(err, errName) && p.Data[1] != '"' {
		return
	}
	if err != nil || !done || again.Namespace != p.Namespace {
		t.Fatalf("%+v came back as %+v, error %v", p, again, err)
	}
	if n, a := again.Event(); n != name || len(a) != len(args) {
		t.Fatalf("%s came back as %s", p.Data, again.Data)
	}
}
