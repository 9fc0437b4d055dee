// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package engineio

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// transcript writes down what a payload holds.
func transcript(body []byte) string {
	var out strings.Builder
	for p, err := range Packets(body) {
		switch {
		case err != nil:
			fmt.Fprintf(&out, "error %v\n", err)
		case p.Binary:
			fmt.Fprintf(&out, "%c bytes %x\n", p.Type, p.Data)
		default:
			fmt.Fprintf(&out, "%c %s\n", p.Type, p.Data)
		}
	}
	return out.String()
}

func TestPackets(t *testing.T) {
	for body, want := range map[string]string{
		"2":                        "2 \n",
		"2probe":                   "2 probe\n",
		"40{\"token\":\"x\"}\x1e3": "4 0{\"token\":\"x\"}\n3 \n",
		"451-[]\x1ebAP8=":          "4 51-[]\n4 bytes 00ff\n",
		"b":                        "4 bytes \n",
		"":                         "error engine.io: empty packet\n",
		"4a\x1e":                   "4 a\nerror engine.io: empty packet\n",
		"\x1e4a":                   "error engine.io: empty packet\n",
		"4a\x1e7\x1e4b":            "4 a\nerror engine.io: unknown packet type\n",
		"x":                        "error engine.io: unknown packet type\n",
		"bAP8":                     "error engine.io: binary message is not base64\n",
		"bAP8=\n":                  "error engine.io: binary message is not base64\n",
		"b_-8=":                    "error engine.io: binary message is not base64\n",
		"4a\x1e4\xff":              "error engine.io: payload is not UTF-8\n",
	} {
		if got := transcript([]byte(body)); got != want {
			t.Errorf("%q:\n got %q\nwant %q", body, got, want)
		}
	}
}

func TestPacketsStopWhenAsked(t *testing.T) {
	n := 0
	for _, err := range Packets([]byte("2\x1e3\x1e")) {
		if err != nil {
			t.Error(err)
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d packets came", n)
	}
}

func TestParseAliases(t *testing.T) {
	text := []byte("4hello")
	p, err := Parse(text)
	if err != nil || &p.Data[0] != &text[1] {
		t.Errorf("the data were copied, error %v", err)
	}
}

func TestEncodeOpen(t *testing.T) {
	for want, h := range map[string]Handshake{
		`0{"sid":"S","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":65536}`: {"S", []string{"websocket"}, 25000, 20000, 65536},
		`0{"sid":"S","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1}`:                    {SID: "S", PingInterval: 300, PingTimeout: 200, MaxPayload: 1},
	} {
		if got := string(EncodeOpen(h)); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func TestCodes(t *testing.T) {
	for i, want := range []string{
		`400 {"code":0,"message":"Transport unknown"}`,
		`400 {"code":1,"message":"Session ID unknown"}`,
		`400 {"code":2,"message":"Bad handshake method"}`,
		`400 {"code":3,"message":"Bad request"}`,
		`403 {"code":4,"message":"Forbidden"}`,
		`400 {"code":5,"message":"Unsupported protocol version"}`,
	} {
		if got := fmt.Sprintf("%d %s", Code(i).Status(), Code(i).JSON()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if Forbidden.Status() != http.StatusForbidden || UnsupportedVersion != 5 {
		t.Error("the codes are not in order")
	}
}

// vectorPacket is a packet as the vectors have it: bytes are in Base64.
type vectorPacket struct {
	Type   string  `json:"type"`
	Text   string  `json:"text"`
	Base64 *string `json:"base64"`
}

func (v vectorPacket) packet(t *testing.T) Packet {
	t.Helper()
	if v.Base64 == nil {
		return Packet{Type: Type(v.Type[0]), Data: []byte(v.Text)}
	}
	data, err := base64.StdEncoding.DecodeString(*v.Base64)
	if err != nil {
		t.Fatal(err)
	}
	return Packet{Type: Type(v.Type[0]), Data: data, Binary: true}
}

func equal(a, b Packet) bool {
	return a.Type == b.Type && a.Binary == b.Binary && bytes.Equal(a.Data, b.Data)
}

// TestVectors compares with npm's engine.io-parser; testdata/vectors.mjs writes the
// vectors. We are stricter in one thing: that parser skips what is no base64, takes
// the URL alphabet, and needs no padding. A message that is silently shorter than
// what was sent helps nobody.
func TestVectors(t *testing.T) {
	file, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Decode []struct {
			Payload string         `json:"payload"`
			Packets []vectorPacket `json:"packets"`
			Refused bool           `json:"refused"`
		} `json:"decode"`
		Encode []struct {
			Packets []vectorPacket `json:"packets"`
			Payload string         `json:"payload"`
		} `json:"encode"`
	}
	if err := json.Unmarshal(file, &vectors); err != nil {
		t.Fatal(err)
	}
	same, stricter := 0, 0
	for _, v := range vectors.Decode {
		var got []Packet
		var failed error
		for p, err := range Packets([]byte(v.Payload)) {
			if failed = err; err == nil {
				got = append(got, p)
			}
		}
		if errors.Is(failed, errBase64) && len(got) < len(v.Packets) {
			v.Packets, v.Refused = v.Packets[:len(got)], true
			stricter++
		} else {
			same++
		}
		if v.Refused != (failed != nil) || len(got) != len(v.Packets) {
			t.Errorf("%q: %d packets, error %v; the parser has %d, refused %v", v.Payload, len(got), failed, len(v.Packets), v.Refused)
			continue
		}
		for i, p := range v.Packets {
			if want := p.packet(t); !equal(got[i], want) {
				t.Errorf("%q: packet %d is %+v, want %+v", v.Payload, i, got[i], want)
			}
		}
	}
	if same < 100 || stricter == 0 {
		t.Errorf("%d vectors are the same, %d stricter: too few to mean anything", same, stricter)
	}
	for _, v := range vectors.Encode {
		var got []byte
		for _, p := range v.Packets {
			got = AppendPacket(got, p.packet(t))
		}
		if string(got) != v.Payload {
			t.Errorf("%+v: got %q, want %q", v.Packets, got, v.Payload)
		}
	}
}

// FuzzParse checks that no text makes the parser panic, and that what it accepts is
// written as it was read.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "2probe", "4hello", "bAQID", "b*", "7"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if got := AppendPacket(nil, p); !p.Binary && !bytes.Equal(got, text) {
			t.Fatalf("%q came back as %q", text, got)
		}
		if p.Binary && (p.Type != Message || len(p.Data) > len(text)) {
			t.Fatalf("%q was read as %+v", text, p)
		}
	})
}

// FuzzPackets checks that no payload makes the reader panic, that it ends, and that
// what was accepted can be written and read again.
func FuzzPackets(f *testing.F) {
	for _, s := range []string{"", "2", "4a\x1e4b", "4a\x1ebAQID\x1e2", "4\x1e\x1e4", "b*"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var first []Packet
		var again []byte
		failed := false
		for p, err := range Packets(body) {
			if failed {
				t.Fatal("there was more after an error")
			}
			if failed = err != nil; !failed {
				first = append(first, p)
				again = AppendPacket(again, p)
			}
		}
		if !failed && (len(first) == 0 || !utf8.Valid(body)) {
			t.Fatalf("%q was accepted as %d packets", body, len(first))
		}
		if len(first) == 0 {
			return
		}
		i := 0
		for p, err := range Packets(again) {
			if err != nil || i == len(first) || !equal(p, first[i]) {
				t.Fatalf("%q: packet %d came back as %+v, error %v", body, i, p, err)
			}
			i++
		}
		if i != len(first) {
			t.Fatalf("%q: %d of %d packets came back", body, i, len(first))
		}
	})
}
