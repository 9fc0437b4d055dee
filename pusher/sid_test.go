// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/loop"
)

func TestSessionIDsSayWhereTheSessionLives(t *testing.T) {
	k := newSIDs(nil)
	seen := map[string]bool{}
	for slot := range loop.Slot(loopSlots) {
		h, sid := k.assign(3, slot)
		if got, ok := k.find(sid); !ok || got != h || h.slot != slot || h.shard != 3 || h.owner != k.owner {
			t.Fatalf("%s: found %+v, %v; it is %+v", sid, got, ok, h)
		}
		if seen[sid] || len(sid) != 32 || strings.Trim(sid, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Fatalf("%s is not an id", sid)
		}
		seen[sid] = true
	}
}

const loopSlots = 100

// TestSessionIDsShowNothing: two sessions of neighbouring slots have nothing in
// common but what is secret.
func TestSessionIDsShowNothing(t *testing.T) {
	k := newSIDs(nil)
	prefixes := map[string]int{}
	for range loopSlots {
		_, sid := k.assign(0, 7)
		prefixes[sid[6:12]]++ // the place: letters that are its alone
	}
	if len(prefixes) < loopSlots-2 {
		t.Fatalf("%d ids of one place look like %d", loopSlots, len(prefixes))
	}
}

func TestForgedSessionIDs(t *testing.T) {
	k := newSIDs(nil)
	_, sid := k.assign(0, 1)
	for _, forged := range []string{"", "__proto__", sid[:31], sid + "A", strings.ToUpper(sid), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", strings.Repeat("x", 1<<16), sid[:31] + "=", sid + "\n", sid[:16] + "\r\n" + sid[16:]} {
		if _, ok := k.find(forged); ok {
			t.Errorf("%.40q is taken for an id", forged)
		}
	}
	for i := range sid {
		b := []byte(sid)
		if b[i]++; b[i] == '{' || b[i] == ':' || b[i] == '[' || b[i] == '`' || b[i] == '.' {
			b[i] = 'a'
		}
		if string(b) == sid {
			b[i] = 'b'
		}
		if _, ok := k.find(string(b)); ok {
			t.Errorf("%s is taken for an id: %s with another letter", b, sid)
		}
	}
	if _, ok := newSIDs(nil).find(sid); ok {
		t.Error("an id of another Pusher's is taken")
	}
}

// proxies are Peers by their addresses.
type proxies map[uint32]*Server

func (p proxies) Forward(w http.ResponseWriter, r *http.Request, owner uint32) bool {
	srv := p[owner]
	if srv == nil {
		return false
	}
	to := &url.URL{Scheme: "http", Host: srv.ClientsAddr().String()}
	(&httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(to); pr.Out.Host = pr.In.Host }}).ServeHTTP(w, r)
	return true
}

func (proxies) Ask(context.Context, []byte) ([][]byte, bool)          { return nil, true }
func (proxies) AskOne(context.Context, uint32, []byte) ([]byte, bool) { return nil, false }
func (proxies) Tell([]byte)                                           {}
func (proxies) Present() map[uint32]bool                              { return nil }
func (proxies) Publish(string, []byte)                                {}
func (proxies) Listen(string, func([]byte)) func()                    { return func() {} }
func (proxies) Serve(func([]byte) [][]byte)                           {}

// TestAnyReplicaTakesAPoll has a client whose requests go to two replicas by turns.
func TestAnyReplicaTakesAPoll(t *testing.T) {
	peers := proxies{}
	key := [32]byte{1, 2, 3}
	var both []*Server
	for id := range uint32(2) {
		srv, err := New(Config{
			ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Loops: 2,
			Log: slog.New(slog.DiscardHandler), Replica: &Replica{ID: id, Key: key, Peers: peers},
		}, document(spoken(open("orders"))))
		if err != nil {
			t.Fatal(err)
		}
		peers[id] = srv
		both = append(both, srv)
	}
	for _, srv := range both {
		srv.Start()
		t.Cleanup(srv.Drain)
	}
	p := startPolling(t, both[0])
	elsewhere := *p
	elsewhere.url = strings.Replace(p.url, both[0].ClientsAddr().String(), both[1].ClientsAddr().String(), 1)
	elsewhere.push("40/orders,")
	if got := p.poll(); !strings.HasPrefix(got, `40/orders,{"sid":"`) {
		t.Fatalf("CONNECT is answered %s", got)
	}
	for i := range 6 {
		mustPublish(t, both[0], "orders", fmt.Sprintf(`{"event":"e","data":%d}`, i))
		by := p
		if i%2 == 0 {
			by = &elsewhere
		}
		if got, want := by.poll(), fmt.Sprintf(`42/orders,["e",%d]`, i); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	if both[1].connections() != 0 {
		t.Fatalf("the other replica has %d connections of its own", both[1].connections())
	}
	delete(peers, 0)
	elsewhere.gone()
}
