// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const benchEvent = `{"event":"order.paid","rooms":["order:42"],"data":{"order":42,"total":"19.90","items":[{"sku":"a-1","n":2},{"sku":"b-7","n":1}]}}`

// sink stores nothing.
type sink struct{}

func (sink) Publish(_ context.Context, _ string, events []*wire.Event) ([]wire.Receipt, error) {
	out := make([]wire.Receipt, len(events))
	for i := range out {
		out[i] = wire.Receipt{ID: "abcdefgh.1234", Position: wire.Position{Epoch: "abcdefgh", Seq: uint64(i)}}
	}
	return out, nil
}

func benchHandler() *Handler {
	r := newRig()
	r.rules.Store(&Rules{Authorizer: r.auth, Channel: limits(64 << 10)})
	r.Publisher = sink{}
	return r.Handler
}

func BenchmarkDecode(b *testing.B) {
	var doc bytes.Buffer
	ch := limits(64 << 10)("orders")
	b.ReportAllocs()
	b.SetBytes(int64(len(benchEvent)))
	for b.Loop() {
		doc.Reset()
		if p := compact(&doc, []byte(benchEvent)); p != nil {
			b.Fatal(p)
		}
		if _, p := decodeEvent(doc.Bytes(), ch); p != nil {
			b.Fatal(p)
		}
	}
}

// quiet is a ResponseWriter that costs nothing.
type quiet struct{ h http.Header }

func (q *quiet) Header() http.Header         { return q.h }
func (q *quiet) Write(b []byte) (int, error) { return len(b), nil }
func (q *quiet) WriteHeader(int)             {}
func (q *quiet) Flush()                      {}

// BenchmarkPost is what the handler adds to net/http.
func BenchmarkPost(b *testing.B) {
	h := benchHandler()
	req := request1("POST", eventsPath, benchEvent)
	body := strings.NewReader(benchEvent)
	req.Body = io.NopCloser(body)
	w := &quiet{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(benchEvent)
		h.ServeHTTP(w, req)
	}
}

// BenchmarkPostKeptAlive is a publisher's POST on a kept-alive connection, one
// at a time, with the client's half as cheap as can be.
func BenchmarkPostKeptAlive(b *testing.B) {
	s := httptest.NewUnstartedServer(nil)
	s.Config = NewServer(benchHandler())
	s.Start()
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	msg := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", eventsPath, len(benchEvent), benchEvent)
	in := bufio.NewReader(conn)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(msg); err != nil {
			b.Fatal(err)
		}
		for { // the answer's only line that ends with a brace is its body
			line, err := in.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if bytes.HasSuffix(line, []byte("}\n")) {
				break
			}
		}
	}
}

// BenchmarkStream is one event of a stream that is always full.
func BenchmarkStream(b *testing.B) {
	h := benchHandler()
	line := []byte(benchEvent + "\n")
	b.ReportAllocs()
	b.ResetTimer()
	req := request1("POST", eventsPath, "", "Content-Type", "application/x-ndjson")
	req.Body = io.NopCloser(&repeat{line: bytes.Repeat(line, 100), left: b.N * len(line)})
	h.ServeHTTP(&quiet{http.Header{}}, req)
}

// repeat reads as the same lines again and again.
type repeat struct {
	line []byte
	at   int
	left int
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.left)], r.line[r.at:])
	r.at = (r.at + n) % len(r.line)
	r.left -= n
	return n, nil
}

// BenchmarkPostCloudEvent is BenchmarkPost for a CloudEvent, in each of its modes.
func BenchmarkPostCloudEvent(b *testing.B) {
	const data = `{"order":42,"total":"19.90","items":[{"sku":"a-1","n":2},{"sku":"b-7","n":1}]}`
	for name, bc := range map[string]struct {
		req  *http.Request
		body string
	}{
		"binary":     {binaryCE(eventsPath, "", "Ce-Subject", "order:42"), data},
		"structured": {request1("POST", eventsPath, "", "Content-Type", structured), ce(`"subject":"order:42","data":` + data)},
	} {
		b.Run(name, func(b *testing.B) {
			h := benchHandler()
			body := strings.NewReader(bc.body)
			bc.req.Body = io.NopCloser(body)
			w := &quiet{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(bc.body)
				h.ServeHTTP(w, bc.req)
			}
		})
	}
}
