// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// BenchmarkComingBack has clients come back all at once, each to 100 events that it
// has missed, while somebody else listens to a live channel of the same loops. It
// says what a replayed event costs, and how long live events took meanwhile and
// with nobody coming back.
func BenchmarkComingBack(b *testing.B) {
	const clients, missed = 2000, 100
	ch := keeping(open("orders"), 1000)
	ch.Limits.Connections = clients
	srv, err := New(Config{
		ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Loops: 1, Log: slog.New(slog.DiscardHandler),
	}, document(ch, open("live")))
	if err != nil {
		b.Fatal(err)
	}
	srv.Start()
	b.Cleanup(srv.Drain)
	for i := 0; i <= missed; i++ {
		if _, err := srv.broker.Publish(b.Context(), "orders", []*wire.Event{{Name: "n", Data: fmt.Append(nil, i)}}); err != nil {
			b.Fatal(err)
		}
	}
	at, _ := srv.broker.Position("orders")
	at.Seq -= missed
	quiet := liveLatency(b, srv, func() { time.Sleep(time.Second) })
	for b.Loop() {
		for srv.connections() > 0 { // the last round's
			time.Sleep(time.Millisecond)
		}
		begun := time.Now()
		busy := liveLatency(b, srv, func() {
			var all sync.WaitGroup
			for range clients {
				all.Go(func() { comeBack(b, srv, "orders?since="+at.String(), missed) })
			}
			all.Wait()
		})
		b.ReportMetric(float64(time.Since(begun).Nanoseconds())/clients/missed, "ns/replayed-event")
		b.ReportMetric(busy.Seconds()*1e3, "busy-live-p99-ms")
	}
	b.ReportMetric(quiet.Seconds()*1e3, "quiet-live-p99-ms")
}

func comeBack(b *testing.B, srv *Server, path string, events int) {
	d, base := dialer(srv)
	d.Timeout = time.Minute
	conn, br, _, err := d.Dial(b.Context(), base+path)
	if err != nil {
		b.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	r := io.Reader(conn)
	if br != nil {
		r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	for range events + 1 { // the welcome too
		if _, err := ws.ReadFrame(r); err != nil {
			b.Error(err)
			return
		}
	}
}

// liveLatency publishes to a live channel every few milliseconds for as long as fn
// runs, and returns the 99th percentile of how long events took to a client.
func liveLatency(b *testing.B, srv *Server, fn func()) time.Duration {
	d, base := dialer(srv)
	conn, _, _, err := d.Dial(b.Context(), base+"live")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	var took []time.Duration
	go func() {
		defer close(done)
		for {
			f, err := ws.ReadFrame(conn)
			if err != nil {
				return
			}
			var m struct{ Data int64 }
			if json.Unmarshal(f.Payload, &m) == nil && m.Data > 0 {
				took = append(took, time.Since(time.Unix(0, m.Data)))
			}
		}
	}()
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			_, _ = srv.broker.Publish(b.Context(), "live", []*wire.Event{{Name: "t", Data: fmt.Append(nil, time.Now().UnixNano())}})
		}
	})
	fn()
	close(stop)
	publishing.Wait()
	_ = conn.Close()
	<-done
	slices.Sort(took)
	if len(took) == 0 {
		b.Fatal("nobody listened")
	}
	return took[len(took)*99/100]
}

// BenchmarkResumeToken is what each welcome costs more on a channel that keeps a
// history.
func BenchmarkResumeToken(b *testing.B) {
	k := newSIDs(nil)
	t := resumeToken{channel: "orders", user: "somebody", at: wire.Position{Epoch: "abcdefgh", Seq: 1 << 20}, rooms: []string{"order:42"}}
	b.ReportAllocs()
	for b.Loop() {
		if k.writeResume(t) == "" {
			b.Fatal("no token")
		}
	}
}
