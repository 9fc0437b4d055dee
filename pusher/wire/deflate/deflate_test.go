// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// sample is JSON of about n bytes, as backends push it.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var b bytes.Buffer
	b.WriteString(`{"orders":[`)
	for i := 0; b.Len() < n-100; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"%08x","customer":"c-%d","status":%q,"total":%d.%02d,"updatedAt":"2026-03-%02dT%02d:%02d:%02dZ"}`,
			r.Uint32(), r.IntN(5000), []string{"created", "paid", "shipped", "delivered"}[r.IntN(4)], r.IntN(400), r.IntN(100),
			1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// noise cannot be compressed.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// The examples of RFC 7692 section 7.2.3, and what they must not be taken for.
func TestInflate(t *testing.T) {
	for name, tc := range map[string]struct {
		msg, want string
		fails     wire.CloseCode
	}{
		"one block (7.2.3.1)":           {msg: "f2 48 cd c9 c9 07 00", want: "Hello"},
		"no compression (7.2.3.3)":      {msg: "00 05 00 fa ff 48 65 6c 6c 6f 00", want: "Hello"},
		"final block (7.2.3.4)":         {msg: "f3 48 cd c9 c9 07 00 00", want: "Hello"},
		"two blocks (7.2.3.5)":          {msg: "f2 48 05 00 00 00 ff ff ca c9 c9 07 00", want: "Hello"},
		"empty (7.2.3.6)":               {msg: "00", want: ""},
		"empty, in a block":             {msg: "02 00", want: ""},
		"final block, padding left out": {msg: "f3 48 cd c9 c9 07 00", want: "Hello"},
		"two final blocks":              {msg: "f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00", want: "HelloHello"},
		"final block, then another":     {msg: "f3 48 cd c9 c9 07 00 f2 48 cd c9 c9 07 00", want: "HelloHello"},
		"needs an earlier message":      {msg: "f2 00 11 00 00", fails: wire.CloseInvalidText}, // 7.2.3.2, second message
		"final block, then the same":    {msg: "f3 48 cd c9 c9 07 00 f2 00 11 00 00", fails: wire.CloseInvalidText},
		"final block, then garbage":     {msg: "f3 48 cd c9 c9 07 00 ff ff", fails: wire.CloseInvalidText},
		"reserved block type":           {msg: "07", fails: wire.CloseInvalidText},
		"stored length is not its own":  {msg: "00 05 00 fa fe 48 65 6c 6c 6f 00", fails: wire.CloseInvalidText},
		"stored block cut short":        {msg: "00 50 00 af ff 48 65", fails: wire.CloseInvalidText},
		"no bytes at all":               {msg: "", fails: wire.CloseInvalidText},
		"as large as may be":            {msg: hex.EncodeToString(squeeze(t, bytes.Repeat([]byte("x"), 1000), 9)), want: strings.Repeat("x", 1000)},
		"too large by one byte":         {msg: hex.EncodeToString(squeeze(t, bytes.Repeat([]byte("x"), 1001), 9)), fails: wire.CloseTooBig},
		"too large without compression": {msg: hex.EncodeToString(squeeze(t, noise(1001), flate.NoCompression)), fails: wire.CloseTooBig},
		"too large in two streams":      {msg: hex.EncodeToString(append(final(t, 600), squeeze(t, make([]byte, 600), 9)...)), fails: wire.CloseTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			msg, err := hex.DecodeString(strings.ReplaceAll(tc.msg, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			var i Inflater
			for range 3 { // what came before makes no difference
				got, err := i.Inflate(msg, 1000)
				if failed := closeCode(t, err); failed != tc.fails || string(got) != tc.want {
					t.Fatalf("got %q, %v; want %q, close code %d", got, err, tc.want, tc.fails)
				}
				if got, err := i.Inflate([]byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}, 5); err != nil || string(got) != "Hello" {
					t.Fatalf("the next message: %q, %v", got, err)
				}
			}
		})
	}
}

// closeCode is that of an error, which must be a *frames.Error; 0 for none.
func closeCode(t *testing.T, err error) wire.CloseCode {
	t.Helper()
	if err == nil {
		return 0
	}
	var violation *frames.Error
	if !errors.As(err, &violation) {
		t.Fatalf("%v is no violation", err)
	}
	return violation.Code
}

// squeeze compresses as a client does.
func squeeze(t testing.TB, payload []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(payload); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), syncTail)
}

// final compresses n zeros into a stream that ends.
func final(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bombs are messages of up to 32 KiB that try to take memory or time.
func bombs(t testing.TB) map[string][]byte {
	const size = 32 << 10
	// A block with tables of its own for each few bytes of output.
	tables := squeeze(t, sample(200), 9)
	return map[string][]byte{
		"a thousandfold":     squeeze(t, make([]byte, 16<<20), 9),
		"empty blocks":       append(bytes.Repeat([]byte{0x02, 0x08, 0x20, 0x80, 0x00}, size/5), 0), // four of 10 bits each time
		"empty final blocks": bytes.Repeat([]byte{0x03, 0x00}, size/2),
		"empty stored ones":  append(bytes.Repeat([]byte{0x00, 0x00, 0x00, 0xff, 0xff}, size/5), 0),
		"many tables":        bytes.Repeat(append(tables, syncTail...), size/(len(tables)+4)),
	}
}

func TestBombs(t *testing.T) {
	const limit = 32 << 10
	for name, msg := range bombs(t) {
		var i Inflater
		begin := time.Now()
		got, err := i.Inflate(msg, limit)
		if code := closeCode(t, err); len(got) > limit || code != 0 && code != wire.CloseTooBig {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if cap(i.buf) > 2*limit {
			t.Errorf("%s: a buffer of %d bytes", name, cap(i.buf))
		}
		if took := time.Since(begin); took > 2*time.Second { // some milliseconds: see BenchmarkBombs
			t.Errorf("%s took %s", name, took)
		}
	}
}

func TestFrame(t *testing.T) {
	for name, tc := range map[string]struct {
		payload []byte
		plain   bool
	}{
		"JSON of 200 bytes": {sample(200), false},
		"JSON of 1 KiB":     {sample(1 << 10), false},
		"JSON of 16 KiB":    {sample(16 << 10), false},
		"JSON of 1 MiB":     {sample(1 << 20), false},
		"a long run":        {bytes.Repeat([]byte("x"), 1<<20), false},
		"empty":             {nil, true},
		"one byte":          {[]byte("x"), true},
		"short":             {[]byte("Hello"), true},
		"noise":             {noise(64 << 10), true},
	} {
		t.Run(name, func(t *testing.T) {
			var c Compressor
			var i Inflater
			for range 3 { // each message on its own
				b := c.Frame(frames.Text, tc.payload)
				if (b == nil) != tc.plain {
					t.Fatalf("got %d bytes for %d", len(b), len(tc.payload))
				}
				if cap(c.out.buf) > keep {
					t.Fatalf("a buffer of %d bytes was kept", cap(c.out.buf))
				}
				if tc.plain {
					continue
				}
				if len(b) >= len(frames.Encode(frames.Text, tc.payload)) {
					t.Fatalf("%d bytes became %d", len(tc.payload), len(b))
				}
				f, err := ws.ReadFrame(bytes.NewReader(b))
				if err != nil || !f.Header.Fin || f.Header.OpCode != ws.OpText || !f.Header.Rsv1() || f.Header.Rsv2() || f.Header.Rsv3() {
					t.Fatalf("header %+v, error %v", f.Header, err)
				}
				if got, err := i.Inflate(f.Payload, len(tc.payload)); err != nil || !bytes.Equal(got, tc.payload) {
					t.Fatalf("%d bytes came back as %d, error %v", len(tc.payload), len(got), err)
				}
				if f, err = wsflate.DecompressFrame(f); err != nil || !bytes.Equal(f.Payload, tc.payload) {
					t.Fatalf("wsflate read %d bytes as %d, error %v", len(tc.payload), len(f.Payload), err)
				}
			}
		})
	}
}

func TestInflateWhatWsflateCompresses(t *testing.T) {
	var i Inflater
	for _, payload := range [][]byte{nil, []byte("Hello"), sample(1 << 10), noise(70 << 10), sample(1 << 20)} {
		f, err := wsflate.CompressFrame(ws.NewBinaryFrame(payload))
		if err != nil {
			t.Fatal(err)
		}
		got, err := i.Inflate(f.Payload, len(payload))
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes came back as %d, error %v", len(payload), len(got), err)
		}
		if cap(i.buf) > keep {
			t.Errorf("a buffer of %d bytes was kept", cap(i.buf))
		}
	}
}

// FuzzInflate checks that no message makes it panic or go over the limit, and
// that what compress/flate reads of it in one piece, up to a final block, comes out
// the same. (Package wsflate reads more than there is of some final blocks.)
func FuzzInflate(f *testing.F) {
	f.Add([]byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00})
	f.Add([]byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00})
	f.Add([]byte{0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00})
	f.Add(squeeze(f, sample(300), 9))
	f.Add(squeeze(f, make([]byte, 5000), 9))
	f.Add([]byte("\xed\xc01\x01\x00\x00\x00\xc2 \xfb\xa76\xc5>\x18"))
	var i Inflater
	f.Fuzz(func(t *testing.T, msg []byte) {
		const limit = 4 << 10
		if len(msg) > 1<<10 {
			return
		}
		got, err := i.Inflate(msg, limit)
		if code := closeCode(t, err); len(got) > limit || code != 0 && code != wire.CloseTooBig && code != wire.CloseInvalidText {
			t.Fatalf("%x: %d bytes, %v", msg, len(got), err)
		}
		const emptyFinal = "\x01\x00\x00\xff\xff"
		theirs, theirErr := io.ReadAll(io.LimitReader(flate.NewReader(strings.NewReader(string(msg)+tail+emptyFinal)), limit+1))
		switch {
		case len(theirs) > limit && closeCode(t, err) != wire.CloseTooBig:
			t.Fatalf("%x: %d bytes, %v, flate reads more than the limit", msg, len(got), err)
		case len(theirs) <= limit && theirErr == nil && err == nil && !bytes.HasPrefix(got, theirs):
			t.Fatalf("%x: %d bytes, flate reads %d others", msg, len(got), len(theirs))
		case theirErr != nil && err == nil:
			t.Fatalf("%x: %d bytes, flate says %v", msg, len(got), theirErr)
		}
	})
}

// FuzzFrame checks that every payload comes back.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"a":1}`), uint8(40))
	var c Compressor
	var i Inflater
	f.Fuzz(func(t *testing.T, payload []byte, times uint8) {
		payload = bytes.Repeat(payload, int(times))
		b := c.Frame(frames.Binary, payload)
		if b == nil {
			return
		}
		m, err := ws.ReadFrame(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := i.Inflate(m.Payload, len(payload)); err != nil || !bytes.Equal(got, payload) || len(b) >= len(frames.Encode(frames.Binary, payload)) {
			t.Fatalf("%q came back as %q, error %v", payload, got, err)
		}
	})
}

// BenchmarkLevel is what the level was chosen by: the same writer used again
// and again for JSON of some sizes. "ratio" is compressed by plain size.
func BenchmarkLevel(b *testing.B) {
	for _, size := range []int{1 << 10, 4 << 10, 16 << 10} {
		payload := sample(size)
		for _, level := range []int{flate.HuffmanOnly, 1, 2, 3, 4, 5, 6, 9} {
			b.Run(fmt.Sprintf("%d/%d", size, level), func(b *testing.B) {
				var out bytes.Buffer
				w, err := flate.NewWriter(&out, level)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(payload)))
				for b.Loop() {
					out.Reset()
					w.Reset(&out)
					if _, err := w.Write(payload); err != nil || w.Flush() != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(out.Len()-len(syncTail))/float64(len(payload)), "ratio")
			})
		}
	}
}

// BenchmarkFrame is paid once for each event that is compressed, however many
// clients get it.
func BenchmarkFrame(b *testing.B) {
	payloads := map[string][]byte{"1KiB": sample(1 << 10), "16KiB": sample(16 << 10), "16KiB of noise": noise(16 << 10)}
	for name, payload := range payloads {
		b.Run(name, func(b *testing.B) {
			var c Compressor
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				c.Frame(frames.Text, payload)
			}
		})
	}
}

// BenchmarkNew is what a Compressor and an Inflater cost in memory, once for
// all connections of a loop.
func BenchmarkNew(b *testing.B) {
	payload := sample(1 << 10)
	msg := squeeze(b, payload, 9)
	b.Run("Compressor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var c Compressor
			c.Frame(frames.Text, payload)
		}
	})
	b.Run("Inflater", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var i Inflater
			if _, err := i.Inflate(msg, 1<<10); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkInflate is paid for each compressed message of a client.
func BenchmarkInflate(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			payload := sample(size)
			msg := squeeze(b, payload, 6)
			var i Inflater
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, err := i.Inflate(msg, len(payload)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBombs is what a hostile message of 32 KiB costs.
func BenchmarkBombs(b *testing.B) {
	for name, msg := range bombs(b) {
		b.Run(name, func(b *testing.B) {
			var i Inflater
			for b.Loop() {
				_, _ = i.Inflate(msg, 32<<10) // most are over the limit
			}
		})
	}
}
