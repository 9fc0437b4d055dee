// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func client(op ws.OpCode, fin bool, payload []byte) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, payload)))
}

// drive feeds a stream in chunks and writes down what comes out, as a transcript.
func drive(stream []byte, chunk, limit int) string {
	var out strings.Builder
	var a Assembler
	var buf []byte
	for len(stream) > 0 {
		n := min(chunk, len(stream))
		buf, stream = append(buf, stream[:n]...), stream[n:]
		for {
			f, used, err := Parse(buf, Rules{MaxMessage: limit})
			if err != nil {
				out.WriteString("error " + err.Error() + "\n")
				return out.String()
			}
			if used == 0 {
				break
			}
			buf = buf[used:]
			if f.Op.Control() {
				out.WriteString(map[Op]string{Close: "close ", Ping: "ping ", Pong: "pong "}[f.Op] + string(f.Payload) + "\n")
				continue
			}
			m, done, err := a.Push(f, limit)
			if done && err == nil {
				err = m.Check()
			}
			if err != nil {
				out.WriteString("error " + err.Error() + "\n")
				return out.String()
			}
			if done {
				out.WriteString(map[Op]string{Text: "text ", Binary: "binary "}[m.Op] + string(m.Payload) + "\n")
			}
		}
	}
	if len(buf) > 0 {
		out.WriteString("incomplete\n")
	}
	return out.String()
}

func TestTranscripts(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, tc := range map[string]struct {
		stream []byte
		want   string
	}{
		"one text":         {client(ws.OpText, true, []byte("hi")), "text hi\n"},
		"empty text":       {client(ws.OpText, true, nil), "text \n"},
		"16-bit length":    {client(ws.OpText, true, []byte(long)), "text " + long + "\n"},
		"two in a segment": {append(client(ws.OpText, true, []byte("a")), client(ws.OpBinary, true, []byte("b"))...), "text a\nbinary b\n"},
		"fragments and a ping": {bytes.Join([][]byte{
			client(ws.OpText, false, []byte("a")), client(ws.OpPing, true, []byte("p")),
			client(ws.OpContinuation, false, nil), client(ws.OpContinuation, true, []byte("b")),
		}, nil), "ping p\ntext ab\n"},
		"UTF-8 across fragments": {bytes.Join([][]byte{
			client(ws.OpText, false, []byte("\xc3")), client(ws.OpContinuation, true, []byte("\xa4")),
		}, nil), "text ä\n"},
		"cut short":                 {client(ws.OpText, true, []byte("hi"))[:7], "incomplete\n"},
		"not UTF-8":                 {client(ws.OpText, true, []byte("\xc3")), "error websocket: text is not UTF-8 (close 1007)\n"},
		"binary need not be UTF-8":  {client(ws.OpBinary, true, []byte("\xc3")), "binary \xc3\n"},
		"unmasked":                  {ws.MustCompileFrame(ws.NewTextFrame([]byte("x"))), "error websocket: client frames must be masked (close 1002)\n"},
		"reserved bit":              {[]byte{0xc1, 0x80, 0, 0, 0, 0}, "error websocket: reserved bits set without an extension (close 1002)\n"},
		"unknown opcode":            {[]byte{0x83, 0x80, 0, 0, 0, 0}, "error websocket: unknown opcode (close 1002)\n"},
		"unknown control":           {[]byte{0x8b, 0x80, 0, 0, 0, 0}, "error websocket: unknown opcode (close 1002)\n"},
		"fragmented ping":           {[]byte{0x09, 0x80, 0, 0, 0, 0}, "error websocket: control frame fragmented or over 125 bytes (close 1002)\n"},
		"long ping":                 {[]byte{0x89, 0xfe, 0, 126}, "error websocket: control frame fragmented or over 125 bytes (close 1002)\n"},
		"highest bit of the length": {[]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, "error websocket: length has its highest bit set (close 1002)\n"},
		"continuation of nothing":   {client(ws.OpContinuation, true, nil), "error websocket: continuation without a message (close 1002)\n"},
		"message within a message": {
			append(client(ws.OpText, false, nil), client(ws.OpText, true, nil)...),
			"error websocket: message begun within another (close 1002)\n",
		},
		"too big by its header alone": {[]byte{0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0}, "error websocket: message over 1000 bytes (close 1009)\n"},
		"too big in fragments": {
			append(client(ws.OpText, false, make([]byte, 600)), client(ws.OpContinuation, false, make([]byte, 600))...),
			"error websocket: message over 1000 bytes (close 1009)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, chunk := range []int{1, 2, 3, 7, len(tc.stream)} {
				if got := drive(bytes.Clone(tc.stream), chunk, 1000); got != tc.want {
					t.Errorf("in chunks of %d:\n%s\nwant:\n%s", chunk, got, tc.want)
				}
			}
		})
	}
}

func TestParseClose(t *testing.T) {
	for name, tc := range map[string]struct {
		payload string
		code    wire.CloseCode
		reason  string
		fails   wire.CloseCode
	}{
		"empty":         {"", wire.CloseNoStatus, "", 0},
		"normal":        {"\x03\xe8bye", wire.CloseNormal, "bye", 0},
		"application":   {"\x0f\xa0", 4000, "", 0},
		"half a code":   {"\x03", 0, "", wire.CloseProtocol},
		"1005 on wire":  {"\x03\xed", 0, "", wire.CloseProtocol},
		"999":           {"\x03\xe7", 0, "", wire.CloseProtocol},
		"5000":          {"\x13\x88", 0, "", wire.CloseProtocol},
		"broken reason": {"\x03\xe8\xff", 0, "", wire.CloseInvalidText},
	} {
		code, reason, err := ParseClose([]byte(tc.payload))
		var violation *Error
		if errors.As(err, &violation) != (tc.fails != 0) || tc.fails != 0 && violation.Code != tc.fails {
			t.Errorf("%s: error %v, want code %d", name, err, tc.fails)
		}
		if code != tc.code || reason != tc.reason {
			t.Errorf("%s: got %d %q, want %d %q", name, code, reason, tc.code, tc.reason)
		}
	}
}

func TestEncodedFramesAreReadByGobwas(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 0xffff, 0x10000} {
		payload := bytes.Repeat([]byte("x"), n)
		f, err := ws.ReadFrame(bytes.NewReader(Encode(Text, payload)))
		if err != nil || f.Header.OpCode != ws.OpText || !f.Header.Fin || !bytes.Equal(f.Payload, payload) {
			t.Errorf("%d bytes: header %+v, error %v", n, f.Header, err)
		}
	}
	f, err := ws.ReadFrame(bytes.NewReader(EncodeClose(wire.CloseSlow, strings.Repeat("ä", 100))))
	if err != nil {
		t.Fatal(err)
	}
	code, reason := ws.ParseCloseFrameData(f.Payload)
	if wire.CloseCode(code) != wire.CloseSlow || len(f.Payload) > 125 || !utf8.ValidString(reason) || len(reason) < 120 {
		t.Errorf("close %d with %d bytes of reason %q", code, len(reason), reason)
	}
}

// FuzzParse checks that no bytes make the parser panic or read past its input,
// and that how a stream is cut makes no difference.
func FuzzParse(f *testing.F) {
	f.Add(client(ws.OpText, true, []byte("hi")), 1)
	f.Add(append(client(ws.OpText, false, []byte("a")), client(ws.OpContinuation, true, []byte("b"))...), 3)
	f.Add([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5}, 2)
	f.Fuzz(func(t *testing.T, stream []byte, chunk int) {
		if len(stream) == 0 || len(stream) > 4096 {
			return
		}
		whole := drive(bytes.Clone(stream), len(stream), 1000)
		if cut := drive(bytes.Clone(stream), 1+abs(chunk)%len(stream), 1000); cut != whole {
			t.Fatalf("cut:\n%s\nwhole:\n%s", cut, whole)
		}
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}

// BenchmarkParse is what a client's text costs: finding the frame, taking its
// mask off and checking that it is UTF-8. Each round begins with a copy, because
// the mask is taken off in place.
func BenchmarkParse(b *testing.B) {
	for _, size := range []int{128, 1 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			sent := client(ws.OpText, true, bytes.Repeat([]byte("x"), size))
			read := make([]byte, len(sent))
			var a Assembler
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				copy(read, sent)
				f, n, err := Parse(read, Rules{MaxMessage: 1 << 16})
				if n != len(read) || err != nil {
					b.Fatal(n, err)
				}
				if m, done, err := a.Push(f, 1<<16); len(m.Payload) != size || !done || err != nil || m.Check() != nil {
					b.Fatal(len(m.Payload), done, err)
				}
			}
		})
	}
}
