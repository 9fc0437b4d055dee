// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// ruled gives a Channel rules.
func ruled(c settings.Channel, kindsAndRules ...string) settings.Channel {
	c.Clients.Rules = map[string]string{}
	for i := 0; i < len(kindsAndRules); i += 2 {
		c.Clients.Rules[kindsAndRules[i]] = kindsAndRules[i+1]
	}
	return c
}

func asking(headers ws.HandshakeHeaderHTTP) func(*ws.Dialer) {
	return func(d *ws.Dialer) { d.Header = headers }
}

// refusedCount is what is counted for a channel and a reason.
func refusedCount(srv *Server, channel string, why reason) uint64 {
	return srv.current.Load().channels[channel].counters.refused[why].Load()
}

func TestARuleDecidesWhoConnects(t *testing.T) {
	srv := serve(t,
		spoken(ruled(guarded("orders"), "connect", `user == "ann" && remote == "127.0.0.1"`)),
		spoken(ruled(open("tenants"), "connect", `headers["x-request-id"] == "a"`)))
	ann, bob := signed(t, "ann", time.Hour), signed(t, "bob", time.Hour)
	connect(t, srv, "orders?token="+ann).next("welcome")
	if why := connect(t, srv, "orders?token="+bob).closed(wire.CloseForbidden); why != "this channel's rules do not let you connect" {
		t.Errorf("closed with %q", why)
	}
	connect(t, srv, "tenants", asking(ws.HandshakeHeaderHTTP{"X-Request-Id": {"a"}})).next("welcome")
	connect(t, srv, "tenants", asking(ws.HandshakeHeaderHTTP{"X-Request-Id": {"b"}})).closed(wire.CloseForbidden)
	connect(t, srv, "tenants").closed(wire.CloseForbidden) // cannot be evaluated

	for path, want := range map[string]int{"orders?token=" + ann: http.StatusOK, "orders?token=" + bob: http.StatusForbidden, "tenants": http.StatusForbidden} {
		resp, err := http.Get("http://" + srv.ClientsAddr().String() + "/sse/" + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("an event stream of %s is answered %d, want %d", path[:7], resp.StatusCode, want)
		}
	}

	e := connectEngine(t, srv)
	e.say(`40/orders,{"token":"` + bob + `"}`)
	e.expect(`44/orders,{"message":"this channel's rules do not let you connect","data":{"code":"forbidden"}}`)
	e.say(`40/orders,{"token":"` + ann + `"}`)
	e.expect(`40/orders,{"sid":"`)
	e.say(`40/tenants,`)
	e.expect(`44/tenants,{"message":"this channel's rules`)
	p := startPolling(t, srv)
	p.push(`40/orders,{"token":"` + bob + `"}`)
	if got := p.poll(); !strings.HasPrefix(got, `44/orders,`) {
		t.Errorf("a client that polls is told %s", got)
	}
	if n := refusedCount(srv, "orders", refusedConnect); n != 4 {
		t.Errorf("%d refusals of orders are counted", n)
	}
	if n := refusedCount(srv, "tenants", refusedConnect); n != 4 {
		t.Errorf("%d refusals of tenants are counted", n)
	}
}

func TestARuleDecidesWhoJoinsAndEmits(t *testing.T) {
	b := answering(t, func(handlerCall) string { return `{"ack":["done"]}` })
	c := handled(ruled(guarded("orders"), "join", `room == "user:" + user || room in claims.rooms`, "emit", `event in ["typing"]`), b, "*")
	srv := serve(t, spoken(c))
	ann := connect(t, srv, "orders?room=user:ann&room=user:bob&token="+signed(t, "ann", time.Hour, "red"))
	if m := ann.next("welcome"); fmt.Sprint(m["rooms"]) != "[user:ann]" {
		t.Errorf("welcomed to %v", m["rooms"])
	}
	if m := ann.next("error"); m["code"] != "forbidden" || fmt.Sprint(m["rooms"]) != "[user:bob]" || m["message"] != "this channel's rules do not let you join these rooms" {
		t.Errorf("refused with %v", m)
	}
	ann.say(`{"type":"join","rooms":["red"]}`)
	if m := ann.next("joined"); fmt.Sprint(m["rooms"]) != "[red user:ann]" {
		t.Errorf("joined %v", m)
	}
	ann.say(`{"type":"emit","event":"typing","ref":1}`)
	if m := ann.next("ack"); m["ref"] != 1.0 {
		t.Errorf("acknowledged with %v", m)
	}
	ann.say(`{"type":"emit","event":"delete","ref":2}`)
	if m := ann.next("error"); m["code"] != "forbidden" || m["ref"] != 2.0 {
		t.Errorf("refused with %v", m)
	}
	b.next(t, "event")
	if len(b.calls) > 0 {
		t.Errorf("the handler was told of %+v", <-b.calls)
	}

	e := connectEngine(t, srv)
	e.say(`40/orders,{"token":"` + signed(t, "bob", time.Hour) + `"}`)
	e.expect(`40/orders,{"sid":"`)
	e.say(`42/orders,7["join","user:bob"]`)
	e.expect(`43/orders,7[{"rooms":["user:bob"]`)
	e.say(`42/orders,8["delete"]`)
	e.expect(`43/orders,8[{"error":{"code":"forbidden"`)

	// A fresh token's claims count from then on.
	ann.say(`{"type":"auth","token":"` + signed(t, "ann", time.Hour, "blue") + `"}`)
	if m := ann.next("authenticated"); fmt.Sprint(m["rooms"]) != "[user:ann]" {
		t.Errorf("with a token of other claims still in %v", m["rooms"])
	}
	if n := refusedCount(srv, "orders", refusedJoin); n != 1 {
		t.Errorf("%d refused joins are counted", n)
	}
	if n := refusedCount(srv, "orders", refusedEmit); n != 2 {
		t.Errorf("%d refused emits are counted", n)
	}
	if resp, err := http.Get("http://" + srv.AdminAddr().String() + "/metrics"); err != nil {
		t.Error(err)
	} else {
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !bytes.Contains(text, []byte(`klaxon_refused_total{channel="orders",reason="emit_rule"} 2`)) {
			t.Errorf("metrics say %s", text)
		}
	}
}

func TestAFreshTokenIsHeldToTheRuleForConnecting(t *testing.T) {
	srv := serve(t, ruled(guarded("orders"), "connect", `"in" in claims.rooms`))
	c := connect(t, srv, "orders?token="+signed(t, "ann", time.Hour, "in"))
	c.next("welcome")
	c.say(`{"type":"auth","token":"` + signed(t, "ann", time.Hour, "out") + `"}`)
	if m := c.next("error"); m["code"] != "forbidden" {
		t.Errorf("refused with %v", m)
	}
}

// TestTheLogSaysWhyARuleCannotBeEvaluated, now and then, and the client is not told.
func TestTheLogSaysWhyARuleCannotBeEvaluated(t *testing.T) {
	var log bytes.Buffer
	srv, err := New(Config{
		ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Loops: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}, document(ruled(open("orders"), "connect", `claims.team == "red"`)))
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	for range 50 {
		if why := connect(t, srv, "orders").closed(wire.CloseForbidden); strings.Contains(why, "team") {
			t.Errorf("the client is told %q", why)
		}
	}
	srv.Drain()
	said := log.String()
	if n := strings.Count(said, "no such key: team"); n == 0 || n > 10 {
		t.Errorf("said %d times:\n%s", n, said)
	}
}

// TestRevocation ends the sessions of those who are revoked, and of nobody else.
func TestRevocation(t *testing.T) {
	srv := serve(t, spoken(guarded("orders")))
	ann, mallory := connect(t, srv, "orders?token="+signed(t, "ann", time.Hour)), connect(t, srv, "orders?token="+signed(t, "mallory", time.Hour))
	ann.next("welcome")
	mallory.next("welcome")
	e := connectEngine(t, srv)
	e.say(`40/orders,{"token":"` + signed(t, "mallory", time.Hour) + `"}`)
	e.expect(`40/orders,{"sid":"`)

	revoking := spoken(guarded("orders"))
	revoking.Clients.Revoked.Users = []string{"mallory"}
	if err := srv.Reload(document(revoking)); err != nil {
		t.Fatal(err)
	}
	mallory.closed(wire.CloseUnauthorized)
	e.expect(`42/orders,["klaxon.disconnect",{"code":4001`)
	connect(t, srv, "orders?token="+signed(t, "mallory", time.Hour)).closed(wire.CloseUnauthorized)
	ann.say(`{"type":"ping"}`)
	ann.next("pong")
}

func TestAUsersSessionsEnd(t *testing.T) {
	srv := serve(t, spoken(guarded("orders")), guarded("other"))
	user := "idp|a/b c"
	one, two := connect(t, srv, "orders?token="+signed(t, user, time.Hour)), connect(t, srv, "orders?token="+signed(t, user, time.Hour))
	elsewhere, bob := connect(t, srv, "other?token="+signed(t, user, time.Hour)), connect(t, srv, "orders?token="+signed(t, "bob", time.Hour))
	for _, c := range []*client{one, two, elsewhere, bob} {
		c.next("welcome")
	}
	del := func(path string) (int, string) {
		req, err := http.NewRequest(http.MethodDelete, "http://"+srv.EventsAddr().String()+"/v1/channels/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if status, body := del("orders/users/idp%7Ca%2Fb%20c"); status != 200 || body != `{"sessions":2}`+"\n" {
		t.Errorf("answered %d %s", status, body)
	}
	one.closed(wire.CloseByPublisher)
	two.closed(wire.CloseByPublisher)
	if status, body := del("orders/users/nobody"); status != 200 || body != `{"sessions":0}`+"\n" {
		t.Errorf("answered %d %s", status, body)
	}
	for _, c := range []*client{elsewhere, bob} {
		c.say(`{"type":"ping"}`)
		c.next("pong")
	}
	for _, path := range []string{"orders/users/", "orders/users", "nosuch/users/a"} {
		if status, _ := del(path); status != 404 {
			t.Errorf("%s is answered %d", path, status)
		}
	}
}
