// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/broker"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// lazy is a broker as one for several replicas is: it delivers what is attached,
// and can be away.
type lazy struct {
	*broker.Memory
	to Deliveries

	mu       sync.Mutex
	attached map[string]bool
	calls    int
	away     error
	gate     chan struct{} // that Attach waits for; nil: nothing
	behind   *wire.Position
}

func (l *lazy) Position(channel string) (wire.Position, bool) {
	l.mu.Lock()
	behind := l.behind
	l.mu.Unlock()
	if behind != nil {
		return *behind, true
	}
	return l.Memory.Position(channel)
}

func (l *lazy) deliver(channel string, pos wire.Position, ev *wire.Event) {
	l.mu.Lock()
	attached := l.attached[channel]
	l.mu.Unlock()
	if attached {
		l.to.Deliver(channel, pos, ev)
	}
}

func (l *lazy) Attach(context.Context, string) error {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attached["orders"] = true
	l.calls++
	return nil
}

func (l *lazy) Detach(channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.attached, channel)
}

func (l *lazy) Healthy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.away
}

func (l *lazy) set(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

func serveLazily(t *testing.T, channels ...settings.Channel) (*Server, *lazy) {
	t.Helper()
	l := &lazy{attached: map[string]bool{}}
	srv, err := New(Config{
		ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Loops: 2, Log: slog.New(slog.DiscardHandler),
		Broker: func(to Deliveries) (Broker, error) {
			l.to = to
			l.Memory = broker.NewMemory(l.deliver, nil)
			return l, nil
		},
	}, document(channels...))
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Drain)
	return srv, l
}

// TestAChannelIsAttachedWhileSomebodyListens: what happens while nobody does is no
// business of this push server's, but a client that comes back gets it.
func TestAChannelIsAttachedWhileSomebodyListens(t *testing.T) {
	srv, l := serveLazily(t, keeping(open("orders"), 100))
	at := numbered(t, srv, 1, 3)
	for round := range 3 {
		c := connect(t, srv, "orders")
		if w := c.next("welcome"); w["offset"] != at[len(at)-1] {
			t.Errorf("round %d: welcomed at %v, the channel is at %s", round, w["offset"], at[len(at)-1])
		}
		back := connect(t, srv, "orders?since="+at[0])
		if w := back.next("welcome"); w["recovered"] != true {
			t.Errorf("round %d: %v", round, w)
		}
		for n := 2; n <= len(at); n++ {
			back.wantEvents(n)
		}
		st := streamFrom(t, srv, "orders")
		st.block()
		at = append(at, numbered(t, srv, len(at)+1, len(at)+1)...)
		c.wantEvents(len(at))
		back.wantEvents(len(at))
		st.block()
		srv.detachIdle()
		l.set(func() {
			if !l.attached["orders"] || l.calls > 2*(round+1) {
				t.Errorf("round %d: attached %v after %d calls", round, l.attached, l.calls)
			}
		})
		_ = c.conn.Close()
		_ = back.conn.Close()
		_ = st.conn.Close()
		settled(t, srv, 0)
		srv.detachIdle()
		l.set(func() {
			if l.attached["orders"] {
				t.Errorf("round %d: attached although nobody listens", round)
			}
		})
		at = append(at, numbered(t, srv, len(at)+1, len(at)+5)...)
	}
}

// TestNothingIsMissedWhileAttaching: the welcome's offset is where events begin.
func TestNothingIsMissedWhileAttaching(t *testing.T) {
	srv, l := serveLazily(t, keeping(spoken(open("orders")), 100))
	at := numbered(t, srv, 1, 1)
	gate := make(chan struct{})
	l.set(func() { l.gate = gate })
	c, back := connect(t, srv, "orders"), connect(t, srv, "orders?since="+at[0])
	e := openSocket(t, srv)
	e.say("40/orders,")
	at = append(at, numbered(t, srv, 2, 4)...)
	close(gate)
	if w := c.next("welcome"); w["offset"] != at[3] {
		t.Errorf("welcome: %v", w)
	}
	if w := back.next("welcome"); w["offset"] != at[0] || w["recovered"] != true {
		t.Errorf("welcome: %v", w)
	}
	e.expect(`40/orders,{"sid":"`)
	numbered(t, srv, 5, 5)
	c.wantEvents(5)
	back.wantEvents(2, 3, 4, 5)
	e.expect(`42/orders,["n",5`)
}

func TestABrokerThatIsAway(t *testing.T) {
	srv, l := serveLazily(t, keeping(open("orders"), 100))
	l.set(func() { l.away = errors.New("away") })
	connect(t, srv, "orders").closed(wire.CloseTryLater)
	c := connect(t, srv, "orders?since=x.1")
	time.AfterFunc(200*time.Millisecond, func() { l.set(func() { l.away = nil }) })
	c.next("welcome")
	// Who is there stays, and so does who comes to an attached channel.
	l.set(func() { l.away = errors.New("away") })
	connect(t, srv, "orders").next("welcome")
	c.say(`{"type":"ping"}`)
	c.next("pong")
}

// TestLostEventsAreSaid: clients of the channel, and no others, are to come back.
func TestLostEventsAreSaid(t *testing.T) {
	srv, l := serveLazily(t, keeping(spoken(open("orders")), 100), open("other"))
	c, other := connect(t, srv, "orders"), connect(t, srv, "other")
	c.next("welcome")
	other.next("welcome")
	st := streamFrom(t, srv, "orders")
	st.block()
	e := connectEngine(t, srv, "/orders")
	l.to.Lost("orders", wire.Position{Epoch: "e", Seq: 1}, wire.Position{Epoch: "e", Seq: 5})
	if m := c.next("reconnect"); m["after"].(float64) < 1000 {
		t.Errorf("reconnect: %v", m)
	}
	c.closed(wire.CloseTryLater)
	e.closed(wire.CloseTryLater)
	if got := st.block(); len(got) < 7 || got[:7] != "retry: " {
		t.Errorf("the stream ends with %q", got)
	}
	other.say(`{"type":"ping"}`)
	other.next("pong")
}

// TestAChannelThatIsCreatedAnew has the name of one that was deleted, and nothing
// else of it: no client, no event.
func TestAChannelThatIsCreatedAnew(t *testing.T) {
	first := keeping(open("orders"), 100)
	first.UID = "first"
	srv, l := serveLazily(t, first, open("other"))
	at := numbered(t, srv, 1, 2)
	old, other := connect(t, srv, "orders"), connect(t, srv, "other")
	token, _ := old.next("welcome")["resume"].(string)
	other.next("welcome")
	second := first
	second.UID = "second"
	if err := srv.Reload(document(second, open("other"))); err != nil {
		t.Fatal(err)
	}
	l.set(func() { delete(l.attached, "orders") }) // as a broker does with a log that ends
	old.closed(wire.CloseChannelGone)
	for _, query := range []string{"since=" + at[0], "resume=" + token} {
		c := connect(t, srv, "orders?"+query)
		if w := c.next("welcome"); w["recovered"] != false {
			t.Errorf("%s: %v", query, w)
		}
		numbered(t, srv, 3, 3)
		c.wantEvents(3)
	}
	other.say(`{"type":"ping"}`)
	other.next("pong")
	if n := srv.Status().Channels["orders"].Connections; n != 2 {
		t.Errorf("%d connections are counted", n)
	}
}

// TestAClientThatIsAheadOfItsReplica has had from another what this one has still to
// deliver. It gets what follows at once, without another look at the history.
func TestAClientThatIsAheadOfItsReplica(t *testing.T) {
	srv, l := serveLazily(t, keeping(open("orders"), 100))
	g := &gated{history: srv.broker, entered: make(chan struct{}, 100), gate: make(chan struct{}, 1)}
	srv.replays.history = g
	at := numbered(t, srv, 1, 5)
	behind, err := wire.ParsePosition(at[1])
	if err != nil {
		t.Fatal(err)
	}
	l.set(func() { l.behind = &behind })
	g.gate <- struct{}{} // once
	c := connect(t, srv, "orders?since="+at[4])
	if w := c.next("welcome"); w["recovered"] != true || w["offset"] != at[4] {
		t.Fatalf("welcome: %v", w)
	}
	numbered(t, srv, 6, 6)
	c.wantEvents(6)
	close(g.gate)
	numbered(t, srv, 7, 7)
	c.wantEvents(7)
}

// TestAClientThatIsNotRecoveredAheadOfItsReplica is told that it has lost something,
// and is not sent again what another replica has given it.
func TestAClientThatIsNotRecoveredAheadOfItsReplica(t *testing.T) {
	srv, l := serveLazily(t, recovering(open("orders"), 100))
	at := numbered(t, srv, 1, 5)
	behind, err := wire.ParsePosition(at[1])
	if err != nil {
		t.Fatal(err)
	}
	l.set(func() { l.behind = &behind })
	pid := srv.sids.pid(wire.SessionID{1})
	e := openSocket(t, srv)
	if now := e.connectWith(recoverAuth(pid, at[4])); now.PID == pid {
		t.Fatalf("recovered as %+v", now)
	}
	e.expect(`42/orders,["klaxon.lost"`)
	if got := e.offset(); got != at[4] {
		t.Errorf("it is said to be at %s, and had %s", got, at[4])
	}
	for n, late := range at[2:] {
		pos, err := wire.ParsePosition(late)
		if err != nil {
			t.Fatal(err)
		}
		l.to.Deliver("orders", pos, &wire.Event{Name: "n", Data: fmt.Append(nil, n+3)})
	}
	at = append(at, numbered(t, srv, 6, 6)...)
	e.wantEvent(6, at[5])
}

// TestNothingIsSaidBeforeTheWelcome, not even when to come back.
func TestNothingIsSaidBeforeTheWelcome(t *testing.T) {
	srv, l := serveLazily(t, keeping(open("orders"), 100))
	gate := make(chan struct{})
	l.set(func() { l.gate = gate })
	defer close(gate)
	c := connect(t, srv, "orders")
	settled(t, srv, 1)
	l.to.Lost("orders", wire.Position{Epoch: "e", Seq: 1}, wire.Position{Epoch: "e", Seq: 5})
	if f := c.frame(); f.Header.OpCode != ws.OpClose {
		t.Errorf("first said: %s", f.Payload)
	}
}
