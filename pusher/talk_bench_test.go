// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// BenchmarkHandlerRoundTrip is the time from a client's emit to its acknowledgement, with
// so many clients that wait at a time, on loopback, beside the time of the same requests
// made to the handler directly by as many callers.
func BenchmarkHandlerRoundTrip(b *testing.B) {
	handler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte("1000ms")) {
			time.Sleep(time.Second)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ack":["ok"]}`)
	}))
	defer handler.Close()
	ch := open("chat")
	ch.Limits.Connections = 10_000
	ch.Handlers = []settings.Handler{{
		Events: []string{"*"}, URL: handler.URL, Timeout: settings.Duration(30 * time.Second), Concurrency: 1000, Loopback: true,
	}}
	srv, err := New(Config{ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}, document(ch))
	if err != nil {
		b.Fatal(err)
	}
	srv.Start()
	defer srv.Drain()
	for _, own := range []string{"0s", "1000ms"} {
		for _, callers := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d/emit", own, callers), func(b *testing.B) {
				conns := make(chan *benchConn, callers)
				for range callers {
					conns <- dialBench(b, srv)
				}
				measure(b, callers, func() {
					c := <-conns
					c.say(`{"type":"emit","event":"x","data":"` + own + `","ref":1}`)
					c.hear()
					conns <- c
				})
			})
			b.Run(fmt.Sprintf("%s/%d/direct", own, callers), func(b *testing.B) {
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
				defer client.CloseIdleConnections()
				measure(b, callers, func() {
					resp, err := client.Post(handler.URL, "application/json", strings.NewReader(`{"event":"x","args":["`+own+`"]}`))
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				})
			})
		}
	}
}

// measure has so many callers call at a time, and reports how long a call takes.
func measure(b *testing.B, callers int, call func()) {
	b.Helper()
	took := make([]time.Duration, b.N)
	next := make(chan int)
	var all sync.WaitGroup
	b.ResetTimer()
	for range callers {
		all.Go(func() {
			time.Sleep(rand.N(time.Second)) // so that they do not all call at once
			for i := range next {
				begun := time.Now()
				call()
				took[i] = time.Since(begun)
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// benchConn is a plain client without a test behind it.
type benchConn struct {
	b    *testing.B
	conn net.Conn
	r    io.Reader
}

func dialBench(b *testing.B, srv *Server) *benchConn {
	b.Helper()
	conn, br, _, err := ws.Dial(context.Background(), "ws://"+srv.ClientsAddr().String()+"/ws/chat")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	c := &benchConn{b, conn, conn}
	if br != nil {
		c.r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	c.hear()
	return c
}

func (c *benchConn) say(msg string) {
	if err := ws.WriteFrame(c.conn, ws.MaskFrame(ws.NewTextFrame([]byte(msg)))); err != nil {
		c.b.Error(err)
	}
}

func (c *benchConn) hear() {
	if _, err := ws.ReadFrame(c.r); err != nil {
		c.b.Error(err)
	}
}
