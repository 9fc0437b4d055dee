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

// TestARuleDecidesWhoPublishes: what a client publishes comes to others of the room, with
// its name, over all protocols, and from a rule that allows it alone.
func TestARuleDecidesWhoPublishes(t *testing.T) {
	c := guarded("orders")
	c.Clients.Anonymous = true
	c.Limits.EventBytes = 256
	srv := serve(t, spoken(ruled(c, "join", "true", "publish", `event == "typing" && room in rooms || event == "shout" && room == "" && user == "ann"`)), spoken(open("tenants")))
	ann := connect(t, srv, "orders?room=red&token="+signed(t, "ann", time.Hour))
	ann.next("welcome")
	bob := connect(t, srv, "orders?room=red")
	bob.next("welcome")
	e := connectEngine(t, srv)
	e.say(`40/orders,{"rooms":["red","blue"]}`)
	e.expect(`40/orders,{"sid":"`)
	stream := streamFrom(t, srv, "orders?room=red")

	ann.say(`{"type":"publish","event":"typing","rooms":["red"],"data":{"at" : "<end>"},"ref":1}`)
	ack := ann.next("ack")
	data, _ := ack["data"].(map[string]any)
	if ack["ref"] != 1.0 || data["id"] == "" || data["offset"] == "" {
		t.Errorf("acknowledged with %v", ack)
	}
	m := bob.next("event")
	if m["event"] != "typing" || fmt.Sprint(m["data"]) != `map[data:map[at:<end>] user:ann]` || m["id"] != data["id"] || m["offset"] != data["offset"] {
		t.Errorf("others get %v", m)
	}
	e.expect(`42/orders,["typing",{"user":"ann","data":{"at":"<end>"}}]`)
	block := stream.block()
	for !strings.Contains(block, "event: typing") {
		block = stream.block()
	}
	if !strings.HasSuffix(block, `data: {"user":"ann","data":{"at":"<end>"}}`) {
		t.Errorf("a stream gets %s", block)
	}

	e.say(`42/orders,5["publish",{"event":"typing","rooms":["red","blue"],"data":[1]}]`)
	e.expect(`43/orders,5[{"id":"`)
	for _, c := range []*client{bob, ann} { // once, and ann has not had her own
		if m := c.next("event"); fmt.Sprint(m["data"]) != `map[data:[1]]` {
			t.Errorf("a client gets %v", m)
		}
	}
	ann.say(`{"type":"publish","event":"shout"}`)
	if m := bob.next("event"); m["event"] != "shout" || fmt.Sprint(m["data"]) != "map[user:ann]" {
		t.Errorf("all get %v", m)
	}
	e.expect(`42/orders,["shout",{"user":"ann"}]`)

	for ref, no := range []struct{ message, code string }{
		{`"event":"typing","rooms":["blue"]`, "forbidden"},
		{`"event":"typing","rooms":["red","blue"]`, "forbidden"},
		{`"event":"typing"`, "forbidden"},
		{`"event":"shout"`, "forbidden"},
		{`"event":"typing","rooms":["red"],"data":"` + strings.Repeat("x", 256) + `"`, "too_large"},
		{`"event":"typing","rooms":["red"],"dataBase64":"AAAA"`, "bad_message"},
		{`"event":"klaxon.gap","rooms":["red"]`, "bad_message"},
		{`"rooms":["red"]`, "bad_message"},
		{`"event":"typing","rooms":[""]`, "bad_message"},
	} {
		bob.say(fmt.Sprintf(`{"type":"publish",%s,"ref":%d}`, no.message, ref))
		if m := bob.next("error"); m["code"] != no.code || m["ref"] != float64(ref) {
			t.Errorf("%.60s: %v", no.message, m)
		}
	}
	for id, no := range []struct{ args, code string }{
		{`{"event":"typing"}`, "forbidden"},
		{`{"event":"typing","rooms":"red"}`, "bad_message"},
		{`{"event":"connect","rooms":["red"]}`, "bad_message"},
		{`"typing"`, "bad_message"},
		{`{"event":"typing","rooms":["red"]},1`, "bad_message"},
	} {
		e.say(fmt.Sprintf(`42/orders,%d["publish",%s]`, id, no.args))
		e.expect(fmt.Sprintf(`43/orders,%d[{"error":{"code":"%s"`, id, no.code))
	}
	e.say(`42/orders,["publish",{"event":"typing"}]`) // nobody waits
	e.expect(`42/orders,["klaxon.error",{"code":"forbidden"`)
	if n := refusedCount(srv, "orders", refusedPublish); n != 6 {
		t.Errorf("%d refusals are counted", n)
	}

	other := connect(t, srv, "tenants")
	other.next("welcome")
	other.say(`{"type":"publish","event":"typing"}`)
	if m := other.next("error"); m["code"] != "forbidden" || m["message"] != "clients of this channel do not publish: it has no rule that lets them" {
		t.Errorf("without a rule: %v", m)
	}
	e.say(`40/tenants,`)
	e.expect(`40/tenants,{"sid":"`)
	e.say(`42/tenants,1["publish",{"event":"typing"}]`) // an event as any other
	e.expect(`43/tenants,1[{"error":{"code":"not_handled"`)
}

func TestPublishingCountsByRooms(t *testing.T) {
	c := ruled(open("orders"), "publish", "true")
	c.Limits.EmitRate = 2
	srv := serve(t, spoken(c))
	a := connect(t, srv, "orders")
	a.next("welcome")
	a.say(`{"type":"publish","event":"x","rooms":["a","b","c"],"ref":1}`)
	a.next("ack")
	a.say(`{"type":"publish","event":"x","rooms":["a","b"],"ref":2}`)
	if m := a.next("error"); m["code"] != "rate_limited" || m["ref"] != 2.0 {
		t.Errorf("refused with %v", m)
	}
	a.say(`{"type":"publish","event":"x","rooms":["a"],"ref":3}`)
	a.next("ack")
}

// TestPublishedInOrder: acknowledgements and events come in the order in which a client has
// published.
func TestPublishedInOrder(t *testing.T) {
	c := ruled(open("orders"), "publish", "true")
	c.Limits.EmitRate = 0
	srv := serve(t, spoken(c))
	a, b := connect(t, srv, "orders"), connect(t, srv, "orders")
	a.next("welcome")
	b.next("welcome")
	const n = 60
	for i := range n {
		a.say(fmt.Sprintf(`{"type":"publish","event":"x","data":%d,"ref":%d}`, i, i))
	}
	for i := range n {
		if m := a.next("ack"); m["ref"] != float64(i) {
			t.Fatalf("acknowledged %v, want %d", m, i)
		}
		if m := b.next("event"); fmt.Sprint(m["data"]) != fmt.Sprintf("map[data:%d]", i) {
			t.Fatalf("event %v, want %d", m, i)
		}
	}
}
