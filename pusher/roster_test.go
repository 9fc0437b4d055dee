// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// ledger is a Roster in this process.
type ledger struct {
	mu      sync.Mutex
	records map[string]string
	owned   map[string]bool
	away    bool
	waiting []func()
	taken   func(string)
	renew   func()
	ttl     time.Duration
}

func (l *ledger) Keep(ttl time.Duration) { l.ttl = ttl }

func (l *ledger) Put(id string, record []byte, stored func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owned[id] = true
	put := func() { l.records[id] = string(record); stored() }
	if l.away {
		l.waiting = append(l.waiting, put)
		return
	}
	put()
}

func (l *ledger) Take(_ context.Context, id string, accept func([]byte) bool) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, errors.New("away")
	}
	if record, ok := l.records[id]; ok && accept([]byte(record)) {
		return []byte(record), nil
	}
	return nil, nil
}

func (l *ledger) Release(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owned, id)
}

func (l *ledger) Drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owned, id)
	delete(l.records, id)
}

func (l *ledger) Settle(context.Context, string) error { return nil }

func (l *ledger) Serve(taken func(string), renew func()) { l.taken, l.renew = taken, renew }

// set changes whether it can be reached.
func (l *ledger) set(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
	if !away {
		for _, put := range l.waiting {
			put()
		}
		l.waiting = nil
	}
}

func (l *ledger) state() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var rooms []string
	for _, record := range l.records {
		rooms = append(rooms, record)
	}
	return fmt.Sprint(len(l.owned), " owned: ", strings.Join(rooms, " "))
}

func serveKept(t *testing.T, channels ...settings.Channel) (*Server, *ledger) {
	t.Helper()
	l := &ledger{records: map[string]string{}, owned: map[string]bool{}}
	srv, err := New(Config{
		ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Loops: 2, Log: slog.New(slog.DiscardHandler),
		Replica: &Replica{ID: 1, Peers: proxies{}, Roster: l},
	}, document(channels...))
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Drain)
	return srv, l
}

func (l *ledger) want(t *testing.T, what, want string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = l.state(); got == want {
			return
		}
	}
	t.Errorf("%s: %s, want %s", what, got, want)
}

// TestSessionsAreKept as they begin, change, end, and are taken by somebody else.
func TestSessionsAreKept(t *testing.T) {
	srv, l := serveKept(t, recovering(open("orders"), 100), spoken(open("other")))
	if l.ttl != srv.current.Load().channels["orders"].History.TTL.Std() {
		t.Errorf("kept for %v", l.ttl)
	}
	e := openSocket(t, srv)
	was := e.connectWith("")
	e.offset()
	l.want(t, "it begins", `1 owned: {"channel":"orders"}`)
	e.say("40/other,")
	e.expect("40/other,{")
	l.want(t, "another, that is not recovered", `1 owned: {"channel":"orders"}`)
	l.set(true)
	e.say(`42/orders,1["join","a"]`)
	e.say(`42/other,2["join","b"]`)
	e.expect(`43/other,2[{"rooms":["b"]`) // at once; what must be kept waits
	l.set(false)
	e.expect(`43/orders,1[{"rooms":["a"]`)
	at := e.offset()
	l.want(t, "it joins a room", `1 owned: {"channel":"orders","rooms":["a"]}`)
	if _, _, err := (directory{srv}).ChangeRooms(t.Context(), "orders", was.SID, []string{"vip"}, nil); err != nil {
		t.Fatal(err)
	}
	l.want(t, "it is put into another", `1 owned: {"channel":"orders","rooms":["a","vip"],"granted":["vip"]}`)
	l.mu.Lock()
	clear(l.records)
	l.mu.Unlock()
	l.renew()
	l.want(t, "everything is forgotten", `1 owned: {"channel":"orders","rooms":["a","vip"],"granted":["vip"]}`)
	_ = e.conn.Close()
	settled(t, srv, 0)
	l.want(t, "its connection ends", `0 owned: {"channel":"orders","rooms":["a","vip"],"granted":["vip"]}`)
	missed := numbered(t, srv, 1, 1, `"rooms":["vip"]`)

	e = openSocket(t, srv)
	if now := e.connectWith(recoverAuth(was.PID, at)); now != was {
		t.Fatalf("recovered as %+v, was %+v", now, was)
	}
	e.wantEvent(1, missed[0])
	l.want(t, "it is back", `1 owned: {"channel":"orders","rooms":["a","vip"],"granted":["vip"]}`)
	l.taken(was.SID)
	e.closed(wire.CloseNormal)
	l.want(t, "it is somebody else's", `0 owned: {"channel":"orders","rooms":["a","vip"],"granted":["vip"]}`)

	e = openSocket(t, srv)
	e.connectWith(recoverAuth(was.PID, missed[0]))
	e.say("41/orders,")
	l.want(t, "it leaves for good", "0 owned: ")
}

// TestARosterThatCannotBeAsked is no proof that there is no session.
func TestARosterThatCannotBeAsked(t *testing.T) {
	srv, l := serveKept(t, recovering(open("orders"), 100))
	e := openSocket(t, srv)
	was := e.connectWith("")
	at := e.offset()
	_ = e.conn.Close()
	settled(t, srv, 0)
	l.set(true)
	e = openSocket(t, srv)
	e.say("40/orders," + recoverAuth(was.PID, at))
	time.AfterFunc(100*time.Millisecond, func() { l.set(false) })
	if got, want := e.expect("40/orders,"), fmt.Sprintf(`{"sid":%q,"pid":%q}`, was.SID, was.PID); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	l.set(true)
	e = openSocket(t, srv)
	e.say("40/orders," + recoverAuth(was.PID, at))
	e.closed(wire.CloseTryLater)
}

// TestAChannelThatGoesTakesItsSessions with it, also one that recovers no more.
func TestAChannelThatGoesTakesItsSessions(t *testing.T) {
	srv, l := serveKept(t, recovering(open("orders"), 100), open("other"))
	e := openSocket(t, srv)
	e.connectWith("")
	l.want(t, "it begins", `1 owned: {"channel":"orders"}`)
	if err := srv.Reload(document(recovering(open("orders"), 0), open("other"))); err != nil {
		t.Fatal(err)
	}
	_ = e.conn.Close()
	l.want(t, "it ends", `0 owned: {"channel":"orders"}`)
	if err := srv.Reload(document(recovering(open("orders"), 100), open("other"))); err != nil {
		t.Fatal(err)
	}
	e = openSocket(t, srv)
	e.connectWith("")
	l.mu.Lock()
	clear(l.records)
	l.mu.Unlock()
	l.renew()
	l.want(t, "another begins", `1 owned: {"channel":"orders"}`)
	if err := srv.Reload(document(open("other"))); err != nil {
		t.Fatal(err)
	}
	l.want(t, "the channel goes", "0 owned: ")
}

func (l *ledger) Each(_ context.Context, fn func(id string, owner uint32, record []byte)) error {
	return nil
}

func (l *ledger) TakeFrom(context.Context, string, uint32) ([]byte, error) { return nil, nil }
