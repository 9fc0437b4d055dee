// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func eventsURL(srv *Server, channel string) string {
	return "http://" + srv.EventsAddr().String() + "/v1/channels/" + channel + "/events"
}

// newCloudEvent is one as backends make it, of a number.
func newCloudEvent(t *testing.T, n int, contentType string, data any) cloudevents.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID(fmt.Sprint(n))
	e.SetSource("/shop/checkout")
	e.SetType("com.example.order.paid")
	e.SetTime(time.Unix(1, 0))
	if data != nil {
		if err := e.SetData(contentType, data); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// mode is a way to send a CloudEvent.
type mode struct {
	name string
	send func(srv *Server, e cloudevents.Event) error
}

// modes are those of the Go SDK, as its users send.
func modes(t *testing.T) []mode {
	t.Helper()
	send := func(encoding func(context.Context) context.Context) func(*Server, cloudevents.Event) error {
		return func(srv *Server, e cloudevents.Event) error {
			c, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(eventsURL(srv, "orders")))
			if err != nil {
				return err
			}
			if result := c.Send(encoding(t.Context()), e); !cloudevents.IsACK(result) {
				return result
			}
			return nil
		}
	}
	return []mode{
		{"binary", send(cloudevents.WithEncodingBinary)},
		{"structured", send(cloudevents.WithEncodingStructured)},
		{"batched", func(srv *Server, e cloudevents.Event) error {
			req, err := cloudevents.NewHTTPRequestFromEvents(t.Context(), eventsURL(srv, "orders"), []cloudevents.Event{e})
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err == nil && resp.StatusCode != http.StatusAccepted {
				err = fmt.Errorf("answer is %s", resp.Status)
			}
			if err == nil {
				err = resp.Body.Close()
			}
			return err
		}},
	}
}

// TestCloudEventsOfTheGoSDK: what its users send reaches clients, the same in all modes.
func TestCloudEventsOfTheGoSDK(t *testing.T) {
	for _, m := range modes(t) {
		t.Run(m.name, func(t *testing.T) {
			srv := serve(t, open("orders"))
			c := connect(t, srv, "orders")
			c.next("welcome")
			for i, tc := range []struct {
				contentType string
				data        any
				want        string // the members of what the client gets
			}{
				{"application/json", map[string]any{"order": 42}, `"data":{"order":42}`},
				{"application/json", []byte(`{"order": 42}`), `"data":{"order":42}`},
				{"application/vnd.order+json", []byte(`[1]`), `"data":[1]`},
				{"text/plain", "paid: 5 €", `"data":"paid: 5 €"`},
				{"application/xml", []byte("<paid/>"), `"dataBase64":"PHBhaWQvPg=="`},
				{"application/octet-stream", []byte{0, 255}, `"dataBase64":"AP8="`},
				{"", nil, `"data":null`},
			} {
				if err := m.send(srv, newCloudEvent(t, i, tc.contentType, tc.data)); err != nil {
					t.Fatalf("%s: %v", tc.contentType, err)
				}
				got := c.next("event")
				for _, known := range []string{"type", "offset"} {
					delete(got, known)
				}
				var want map[string]any
				if err := json.Unmarshal(fmt.Appendf(nil, `{"event":"com.example.order.paid","id":"/shop/checkout %d",%s}`, i, tc.want), &want); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: the client gets %v, want %v", tc.contentType, got, want)
				}
			}
		})
	}
}

// TestCloudEventsAreForTheRoomOfTheirSubject, or for whom extensions name.
func TestCloudEventsAreForTheRoomOfTheirSubject(t *testing.T) {
	srv := serve(t, open("orders"))
	all, room := connect(t, srv, "orders"), connect(t, srv, "orders?room=order:42")
	all.next("welcome")
	room.next("welcome")
	for i, m := range modes(t) {
		toRoom, named := newCloudEvent(t, 10*i, "", nil), newCloudEvent(t, 10*i+1, "", nil)
		toRoom.SetSubject("order:42")
		named.SetSubject("order:43")
		named.SetExtension("klaxonroom", "order:42")
		last := newCloudEvent(t, 10*i+2, "", nil)
		for _, e := range []cloudevents.Event{toRoom, named, last} {
			if err := m.send(srv, e); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 3 {
			if got, want := room.next("event")["id"], fmt.Sprint("/shop/checkout ", 10*i+n); got != want {
				t.Errorf("%s: who is in the room gets %v, want %s", m.name, got, want)
			}
		}
		if got, want := all.next("event")["id"], "/shop/checkout "+last.ID(); got != want {
			t.Errorf("%s: who is in no room gets %v, want %s", m.name, got, want)
		}
	}
}

// TestCloudEventsTheSDKIsToldOf: a sender learns of a refusal, and of what is worth
// another try.
func TestCloudEventsTheSDKIsToldOf(t *testing.T) {
	srv := serve(t, open("orders"))
	for _, m := range modes(t)[:2] {
		e := newCloudEvent(t, 1, "", nil)
		e.SetType("klaxon.gap")
		var result *cehttp.Result
		if err := m.send(srv, e); !cloudevents.ResultAs(err, &result) || result.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	srv.draining.Store(true)
	var result *cehttp.Result
	if err := modes(t)[0].send(srv, newCloudEvent(t, 2, "", nil)); !cloudevents.ResultAs(err, &result) || result.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("while draining: %v", err)
	}
	srv.draining.Store(false)
}

// TestPublishersWithoutATokenMayPublish where the Channel says so, and do nothing else.
func TestPublishersWithoutATokenMayPublish(t *testing.T) {
	free := open("orders")
	free.Publishers.Anonymous = true
	doc := document(free, open("closed"))
	doc.Pusher.OpenPublishing = false
	srv := serve(t, free, open("closed"))
	if err := srv.Reload(doc); err != nil {
		t.Fatal(err)
	}
	if err := modes(t)[0].send(srv, newCloudEvent(t, 1, "", nil)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ method, path string }{
		{"POST", "closed/events"}, {"GET", "orders/events"}, {"GET", "orders/sessions"}, {"GET", "orders/presence"}, {"DELETE", "orders/sessions/x"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+srv.EventsAddr().String()+"/v1/channels/"+tc.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %s is answered %s", tc.method, tc.path, resp.Status)
		}
	}
}

// pair are Peers of which there are two, in one process.
type pair struct {
	proxies
	other **Server
	away  *atomic.Bool
}

func (p pair) Ask(_ context.Context, question []byte) ([][]byte, bool) {
	if p.away.Load() {
		return nil, false
	}
	return (*p.other).answer(question), true
}

// TestHowManyAnEventIsFor, over two replicas, of which one cannot be asked later.
func TestHowManyAnEventIsFor(t *testing.T) {
	var away atomic.Bool
	var both [2]*Server
	doc := document(open("orders"), guarded("private"))
	for i := range both {
		srv, err := New(Config{
			ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Loops: 2,
			Replica: &Replica{ID: uint32(i), Peers: pair{other: &both[1-i], away: &away}},
		}, doc)
		if err != nil {
			t.Fatal(err)
		}
		both[i] = srv
	}
	for i, srv := range both {
		srv.Start()
		t.Cleanup(srv.Drain)
		for range 4 { // on both loops
			connect(t, srv, "orders?room=a").next("welcome")
		}
		connect(t, srv, "orders?room=a&room=b").next("welcome")
		connect(t, srv, "orders").next("welcome")
		user := fmt.Sprintf("user-%d", i)
		connect(t, srv, "private?token="+signed(t, user, time.Hour)).next("welcome")
	}
	list, _ := (directory{both[1]}).List(t.Context(), "private")
	for _, tc := range []struct{ channel, to, want string }{
		{"orders", ``, `12`},
		{"orders", `"rooms":["a"]`, `10`},
		{"orders", `"rooms":["a","b"]`, `10`}, // each once
		{"orders", `"rooms":["b"]`, `2`},
		{"orders", `"rooms":["nobody"]`, `0`},
		{"private", `"users":["user-1","user-2"]`, `1`},
		{"private", fmt.Sprintf(`"sessions":[%q]`, list[0].ID), `1`},
	} {
		if got := reachedOf(t, both[0], tc.channel, "{"+tc.to+"}"); got != tc.want {
			t.Errorf("%s {%s}: reached %s, want %s", tc.channel, tc.to, got, tc.want)
		}
	}
	away.Store(true)
	if got := reachedOf(t, both[0], "orders", `{"rooms":["a"]}`); got != "5 partial" {
		t.Errorf("a replica is away: reached %s", got)
	}
}

// reachedOf publishes an event and returns what the answer says of whom it is for.
func reachedOf(t *testing.T, srv *Server, channel, body string) string {
	t.Helper()
	resp, err := http.Post(eventsURL(srv, channel)+"?reached=true", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Reached *int
		Partial bool
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Reached == nil {
		t.Fatalf("%s: %+v (%v)", resp.Status, answer, err)
	}
	if answer.Partial {
		return fmt.Sprint(*answer.Reached, " partial")
	}
	return fmt.Sprint(*answer.Reached)
}

// TestSubjectsAreLeftOutOfAccount where the Channel says so.
func TestSubjectsAreLeftOutOfAccount(t *testing.T) {
	flat := open("orders")
	flat.CloudEvents = settings.CloudEvents{IgnoreSubject: true}
	srv := serve(t, flat)
	c := connect(t, srv, "orders")
	c.next("welcome")
	e := newCloudEvent(t, 7, "", nil)
	e.SetSubject("partition:0#7")
	if err := modes(t)[1].send(srv, e); err != nil {
		t.Fatal(err)
	}
	if got := c.next("event")["id"]; got != "/shop/checkout 7" {
		t.Errorf("got %v", got)
	}
}
