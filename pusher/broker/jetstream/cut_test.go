// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// wireCutter is a proxy whose connections can be cut so that neither end notices:
// nothing passes, nothing is closed.
type wireCutter struct {
	mu    sync.Mutex
	cut   bool
	whole *sync.Cond
	ends  []net.Conn
}

func newWireCutter(t *testing.T, to string) (*wireCutter, string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wireCutter{}
	w.whole = sync.NewCond(&w.mu)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", u.Host)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.ends = append(w.ends, in, out)
			w.mu.Unlock()
			tasks.Go(func() { w.pass(in, out) })
			tasks.Go(func() { w.pass(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.set(false)
		w.mu.Lock()
		for _, c := range w.ends {
			_ = c.Close()
		}
		w.mu.Unlock()
		tasks.Wait()
	})
	return w, "nats://" + l.Addr().String()
}

func (w *wireCutter) pass(from, to net.Conn) {
	defer func() { _ = from.Close(); _ = to.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		w.mu.Lock()
		for w.cut {
			w.whole.Wait()
		}
		w.mu.Unlock()
		if _, werr := to.Write(b[:n]); werr != nil || err != nil {
			return
		}
	}
}

func (w *wireCutter) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	w.whole.Broadcast()
}

// TestCutConnection: a replica that is cut off, without a word, says so to
// publishers, and when it is back it delivers what it has missed and stores what
// was sent, once.
func TestCutConnection(t *testing.T) {
	direct := oneNode(t).ClientURL()
	cutter, through := newWireCutter(t, direct)
	c := testConfig(through, nil)
	c.Timeout = 500 * time.Millisecond
	c.Options = []nats.Option{nats.PingInterval(100 * time.Millisecond), nats.ReconnectWait(10 * time.Millisecond), nats.Timeout(300 * time.Millisecond)}
	r := newReplica(t, c, "a")
	c.URL, c.Timeout = direct, patience
	other := newReplica(t, c, "a")
	r.publish(t, "a", &wire.Event{ID: "1"})
	other.wait(t, "a", 1)

	cutter.set(true)
	_, err := r.Publish(t.Context(), "a", []*wire.Event{{ID: "2"}})
	if codeOfError(err) != "broker_unavailable" {
		t.Fatalf("Publish when cut off: %v", err)
	}
	_, err = r.Publish(t.Context(), "a", []*wire.Event{{ID: "3"}, {ID: "4"}})
	if codeOfError(err) != "broker_unavailable" {
		t.Fatalf("Publish of a batch when cut off: %v", err)
	}
	other.publish(t, "a", &wire.Event{ID: "5"})
	eventually(t, "it notices", func() bool { return r.Healthy() != nil })
	cutter.set(false)

	for _, evs := range [][]*wire.Event{{{ID: "2"}}, {{ID: "3"}, {ID: "4"}}} {
		eventually(t, "events are taken", func() bool {
			_, err := r.Publish(t.Context(), "a", evs)
			return err == nil
		})
	}
	one, two := r.wait(t, "a", 5), other.wait(t, "a", 5)
	for i := range one {
		if one[i] != two[i] {
			t.Fatalf("delivery %d is %+v here and %+v there", i, one[i], two[i])
		}
	}
	if len(r.losses())+len(other.losses()) > 0 {
		t.Fatalf("lost: %v, %v", r.losses(), other.losses())
	}
}
