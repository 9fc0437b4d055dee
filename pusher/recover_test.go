// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// connected is the answer to a CONNECT.
type connected struct{ SID, PID string }

// connectWith sends a CONNECT to /orders and reads the answer.
func (e *engineSocket) connectWith(auth string) (c connected) {
	e.t.Helper()
	e.say("40/orders," + auth)
	if err := json.Unmarshal([]byte(e.expect("40/orders,")), &c); err != nil {
		e.t.Fatal(err)
	}
	return c
}

func openSocket(t *testing.T, srv *Server) *engineSocket {
	t.Helper()
	e := engineDial(t, srv, "")
	e.expect("0{")
	return e
}

// offset reads the event that tells a client where it is.
func (e *engineSocket) offset() (at string) {
	e.t.Helper()
	at, ok := strings.CutSuffix(e.expect(`42/orders,["klaxon.offset","`), `"]`)
	if !ok {
		e.t.Fatalf("offset is %s", at)
	}
	return at
}

func (e *engineSocket) wantEvent(n int, offset string) {
	e.t.Helper()
	if got, want := e.packet(), fmt.Sprintf(`42/orders,["n",%d,%q]`, n, offset); got != want {
		e.t.Fatalf("got %s, want %s", got, want)
	}
}

func recoverAuth(pid, offset string) string {
	return fmt.Sprintf(`{"pid":%q,"offset":%q}`, pid, offset)
}

func TestASocketIsRecovered(t *testing.T) {
	srv := serve(t, recovering(open("orders"), 100))
	e := openSocket(t, srv)
	was := e.connectWith("")
	if was.PID == "" {
		t.Fatal("no pid")
	}
	begin := e.offset()
	e.say(`42/orders,1["join",["a","b"]]`)
	e.expect("43/orders,1[")
	if at := e.offset(); at != begin {
		t.Errorf("after the join the client is at %s, was at %s", at, begin)
	}
	e.say(`42/orders,2["leave","b"]`)
	e.expect("43/orders,2[")
	at := numbered(t, srv, 1, 1)
	e.wantEvent(1, at[0])
	_ = e.conn.Close()
	settled(t, srv, 0)
	missed := append(numbered(t, srv, 2, 2, `"rooms":["a"]`), numbered(t, srv, 3, 3, `"rooms":["b"]`)...)
	missed = append(missed, numbered(t, srv, 4, 4, fmt.Sprintf(`"sessions":[%q]`, was.SID))...)

	e = openSocket(t, srv)
	if now := e.connectWith(recoverAuth(was.PID, at[0])); now != was {
		t.Fatalf("recovered as %+v, was %+v", now, was)
	}
	e.wantEvent(2, missed[0])
	e.wantEvent(4, missed[2])
	// It is reached by its old id, and is in its rooms.
	live := append(numbered(t, srv, 5, 5, fmt.Sprintf(`"sessions":[%q]`, was.SID)), numbered(t, srv, 6, 6, `"rooms":["a"]`)...)
	e.wantEvent(5, live[0])
	e.wantEvent(6, live[1])
	if list, _ := (directory{srv}).List(t.Context(), "orders"); len(list) != 1 || list[0].ID != was.SID || fmt.Sprint(list[0].Rooms) != "[a]" {
		t.Errorf("sessions: %+v", list)
	}
	// Once more, and once more by its old id.
	_ = e.conn.Close()
	settled(t, srv, 0)
	e = openSocket(t, srv)
	if now := e.connectWith(recoverAuth(was.PID, live[1])); now != was {
		t.Fatalf("recovered again as %+v, was %+v", now, was)
	}
	if (directory{srv}).Disconnect(t.Context(), "orders", was.SID) != nil {
		t.Error("the session cannot be found by its id")
	}
	e.expect(`42/orders,["klaxon.disconnect"`)
	e.expect(`41/orders,`)
	// Who was sent away for good does not come back as who it was.
	if now := e.connectWith(recoverAuth(was.PID, live[1])); now.SID == was.SID || now.PID == was.PID {
		t.Errorf("recovered as %+v", now)
	}
}

// TestALivingSocketIsTakenOver: the client knows before the server that its last
// connection is gone.
func TestALivingSocketIsTakenOver(t *testing.T) {
	srv := serve(t, recovering(open("orders"), 100))
	for range 4 { // both loops
		e := openSocket(t, srv)
		was := e.connectWith("")
		begin := e.offset()
		e.say(`42/orders,1["join","a"]`)
		e.expect("43/orders,1[")
		e.offset()
		missed := numbered(t, srv, 1, 2, `"rooms":["a"]`)
		next := openSocket(t, srv)
		if now := next.connectWith(recoverAuth(was.PID, begin)); now != was {
			t.Fatalf("recovered as %+v, was %+v", now, was)
		}
		next.wantEvent(1, missed[0])
		next.wantEvent(2, missed[1])
		e.wantEvent(1, missed[0])
		e.wantEvent(2, missed[1])
		e.closed(wire.CloseNormal)
		_ = e.conn.Close()
		_ = next.conn.Close()
		settled(t, srv, 0)
	}
}

func TestSocketsThatAreNotRecovered(t *testing.T) {
	srv := serve(t, recovering(guarded("orders"), 3))
	token := func(user string) string { return fmt.Sprintf(`"token":%q`, signed(t, user, time.Hour, "*")) }
	e := openSocket(t, srv)
	was := e.connectWith("{" + token("ann") + `,"rooms":["a"]}`)
	begin := e.offset()
	_ = e.conn.Close()
	settled(t, srv, 0)
	at := numbered(t, srv, 1, 5, `"rooms":["a"]`)
	for name, auth := range map[string]string{
		"pid of nobody":    fmt.Sprintf(`"pid":"nobody","offset":%q`, at[4]),
		"pid is no string": fmt.Sprintf(`"pid":{"a":[1]},"offset":%q`, at[4]),
		"no offset":        fmt.Sprintf(`"pid":%q`, was.PID),
		"bad offset":       fmt.Sprintf(`"pid":%q,"offset":7`, was.PID),
		"foreign offset":   fmt.Sprintf(`"pid":%q,"offset":"somebody's"`, was.PID),
	} {
		e := openSocket(t, srv)
		if now := e.connectWith("{" + token("ann") + "," + auth + "}"); now.SID == was.SID || now.PID == was.PID {
			t.Errorf("%s: recovered as %+v", name, now)
		}
		if name != "pid is no string" {
			e.expect(`42/orders,["klaxon.lost",{"oldest":"` + at[1] + `"}]`)
		}
		if got := e.offset(); got != at[4] {
			t.Errorf("%s: the client is at %s", name, got)
		}
	}
	e = openSocket(t, srv)
	if now := e.connectWith(fmt.Sprintf(`{%s,"pid":%q,"offset":%q}`, token("bob"), was.PID, at[4])); now.SID == was.SID {
		t.Errorf("another user is recovered as %+v", now)
	}
	// It is still ann's to come back to, but what she has missed is not all there.
	e = openSocket(t, srv)
	now := e.connectWith(fmt.Sprintf(`{%s,"pid":%q,"offset":%q}`, token("ann"), was.PID, begin))
	if now.PID == was.PID {
		t.Errorf("recovered as %+v although events have gone", now)
	}
	e.expect(`42/orders,["klaxon.lost",{"oldest":"` + at[1] + `"}]`)
}

// TestWhoLeavesIsNotRecovered: a client that disconnects on purpose is gone.
func TestWhoLeavesIsNotRecovered(t *testing.T) {
	srv := serve(t, recovering(open("orders"), 3))
	e := openSocket(t, srv)
	was := e.connectWith("")
	at := e.offset()
	e.say("41/orders,")
	if now := e.connectWith(recoverAuth(was.PID, at)); now.SID == was.SID {
		t.Errorf("recovered as %+v", now)
	}
	if n := srv.parked.len(); n != 0 {
		t.Errorf("%d sessions are remembered", n)
	}
}

// TestRecoveryNeedsHistory: where nothing is kept no pid is promised.
func TestRecoveryNeedsHistory(t *testing.T) {
	srv := serve(t, recovering(open("orders"), 0))
	e := openSocket(t, srv)
	if c := e.connectWith(recoverAuth("x", "y.1")); c.PID != "" {
		t.Errorf("connected with %+v", c)
	}
	numbered(t, srv, 1, 1)
	e.expect(`42/orders,["n",1]`)
}

func TestParkingIsBounded(t *testing.T) {
	var p parking
	room := strings.Repeat("r", 128)
	id := func(i int) (id wire.SessionID) { copy(id[:], fmt.Sprint(i)); return id }
	counters := &channelCounters{}
	const n = maxParkedBytes/(parkedCost+10*(128+16)) + 1000
	for i := range n {
		p.put(id(i), &parked{channel: counters, rooms: []string{room, room, room, room, room, room, room, room, room, room}, until: time.Now().Add(time.Hour)})
		if p.bytes > maxParkedBytes {
			t.Fatalf("%d sessions take %d bytes", i+1, p.bytes)
		}
	}
	if p.take(id(0), counters, "") != nil {
		t.Error("the oldest is still there")
	}
	if p.take(id(n-1), &channelCounters{}, "") != nil || p.take(id(n-1), counters, "bob") != nil {
		t.Error("another's session is given away")
	}
	if p.take(id(n-1), counters, "") == nil || p.take(id(n-1), counters, "") != nil {
		t.Error("the youngest is not there once")
	}
	for i := range n {
		p.put(id(n), &parked{channel: counters, until: time.Now().Add(-time.Second)})
		if len(p.order) > 2*len(p.byID)+65 {
			t.Fatalf("after %d times the order has %d entries for %d", i, len(p.order), len(p.byID))
		}
	}
	p.tidy()
	if p.take(id(n), counters, "") != nil {
		t.Error("a session is there after its time")
	}
	for i := range n {
		p.take(id(i), counters, "")
	}
	if p.bytes != 0 || p.len() != 0 {
		t.Errorf("%d sessions, %d bytes are left", p.len(), p.bytes)
	}
}
