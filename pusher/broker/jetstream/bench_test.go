// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/klaxon-dev/klaxon/pusher/broker"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// publisher is what the benchmarks publish to.
type publisher interface {
	Publish(ctx context.Context, channel string, events []*wire.Event) ([]wire.Receipt, error)
}

var payload = []byte(`{"order":4711,"state":"shipped","at":"2026-01-01T00:00:00Z","items":[1,2,3],"note":"a hundred bytes or so"}`)

// measure publishes from some goroutines and reports the latency.
func measure(b *testing.B, to publisher, publishers, batch int) {
	var next atomic.Int64
	took := make([][]time.Duration, publishers)
	b.ResetTimer()
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				evs := make([]*wire.Event, batch)
				for i := range evs {
					evs[i] = &wire.Event{Name: "order", Data: payload}
				}
				begun := time.Now()
				if _, err := to.Publish(context.Background(), "a", evs); err != nil {
					b.Error(err)
					return
				}
				took[p] = append(took[p], time.Since(begun))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
	if n := len(all); n > 0 {
		b.ReportMetric(float64(all[n/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(all[n*99/100].Microseconds()), "p99-µs")
	}
}

// BenchmarkPublish compares the brokers: one publisher for the latency, 64 for the
// throughput, and batches of 10.
func BenchmarkPublish(b *testing.B) {
	ignore := func(string, wire.Position, *wire.Event) {}
	for _, on := range []struct {
		name  string
		start func(b *testing.B) publisher
	}{
		{"memory", func(*testing.B) publisher {
			m := broker.NewMemory(ignore, nil)
			m.SetChannels(keeping("a"))
			return m
		}},
		{"one node, memory", func(b *testing.B) publisher { return onNATS(b, oneNode(b).ClientURL(), 1, Memory) }},
		{"one node, file", func(b *testing.B) publisher { return onNATS(b, oneNode(b).ClientURL(), 1, File) }},
		{"one node, file, sync", func(b *testing.B) publisher {
			o := natsOptions(b.TempDir())
			o.SyncAlways = true
			return onNATS(b, runNATS(b, o).ClientURL(), 1, File)
		}},
		{"three nodes, memory", func(b *testing.B) publisher { return onNATS(b, threeNodes(b).url(), 3, Memory) }},
		{"three nodes, file", func(b *testing.B) publisher { return onNATS(b, threeNodes(b).url(), 3, File) }},
	} {
		b.Run(on.name, func(b *testing.B) {
			to := on.start(b)
			b.Run("1 publisher", func(b *testing.B) { measure(b, to, 1, 1) })
			b.Run("64 publishers", func(b *testing.B) { measure(b, to, 64, 1) })
			b.Run("8 publishers, batches of 10", func(b *testing.B) { measure(b, to, 8, 10) })
		})
	}
}

func onNATS(b *testing.B, url string, replicas int, storage Storage) *Broker {
	c := testConfig(url, func(string, wire.Position, *wire.Event) {})
	c.Replicas, c.Storage = replicas, storage
	n := newBroker(b, c)
	n.SetChannels(keeping("a"))
	if err := n.Attach(b.Context(), "a"); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkFanOut is the time from Publish until three replicas have delivered.
func BenchmarkFanOut(b *testing.B) {
	for name, start := range map[string]func() (string, int){
		"one node":    func() (string, int) { return oneNode(b).ClientURL(), 1 },
		"three nodes": func() (string, int) { return threeNodes(b).url(), 3 },
	} {
		b.Run(name, func(b *testing.B) {
			url, nodes := start()
			arrived := make(chan struct{}, 3)
			c := testConfig(url, func(string, wire.Position, *wire.Event) { arrived <- struct{}{} })
			c.Replicas = nodes
			var replicas []everything
			for range 3 {
				r := everything{newBroker(b, c), b}
				r.SetChannels(keeping("a"))
				replicas = append(replicas, r)
			}
			b.ResetTimer()
			for i := range b.N {
				if _, err := replicas[i%3].Publish(b.Context(), "a", []*wire.Event{{Name: "order", Data: payload}}); err != nil {
					b.Fatal(err)
				}
				for range 3 {
					<-arrived
				}
			}
		})
	}
}

// BenchmarkChannels is what a thousand channels cost.
func BenchmarkChannels(b *testing.B) {
	const channels = 1000
	s := oneNode(b)
	var names []string
	for i := range channels {
		names = append(names, fmt.Sprint("channel", i))
	}
	c := testConfig(s.ClientURL(), func(string, wire.Position, *wire.Event) {})
	c.TailInterval = time.Hour
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := newBroker(b, c)
	begun := time.Now()
	n.SetChannels(keeping(append(names, "elsewhere")...))
	for _, name := range names {
		if err := n.Attach(b.Context(), name); err != nil {
			b.Fatal(err)
		}
	}
	attach := time.Since(begun)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("%d channels are attached in %s, %d goroutines, %d KiB with the server's part, %d subscriptions", channels, attach, runtime.NumGoroutine(),
		(after.HeapAlloc-before.HeapAlloc)>>10, s.NumSubscriptions())
	in, logs := n.attachedLogs()
	check := func(b *testing.B, busy int) {
		begin := varzOf(b, s)
		for range b.N {
			b.StopTimer()
			for i := range busy {
				if _, err := n.Publish(b.Context(), names[i], []*wire.Event{{Data: payload}}); err != nil {
					b.Fatal(err)
				}
			}
			// Something that no attached channel has, so that there is a check at all.
			if _, err := n.Publish(b.Context(), "elsewhere", []*wire.Event{{}}); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := n.checkTails(b.Context(), in, logs); err != nil {
				b.Fatal(err)
			}
		}
		end := varzOf(b, s)
		b.ReportMetric(float64(end.InBytes-begin.InBytes)/float64(b.N), "in-B/op")
		b.ReportMetric(float64(end.OutBytes-begin.OutBytes)/float64(b.N), "out-B/op")
	}
	b.Run("tail check, all quiet", func(b *testing.B) { check(b, 0) })
	b.Run("tail check, 100 busy", func(b *testing.B) { check(b, 100) })
	b.Run("round, nothing new", func(b *testing.B) {
		for range b.N {
			if err := n.round(); err != nil {
				b.Fatal(err)
			}
		}
	})
	from, _ := n.Position(names[0])
	var to wire.Position
	for range 100 {
		got, err := n.Publish(b.Context(), names[0], []*wire.Event{{Data: payload}})
		if err != nil {
			b.Fatal(err)
		}
		to = got[0].Position
	}
	eventually(b, "it is delivered", func() bool { p, _ := n.Position(names[0]); return p == to })
	b.Run("read 100 events", func(b *testing.B) {
		for range b.N {
			p, err := n.Read(b.Context(), names[0], wire.Range{After: from, Upto: to.Seq, Limit: 100})
			if err != nil || len(p.Events) != 100 {
				b.Fatal(len(p.Events), err)
			}
		}
	})
	b.Run("read nothing new", func(b *testing.B) {
		for range b.N {
			if _, err := n.Read(b.Context(), names[0], wire.Range{After: to, Upto: to.Seq, Limit: 100}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func varzOf(b *testing.B, s *server.Server) *server.Varz {
	v, err := s.Varz(nil)
	if err != nil {
		b.Fatal(err)
	}
	return v
}
