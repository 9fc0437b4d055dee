// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/broker/brokertest"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// streams gives each broker of a test a stream of its own.
var streams atomic.Int64

// testConfig is quick, and has a stream that nobody has.
func testConfig(url string, deliver brokertest.Deliver) Config {
	n := streams.Add(1)
	return Config{
		URL: url, Stream: fmt.Sprintf("test_%d", n), Prefix: fmt.Sprintf("test.%d", n), Storage: Memory,
		Deliver: deliver, TailInterval: 100 * time.Millisecond, Timeout: patience, Linger: time.Millisecond,
	}
}

func newBroker(t testing.TB, c Config) *Broker {
	t.Helper()
	if testing.Verbose() {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// everything is a broker that attaches all of its channels.
type everything struct {
	*Broker
	t testing.TB
}

func (e everything) SetChannels(channels []settings.Channel) {
	e.Broker.SetChannels(channels)
	for _, c := range channels {
		if err := e.Attach(context.Background(), c.Name); err != nil {
			e.t.Error(err)
		}
	}
}

func noLoss(t testing.TB) func(string, wire.Position, wire.Position) {
	return func(channel string, from, to wire.Position) {
		t.Errorf("%s: from %v to %v is lost", channel, from, to)
	}
}

func TestContractOneNode(t *testing.T) {
	url := oneNode(t).ClientURL()
	brokertest.Run(t, func(t *testing.T, deliver brokertest.Deliver) brokertest.Broker {
		c := testConfig(url, deliver)
		c.Lost = noLoss(t)
		return everything{newBroker(t, c), t}
	})
}

func TestContractThreeNodes(t *testing.T) {
	url := threeNodes(t).url()
	brokertest.Run(t, func(t *testing.T, deliver brokertest.Deliver) brokertest.Broker {
		c := testConfig(url, deliver)
		c.Replicas, c.Lost = 3, noLoss(t)
		return everything{newBroker(t, c), t}
	})
}

// TestCloseEndsAll: no goroutine of a broker stays behind.
func TestCloseEndsAll(t *testing.T) {
	url := oneNode(t).ClientURL()
	b := everything{newBroker(t, testConfig(url, func(string, wire.Position, *wire.Event) {})), t}
	b.SetChannels([]settings.Channel{{Name: "a"}, {Name: "b"}})
	for range 100 {
		if _, err := b.Publish(t.Context(), "a", []*wire.Event{{}, {}}); err != nil {
			t.Fatal(err)
		}
	}
	b.Close()
	if _, err := b.Publish(t.Context(), "a", []*wire.Event{{}}); err == nil {
		t.Error("a closed broker takes events")
	}
	b.Close()
	eventually(t, "no goroutine is left", func() bool {
		all := make([]byte, 1<<20)
		all = all[:runtime.Stack(all, true)]
		return !strings.Contains(string(all), "jetstream.(*Broker)") && !strings.Contains(string(all), "nats.(*Conn)")
	})
}
