// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// TestABackendDecidesWhoIsInARoom: whatever the client's token says, and for as long
// as the session lives, comes back or is recovered.
func TestABackendDecidesWhoIsInARoom(t *testing.T) {
	srv := serve(t, recovering(guarded("orders"), 100))
	d := directory{srv}
	token := signed(t, "ann", time.Hour, "a")
	c := connect(t, srv, "orders?room=a&token="+token)
	session, _ := c.next("welcome")["session"].(string)
	rooms, offset, err := d.ChangeRooms(t.Context(), "orders", session, []string{"vip", "b"}, []string{"a"})
	if err != nil || fmt.Sprint(rooms) != "[b vip]" {
		t.Fatalf("%v, %s, %v", rooms, offset, err)
	}
	m := c.next("rooms")
	if fmt.Sprint(m["rooms"]) != "[b vip]" || m["offset"] != offset {
		t.Errorf("the client is told %v", m)
	}
	numbered(t, srv, 1, 1, `"rooms":["a"]`)
	numbered(t, srv, 2, 2, `"rooms":["vip"]`)
	c.wantEvents(2)
	// A fresh token does not take it out, and the client may leave.
	c.say(fmt.Sprintf(`{"type":"auth","token":%q}`, signed(t, "ann", time.Hour, "a")))
	if a := c.next("authenticated"); fmt.Sprint(a["rooms"]) != "[b vip]" {
		t.Errorf("after a fresh token: %v", a)
	}
	c.say(`{"type":"leave","rooms":["b"]}`)
	left := c.next("left")
	_ = c.conn.Close()
	numbered(t, srv, 3, 3, `"rooms":["vip"]`)
	numbered(t, srv, 4, 4, `"rooms":["b"]`)
	c = connect(t, srv, "orders?token="+token+"&resume="+url.QueryEscape(left["resume"].(string)))
	if w := c.next("welcome"); w["recovered"] != true || fmt.Sprint(w["rooms"]) != "[vip]" {
		t.Errorf("welcome: %v", w)
	}
	c.wantEvents(3)

	var coded interface{ Code() string }
	if _, _, err := d.ChangeRooms(t.Context(), "orders", session, []string{"x"}, nil); !errors.As(err, &coded) || coded.Code() != "unknown_session" {
		t.Errorf("a session that has gone: %v", err)
	}
}

func TestASocketAndAStreamAreToldTheirRooms(t *testing.T) {
	srv := serve(t, recovering(open("orders"), 100))
	d := directory{srv}
	e := openSocket(t, srv)
	was := e.connectWith("")
	at := e.offset()
	if _, _, err := d.ChangeRooms(t.Context(), "orders", was.SID, []string{"vip"}, nil); err != nil {
		t.Fatal(err)
	}
	e.expect(`42/orders,["klaxon.rooms",{"rooms":["vip"]}]`)
	e.offset()
	_ = e.conn.Close()
	settled(t, srv, 0)
	missed := numbered(t, srv, 1, 1, `"rooms":["vip"]`)
	e = openSocket(t, srv)
	if now := e.connectWith(recoverAuth(was.PID, at)); now != was {
		t.Fatalf("recovered as %+v, was %+v", now, was)
	}
	e.wantEvent(1, missed[0])

	st := streamFrom(t, srv, "orders")
	st.block()
	sessions, _ := d.List(t.Context(), "orders")
	for _, s := range sessions {
		if s.Protocol == "sse" {
			if _, _, err := d.ChangeRooms(t.Context(), "orders", s.ID, []string{"x"}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := st.block(); got != "id: "+missed[0]+"\nevent: klaxon.rooms\ndata: {\"rooms\":[\"x\"]}" {
		t.Errorf("got %q", got)
	}
}

// TestTooManyRoomsChangeNothing: all of a change is made, or none.
func TestTooManyRoomsChangeNothing(t *testing.T) {
	srv := serve(t, open("orders"))
	c := connect(t, srv, "orders?room=a&room=b")
	session, _ := c.next("welcome")["session"].(string)
	var many []string
	for i := range wire.MaxRooms {
		many = append(many, fmt.Sprint("room ", i))
	}
	var coded interface{ Code() string }
	if _, _, err := (directory{srv}).ChangeRooms(t.Context(), "orders", session, many, []string{"a"}); !errors.As(err, &coded) || coded.Code() != "too_many_rooms" {
		t.Fatalf("too many rooms: %v", err)
	}
	if s, _ := (directory{srv}).List(t.Context(), "orders"); strings.Join(s[0].Rooms, " ") != "a b" {
		t.Errorf("rooms: %v", s[0].Rooms)
	}
	if rooms, _, err := (directory{srv}).ChangeRooms(t.Context(), "orders", session, many, []string{"a", "b"}); err != nil || len(rooms) != wire.MaxRooms {
		t.Errorf("%d rooms, %v", len(rooms), err)
	}
}
