// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"fmt"
	"testing"
)

func TestRoomsOfASessionAreBounded(t *testing.T) {
	c := spoken(open("orders"))
	c.Limits.RoomsPerSession = 2
	srv := serve(t, c)
	a := connect(t, srv, "orders?room=a&room=b&room=c")
	if m := a.next("welcome"); fmt.Sprint(m["rooms"]) != "[a b]" {
		t.Errorf("welcomed to %v", m["rooms"])
	}
	if m := a.next("error"); m["code"] != "too_many_rooms" || m["message"] != "a session is in at most 2 rooms here: leave some first" || fmt.Sprint(m["rooms"]) != "[c]" {
		t.Errorf("refused with %v", m)
	}
	a.say(`{"type":"join","rooms":["a"]}`) // where it is
	if m := a.next("joined"); fmt.Sprint(m["rooms"]) != "[a b]" {
		t.Errorf("joined %v", m)
	}
	e := connectEngine(t, srv, "/orders")
	e.say(`42/orders,1["join",["a","b","c"]]`)
	e.expect(`43/orders,1[{"rooms":["a","b"],"offset":`)
	if _, _, err := (directory{srv}).ChangeRooms(t.Context(), "orders", anySession(t, srv, "orders"), []string{"d"}, nil); err == nil {
		t.Error("a publisher puts a session into one room too many")
	}
	if n := refusedCount(srv, "orders", refusedRooms); n != 3 {
		t.Errorf("%d refusals are counted", n)
	}
	a.say(`{"type":"leave","rooms":["a"]}`)
	a.next("left")
	a.say(`{"type":"join","rooms":["c"]}`)
	if m := a.next("joined"); fmt.Sprint(m["rooms"]) != "[b c]" {
		t.Errorf("joined %v", m)
	}
}

// anySession is the id of one.
func anySession(t *testing.T, srv *Server, channel string) string {
	t.Helper()
	all, _ := (directory{srv}).List(t.Context(), channel)
	if len(all) == 0 {
		t.Fatal("nobody is there")
	}
	return all[0].ID
}

func TestClientsOfAChannelTogetherHaveARate(t *testing.T) {
	c := ruled(open("orders"), "publish", "true")
	c.Limits.TotalEmitRate = 1
	srv := serve(t, c)
	a, b := connect(t, srv, "orders"), connect(t, srv, "orders")
	a.next("welcome")
	b.next("welcome")
	for range 2 {
		a.say(`{"type":"publish","event":"x","rooms":["nobody"],"ref":1}`)
		a.next("ack")
	}
	b.say(`{"type":"publish","event":"x","ref":2}`)
	if m := b.next("error"); m["code"] != "rate_limited" || m["message"] != "all clients of this channel together may emit 1 events a second: try again later" {
		t.Errorf("refused with %v", m)
	}
	b.say(`{"type":"emit","event":"x","ref":3}`)
	if m := b.next("error"); m["code"] != "rate_limited" {
		t.Errorf("refused with %v", m)
	}
	if n := refusedCount(srv, "orders", refusedTotalRate); n != 2 {
		t.Errorf("%d refusals are counted", n)
	}
}
