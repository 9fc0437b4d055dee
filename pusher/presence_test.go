// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

func seen(c settings.Channel) settings.Channel {
	c.Presence = true
	return c
}

// presence reads the next message about who is there.
func (c *client) presence() string {
	c.t.Helper()
	m := c.next("presence")
	return fmt.Sprintln(m["room"], m["users"], m["joined"], m["left"], m["userCount"], m["sessionCount"])
}

func (c *client) wantPresence(want string) {
	c.t.Helper()
	if got := strings.TrimSpace(c.presence()); got != want {
		c.t.Errorf("presence is %s, want %s", got, want)
	}
}

// wantNobody waits until nothing is counted or watched.
func wantNobody(t *testing.T, srv *Server) {
	t.Helper()
	settled(t, srv, 0)
	who, _, err := directory{srv}.Who(t.Context(), "orders", "")
	if err != nil || who.Sessions != 0 || len(who.Users) != 0 {
		t.Errorf("there are still %+v (%v)", who, err)
	}
	srv.onLoops(func(sh *shard) {
		if len(sh.watches)+len(sh.watchers) != 0 {
			t.Errorf("%d sessions still watch", len(sh.watches))
		}
	})
}

func TestWhoIsThere(t *testing.T) {
	srv := serve(t, seen(spoken(guarded("orders"))))
	as := func(user string) string { return "orders?token=" + signed(t, user, time.Hour, "*") }
	ann := connect(t, srv, as("ann")+"&room=a")
	ann.next("welcome")
	ann.say(`{"type":"watch","ref":1}`)
	if m := ann.next("watching"); m["ref"] != 1.0 {
		t.Errorf("answered %v", m)
	}
	ann.wantPresence("<nil> [map[sessions:1 user:ann]] <nil> <nil> 1 1")
	ann.say(`{"type":"watch","rooms":["a"]}`)
	ann.next("watching")
	ann.wantPresence("a [map[sessions:1 user:ann]] <nil> <nil> 1 1")

	bob := connect(t, srv, as("bob"))
	bob.next("welcome")
	ann.wantPresence("<nil> <nil> [bob] <nil> 2 2")
	bob.say(`{"type":"join","rooms":["a"]}`)
	bob.next("joined")
	ann.wantPresence("a <nil> [bob] <nil> 2 2")
	who, all, err := directory{srv}.Who(t.Context(), "orders", "a")
	if err != nil || !all || fmt.Sprint(who) != "{a [{ann 1} {bob 1}] {2 2}}" {
		t.Errorf("asked by a backend: %v, %v, %v", who, all, err)
	}
	bob.say(`{"type":"watch","rooms":["b"]}`)
	bob.next("watching")
	if m := bob.next("error"); m["code"] != "forbidden" || fmt.Sprint(m["rooms"]) != "[b]" {
		t.Errorf("a room that bob is not in: %v", m)
	}
	ann.say(`{"type":"leave","rooms":["a"]}`)
	ann.next("left")
	bob.say(`{"type":"watch","rooms":["a"]}`)
	bob.next("watching")
	bob.wantPresence("a [map[sessions:1 user:bob]] <nil> <nil> 1 1")
	ann.say(`{"type":"unwatch"}`)
	ann.next("unwatched")
	srv.onLoops(func(sh *shard) {
		for scope := range sh.watchers {
			if scope.Room != "a" {
				t.Errorf("%v is still watched", scope)
			}
		}
	})
	_ = ann.conn.Close()
	_ = bob.conn.Close()
	wantNobody(t, srv)
}

func TestPresenceInAllProtocols(t *testing.T) {
	srv := serve(t, seen(spoken(guarded("orders"))))
	token := func(user string) string { return signed(t, user, time.Hour, "*") }
	e := engineDial(t, srv, "")
	e.expect("0{")
	e.say(`40/orders,{"token":"` + token("ann") + `"}`)
	e.expect("40/orders,{")
	e.say(`42/orders,7["watch"]`)
	if got := e.expect("43/orders,7["); strings.Contains(got, "error") {
		t.Errorf("answered %s", got)
	}
	const first = `"users":[{"user":"ann","sessions":1}],"userCount":1,"sessionCount":1}`
	e.expect(`42/orders,["klaxon.presence",{` + first)

	st := streamFrom(t, srv, "orders?room=a&watch=&watch=a&watch=b&token="+token("bob"))
	st.block()
	var refused, room, channel bool
	for !refused || !room || !channel {
		switch strings.ReplaceAll(st.block(), "\n", "|") {
		case `event: klaxon.error|data: {"code":"forbidden","message":"you can watch rooms that you are in","rooms":["b"]}`:
			refused = true
		case `event: klaxon.presence|data: {"room":"a","users":[{"user":"bob","sessions":1}],"userCount":1,"sessionCount":1}`:
			room = true
		case "event: klaxon.presence|data: {" + first: // bob is told of himself a moment later
		case `event: klaxon.presence|data: {"joined":["bob"],"userCount":2,"sessionCount":2}`,
			`event: klaxon.presence|data: {"users":[{"user":"ann","sessions":1},{"user":"bob","sessions":1}],"userCount":2,"sessionCount":2}`:
			channel = true
		default:
			t.Fatal("told something else")
		}
	}
	e.expect(`42/orders,["klaxon.presence",{"joined":["bob"],"userCount":2,"sessionCount":2}`)
	e.say(`42/orders,8["watch","a"]`)
	if got := e.expect("43/orders,8["); !strings.Contains(got, `"forbidden"`) {
		t.Errorf("a room that ann is not in: %s", got)
	}
	e.say(`42/orders,9["unwatch"]`)
	e.expect("43/orders,9[")
	c := connect(t, srv, "orders?watch=&token="+token("cem"))
	c.next("welcome")
	c.presence()
	_ = c.conn.Close()
	_ = e.conn.Close()
	_ = st.conn.Close()
	wantNobody(t, srv)
}

// TestPresenceIsSwitched while clients are connected.
func TestPresenceIsSwitched(t *testing.T) {
	off := guarded("orders")
	srv := serve(t, off)
	c := connect(t, srv, "orders?room=a&token="+signed(t, "ann", time.Hour, "*"))
	c.next("welcome")
	c.say(`{"type":"watch"}`)
	c.next("watching")
	if m := c.next("error"); m["code"] != "presence_off" {
		t.Errorf("told %v", m)
	}
	if _, _, err := (directory{srv}).Who(t.Context(), "orders", ""); err == nil {
		t.Error("a backend is told who is there")
	}
	if err := srv.Reload(document(seen(off))); err != nil {
		t.Fatal(err)
	}
	c.say(`{"type":"watch","rooms":["a"]}`)
	c.next("watching")
	c.wantPresence("a [map[sessions:1 user:ann]] <nil> <nil> 1 1")
	if err := srv.Reload(document(off)); err != nil {
		t.Fatal(err)
	}
	if m := c.next("error"); m["code"] != "presence_off" {
		t.Errorf("told %v", m)
	}
	if err := srv.Reload(document(seen(off))); err != nil {
		t.Fatal(err)
	}
	another := seen(off)
	another.UID = "another"
	if err := srv.Reload(document(another)); err != nil {
		t.Fatal(err)
	}
	c.closed(wire.CloseChannelGone)
	_ = c.conn.Close()
	wantNobody(t, srv)
}
