// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// handlerCall is a call as a handler reads it.
type handlerCall struct {
	ID, Type, Source, Channel, Session, User string
	Rooms                                    []string
	Data, Args                               json.RawMessage
	Attachments                              [][]byte
	Event                                    string
	Ack                                      bool
	Ref, Error                               string
	Protocol, Remote, Previous               string
	Recovered                                bool
	Auth, Claims                             json.RawMessage
	Query                                    map[string][]string
	Headers                                  map[string]string
	Room                                     string
	Number                                   int
	Code                                     int
	Reason                                   string
}

// backend is a handler that does what a test wants.
type backend struct {
	url   string
	mu    sync.Mutex
	all   []handlerCall
	calls chan handlerCall
}

// answering returns a backend. An answer that begins with a number is a status.
func answering(t *testing.T, answer func(c handlerCall) string) *backend {
	t.Helper()
	b := &backend{calls: make(chan handlerCall, 1000)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c handlerCall
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Errorf("a call cannot be read: %v", err)
		}
		if r.Header.Get("Ce-Id") != c.ID || r.Header.Get("Ce-Type") != c.Type || r.Header.Get("Ce-Subject") != c.Session+c.Room {
			t.Errorf("header and body differ: %v, %+v", r.Header, c)
		}
		b.mu.Lock()
		b.all = append(b.all, c)
		b.mu.Unlock()
		b.calls <- c
		said := answer(c)
		var status int
		if n, _ := fmt.Sscanf(said, "%d", &status); n == 1 {
			w.WriteHeader(status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, said)
	}))
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

func (b *backend) next(t *testing.T, typ string) handlerCall {
	t.Helper()
	select {
	case c := <-b.calls:
		if strings.TrimPrefix(c.Type, "dev.klaxon.client.") != typ {
			t.Fatalf("the handler got %+v, not %s", c, typ)
		}
		return c
	case <-time.After(10 * time.Second):
		t.Fatalf("the handler got nothing, not %s", typ)
	}
	return handlerCall{}
}

// handled gives a Channel a handler.
func handled(c settings.Channel, b *backend, events ...string) settings.Channel {
	h := settings.Handler{Events: events, Timeout: settings.Duration(2 * time.Second), Concurrency: 50, Loopback: true}
	if b != nil {
		h.URL = b.url
	}
	c.Handlers = append(c.Handlers, h)
	return c
}

func remembered(c settings.Channel) settings.Channel {
	c.History = settings.History{Size: 100, TTL: settings.Duration(time.Minute), Bytes: settings.MinHistoryBytes}
	return c
}

func TestEmitOverPlainWebSocket(t *testing.T) {
	b := answering(t, func(c handlerCall) string {
		switch c.Event {
		case "ask":
			return `{"ack":[{"got":` + string(c.Args) + `}],"data":{"n":1.0}}`
		case "tell":
			return `{"emit":[{"event":"told","args":["you"]},{"event":"told","args":["others",2],"to":"others"},{"event":"told","args":["all"],"to":"all"}]}`
		case "enter":
			return `{"join":["r"],"emit":[{"event":"entered","rooms":["r"],"args":["x"]}]}`
		case "go":
			return `{"disconnect":true}`
		case "fail":
			return "404"
		}
		return `{}`
	})
	srv := serve(t, handled(remembered(open("chat")), b, "*"))
	ann, bob := connect(t, srv, "chat?room=lobby"), connect(t, srv, "chat")
	session := ann.next("welcome")["session"]
	bob.next("welcome")
	ann.say(`{"type":"emit","event":"ask","data":{"b":1.50,"a":"<"},"ref":7}`)
	if got := ann.frame(); string(got.Payload) != `{"type":"ack","ref":7,"data":{"got":[{"b":1.50,"a":"<"}]}}` {
		t.Errorf("the acknowledgement is %s", got.Payload)
	}
	c := b.next(t, "event")
	if c.Session != session || c.Event != "ask" || !c.Ack || !slices.Equal(c.Rooms, []string{"lobby"}) || c.Source != "/namespaces/shop/channels/chat" || c.Data != nil {
		t.Errorf("the call is %+v", c)
	}
	ann.say(`{"type":"emit","event":"nothing","dataBase64":"AAE="}`)
	if c := b.next(t, "event"); string(c.Data) != `{"n":1.0}` || c.Ack || len(c.Attachments) != 1 || string(c.Args) != `[{"_placeholder":true,"num":0}]` {
		t.Errorf("the call with bytes is %+v", c)
	}
	ann.say(`{"type":"emit","event":"tell","ref":8}`)
	{
		c := bob
		if m := c.next("event"); fmt.Sprint(m["event"], m["data"]) != "told[others 2]" {
			t.Errorf("another got %v", m)
		}
		if m := c.next("event"); fmt.Sprint(m["data"]) != "all" || m["offset"] == nil {
			t.Errorf("another got %v", m)
		}
	}
	seen := map[string]bool{}
	for range 3 {
		var m map[string]any
		_ = json.Unmarshal(ann.frame().Payload, &m)
		seen[fmt.Sprint(m["type"], m["data"])] = true
	}
	if !seen["eventyou"] || !seen["eventall"] || !seen["ack[]"] {
		t.Errorf("the sender got %v", seen)
	}
	ann.say(`{"type":"emit","event":"enter","ref":9}`)
	if m := ann.next("rooms"); fmt.Sprint(m["rooms"]) != "[lobby r]" {
		t.Errorf("rooms are %v", m)
	}
	ann.next("event")
	ann.next("ack")
	ann.say(`{"type":"emit","event":"fail","ref":10}`)
	if m := ann.next("error"); m["code"] != "failed" || fmt.Sprint(m["ref"]) != "10" {
		t.Errorf("a failure is told as %v", m)
	}
	ann.say(`{"type":"emit","event":"go"}`)
	ann.closed(wire.CloseByPublisher)
}

func TestWhatNobodyHandles(t *testing.T) {
	b := answering(t, func(handlerCall) string { return "{}" })
	srv := serve(t, handled(open("chat"), b, "a.*", "b"), open("quiet"))
	c := connect(t, srv, "chat")
	c.next("welcome")
	for name, code := range map[string]string{"a.b": "", "b": "", "bb": "not_handled", "a": "not_handled"} {
		c.say(`{"type":"emit","event":"` + name + `","ref":1}`)
		if code == "" {
			c.next("ack")
		} else if m := c.next("error"); m["code"] != code {
			t.Errorf("%s: %v", name, m)
		}
	}
	quiet := connect(t, srv, "quiet")
	quiet.next("welcome")
	quiet.say(`{"type":"emit","event":"b"}`)
	if m := quiet.next("error"); m["code"] != "not_handled" {
		t.Errorf("on a channel without handlers: %v", m)
	}
}

// TestOrder: one client's events are handled one at a time, in order, and answered in
// order, while others' do not wait for them.
func TestOrder(t *testing.T) {
	release := make(chan struct{})
	var under sync.Map
	b := answering(t, func(c handlerCall) string {
		if _, twice := under.LoadOrStore(c.Session, true); twice {
			t.Error("two calls of a session at a time")
		}
		defer under.Delete(c.Session)
		if c.Event == "slow" {
			<-release
		}
		return `{"ack":` + string(c.Args) + `}`
	})
	srv := serve(t, handled(open("chat"), b, "*"))
	ann, bob := connect(t, srv, "chat"), connect(t, srv, "chat")
	ann.next("welcome")
	bob.next("welcome")
	ann.say(`{"type":"emit","event":"slow","data":0,"ref":0}`)
	for i := 1; i <= 20; i++ {
		ann.say(fmt.Sprintf(`{"type":"emit","event":"x","data":%d,"ref":%d}`, i, i))
	}
	bob.say(`{"type":"emit","event":"x","data":1,"ref":1}`)
	bob.next("ack")
	close(release)
	for i := range 21 {
		if m := ann.next("ack"); fmt.Sprint(m["ref"], m["data"]) != fmt.Sprint(i, i) {
			t.Fatalf("answer %d is %v", i, m)
		}
	}
}

func TestTooMuchAtATime(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	b := answering(t, func(handlerCall) string { <-release; return "{}" })
	srv := serve(t, handled(open("chat"), b, "*"))
	c := connect(t, srv, "chat")
	c.next("welcome")
	for i := range maxTurns + 2 {
		c.say(fmt.Sprintf(`{"type":"emit","event":"x","ref":%d}`, i))
	}
	if m := c.next("error"); m["code"] != "busy" || fmt.Sprint(m["ref"]) != fmt.Sprint(maxTurns+1) {
		t.Errorf("one too many is told %v", m)
	}
}

func TestConnect(t *testing.T) {
	b := answering(t, func(c handlerCall) string {
		if c.Type != "dev.klaxon.client.connected" {
			return `{"ack":[` + string(c.Data) + `]}`
		}
		switch c.Query["as"][0] {
		case "nobody":
			return `{"refuse":{"message":"not you","data":{"why":1}}}`
		case "broken":
			return "500"
		}
		return `{"user":"` + c.Query["as"][0] + `","join":["hall"],"data":{"x":[1]},"emit":[{"event":"state","args":[{"n":1}]},{"event":"came","to":"others","args":["` + c.Query["as"][0] + `"]}]}`
	})
	srv := serve(t, handled(remembered(spoken(open("chat"))), b, "connect", "disconnect", "*"))
	ann := connect(t, srv, "chat?as=ann&token=")
	m := ann.next("welcome")
	if m["user"] != "ann" || fmt.Sprint(m["rooms"]) != "[hall]" {
		t.Errorf("the welcome is %v", m)
	}
	if m := ann.next("event"); m["event"] != "state" || m["offset"] != nil {
		t.Errorf("the first event is %v", m)
	}
	c := b.next(t, "connected")
	if c.Session != m["session"] || c.Protocol != "klaxon.v1.json" || c.Remote == "" || c.Query["token"] != nil {
		t.Errorf("the call is %+v", c)
	}
	ann.say(`{"type":"emit","event":"x","ref":1}`)
	if m := ann.next("ack"); fmt.Sprint(m["data"]) != "map[x:[1]]" {
		t.Errorf("the session's data are %v", m)
	}
	if c := b.next(t, "event"); c.User != "ann" || c.Session != m["session"] {
		t.Errorf("a later call is %+v", c)
	}

	nobody := connect(t, srv, "chat?as=nobody")
	if m := nobody.next("error"); m["code"] != "refused" || m["message"] != "not you" || fmt.Sprint(m["data"]) != "map[why:1]" {
		t.Errorf("a refusal is told as %v", m)
	}
	if reason := nobody.closed(wire.CloseForbidden); reason != "not you" {
		t.Errorf("the reason is %q", reason)
	}
	connect(t, srv, "chat?as=broken").closed(wire.CloseTryLater)

	bob := engineDial(t, srv, "&as=bob")
	bob.expect("0{")
	bob.say(`40/chat,{"token":"","color":"red","n":1.0}`)
	bob.expect(`40/chat,{"sid":`)
	if p := bob.packet(); p != `42/chat,["state",{"n":1}]` {
		t.Errorf("the first event is %s", p)
	}
	if m := ann.next("event"); m["event"] != "came" || m["data"] != "bob" {
		t.Errorf("others are told %v", m)
	}
	var of handlerCall
	for of.Protocol != "socket.io" {
		of = <-b.calls
	}
	if string(of.Auth) != `{"color":"red","n":1.0}` || of.Query["as"][0] != "bob" || of.Query["EIO"] != nil {
		t.Errorf("the call for Socket.IO is %+v", of)
	}
	_ = bob.conn.Close()
	for {
		c := <-b.calls
		if c.Type == "dev.klaxon.client.disconnected" && c.Session == of.Session {
			if c.User != "bob" || string(c.Data) != `{"x":[1]}` || c.Code != 1006 {
				t.Errorf("the farewell is %+v", c)
			}
			break
		}
	}
}

func TestRefusedStreams(t *testing.T) {
	var status string
	b := answering(t, func(handlerCall) string { return status })
	srv := serve(t, handled(open("chat"), b, "connect"))
	get := func() (int, string) {
		resp, err := http.Get("http://" + srv.ClientsAddr().String() + "/sse/chat")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		line, _ := bufio.NewReader(resp.Body).ReadString('\n')
		return resp.StatusCode, line
	}
	status = `{"refuse":{"message":"not you"}}`
	if code, body := get(); code != http.StatusForbidden || !strings.Contains(body, "not you") {
		t.Errorf("a refused stream is answered %d %s", code, body)
	}
	status = "503"
	if code, body := get(); code != http.StatusOK || !strings.HasPrefix(body, "retry: ") {
		t.Errorf("while the handler is away a stream is answered %d %s", code, body)
	}
}

// TestNothingFallsBetween: what is published while a handler decides reaches the client
// that it lets in.
func TestNothingFallsBetween(t *testing.T) {
	asked, decide := make(chan struct{}), make(chan struct{})
	b := answering(t, func(handlerCall) string {
		asked <- struct{}{}
		<-decide
		return `{"join":["r"],"emit":[{"event":"first"}]}`
	})
	srv := serve(t, handled(remembered(spoken(open("chat"))), b, "connect"))
	keep := make(chan struct{})
	go func() { // a client that keeps the channel attached is not needed
		<-asked
		close(keep)
	}()
	e := engineDial(t, srv, "")
	e.expect("0{")
	e.say("40/chat,")
	<-keep
	mustPublish(t, srv, "chat", `{"event":"between","data":1}`)
	mustPublish(t, srv, "chat", `{"event":"between","data":2,"rooms":["r"]}`)
	mustPublish(t, srv, "chat", `{"event":"between","data":3,"rooms":["s"]}`)
	close(decide)
	e.expect("40/chat,")
	for _, want := range []string{`42/chat,["first"]`, `42/chat,["between",1]`, `42/chat,["between",2]`} {
		if got := e.packet(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSocketIOAcknowledgements(t *testing.T) {
	b := answering(t, func(c handlerCall) string {
		switch c.Event {
		case "ask me":
			return `{"emit":[{"event":"question","args":["?"],"ack":{"ref":"q1","timeout":60000}},{"event":"silence","ack":{"ref":"q2","timeout":1}}]}`
		case "bytes":
			return `{"ack":{"args":[{"_placeholder":true,"num":0},1],"attachments":["AQI="]}}`
		case "join":
			return `{"ack":["mine"]}`
		case "many":
			return `{"ack":[1,null,{"z":1.0,"a":2}]}`
		}
		return "{}"
	})
	srv := serve(t, handled(spoken(open("chat")), b, "*", "join"))
	e := connectEngine(t, srv, "/chat")
	for in, want := range map[string]string{
		`42/chat,1["many"]`:  `43/chat,1[1,null,{"z":1.0,"a":2}]`,
		`42/chat,2["none"]`:  `43/chat,2[]`,
		`42/chat,3["join"]`:  `43/chat,3["mine"]`,
		`42/chat,4["bytes"]`: `461-/chat,4[{"_placeholder":true,"num":0},1]`,
	} {
		e.say(in)
		if got := e.packet(); got != want {
			t.Errorf("%s is answered %s, not %s", in, got, want)
		}
		if strings.Contains(in, "bytes") {
			if f := e.frame(); string(f.Payload) != "\x01\x02" {
				t.Errorf("the bytes are %x", f.Payload)
			}
		}
		b.next(t, "event")
	}
	e.say(`42/chat,["ask me"]`)
	b.next(t, "event")
	if got := e.packet(); got != `42/chat,1["question","?"]` {
		t.Errorf("the question is %s", got)
	}
	if got := e.packet(); got != `42/chat,2["silence"]` {
		t.Errorf("the second question is %s", got)
	}
	e.say(`43/chat,1["answer",1.0]`)
	var said []string
	for range 2 {
		c := b.next(t, "acknowledged")
		said = append(said, c.Ref+string(c.Args)+c.Error)
	}
	slices.Sort(said)
	if fmt.Sprint(said) != `[q1["answer",1.0] q2[]timeout]` {
		t.Errorf("the handler was told %v", said)
	}
	e.say(`43/chat,1["again"]`)
	e.say(`42/chat,9["none"]`)
	e.expect(`43/chat,9[]`)
}

// TestFarewells: every session that was told of is told to have gone, once, after what it
// has said, also when the server ends.
func TestFarewells(t *testing.T) {
	b := answering(t, func(handlerCall) string { time.Sleep(time.Millisecond); return "{}" })
	srv := serve(t, handled(spoken(open("chat")), b, "connect", "disconnect", "*"))
	for i := range 3 {
		c := connect(t, srv, "chat")
		c.next("welcome")
		for range 5 {
			c.say(`{"type":"emit","event":"x"}`)
		}
		if i == 0 {
			_ = c.conn.Close()
		}
	}
	e := connectEngine(t, srv, "/chat")
	e.say("41/chat,")
	srv.Drain()
	b.mu.Lock()
	defer b.mu.Unlock()
	state := map[string]string{}
	for _, c := range b.all {
		state[c.Session] += c.Type[len("dev.klaxon.client."):][:1]
		if c.Type == "dev.klaxon.client.disconnected" && !strings.HasSuffix(c.ID, ".disconnected") {
			t.Errorf("the id of a farewell is %s", c.ID)
		}
	}
	for id, s := range state {
		if s != "ceeeeed" && s != "cd" {
			t.Errorf("%s: %s", id, s)
		}
	}
	if len(state) != 4 {
		t.Errorf("%d sessions", len(state))
	}
}

// TestClientEventsAsAStream: backends read what clients do, go on where they were, and are
// told when that is not kept.
func TestClientEventsAsAStream(t *testing.T) {
	b := answering(t, func(handlerCall) string { return `{"ack":["answered"]}` })
	ch := handled(open("chat"), nil, "connect", "disconnect", "*")
	srv := serve(t, handled(ch, b, "asked"), open("quiet"))
	read := func(query string) (*http.Response, func() map[string]any) {
		resp, err := http.Get("http://" + srv.EventsAddr().String() + "/v1/channels/chat/client-events" + query)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		lines := bufio.NewScanner(resp.Body)
		return resp, func() map[string]any {
			t.Helper()
			var m map[string]any
			if !lines.Scan() || json.Unmarshal(lines.Bytes(), &m) != nil {
				t.Fatalf("the stream has %q, %v", lines.Text(), lines.Err())
			}
			return m
		}
	}
	_, next := read("")
	c := connect(t, srv, "chat")
	session := c.next("welcome")["session"]
	first := next()
	if first["type"] != "dev.klaxon.client.connected" || first["session"] != session {
		t.Errorf("the first line is %v", first)
	}
	for i := range 3 {
		c.say(fmt.Sprintf(`{"type":"emit","event":"x","data":%d,"ref":%d}`, i, i))
		c.next("ack")
	}
	c.say(`{"type":"emit","event":"asked","ref":1}`)
	if m := c.next("ack"); m["data"] != "answered" {
		t.Errorf("the handler's answer is %v", m)
	}
	_ = c.conn.Close()
	var all []string
	for range 5 {
		m := next()
		all = append(all, fmt.Sprint(m["type"].(string)[len("dev.klaxon.client."):], m["event"], m["args"]))
	}
	if want := "[eventx[0] eventx[1] eventx[2] eventasked[] disconnected<nil> <nil>]"; fmt.Sprint(all) != want {
		t.Errorf("the stream is %v, not %s", all, want)
	}
	_, again := read("?since=" + first["offset"].(string))
	if m := again(); m["event"] != "x" || fmt.Sprint(m["args"]) != "[0]" {
		t.Errorf("behind the first line is %v", m)
	}
	if resp, _ := read("?since=another.1"); resp.StatusCode != http.StatusGone {
		t.Errorf("a cursor of another log is answered %s", resp.Status)
	}
	if resp, _ := read("?from=1"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown parameter is answered %s", resp.Status)
	}
	resp, err := http.Get("http://" + srv.EventsAddr().String() + "/v1/channels/quiet/client-events")
	if err != nil || resp.StatusCode != http.StatusConflict {
		t.Errorf("a channel without a stream: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

// TestRoomsThatComeAndGo: a handler knows when somebody comes to a room and when everybody
// has left, and of nothing between.
func TestRoomsThatComeAndGo(t *testing.T) {
	b := answering(t, func(handlerCall) string { return "{}" })
	ch := open("games")
	ch.Handlers = []settings.Handler{{
		Rooms: []string{"game:*"}, URL: b.url, Timeout: settings.Duration(time.Second), Concurrency: 5, Loopback: true,
	}}
	srv := serve(t, ch)
	ann := connect(t, srv, "games?room=game:1&room=lobby")
	ann.next("welcome")
	first := b.next(t, "dev.klaxon.room.occupied")
	if first.Room != "game:1" || first.Session != "" || first.Rooms != nil {
		t.Errorf("the handler is told %+v", first)
	}
	bob := connect(t, srv, "games?room=game:1")
	bob.next("welcome")
	_ = ann.conn.Close()
	back := connect(t, srv, "games?room=game:1")
	back.next("welcome")
	_ = bob.conn.Close()
	back.say(`{"type":"join","rooms":["game:2"]}`)
	back.next("joined")
	second := b.next(t, "dev.klaxon.room.occupied")
	if second.Room != "game:2" {
		t.Errorf("the handler is told %+v", second)
	}
	back.say(`{"type":"leave","rooms":["game:1"]}`)
	back.next("left")
	last := b.next(t, "dev.klaxon.room.vacated")
	if last.Room != "game:1" || last.Number <= first.Number || last.ID == first.ID {
		t.Errorf("the handler is told %+v after %+v", last, first)
	}
	again := connect(t, srv, "games?room=game:1")
	again.next("welcome")
	if c := b.next(t, "dev.klaxon.room.occupied"); c.ID == first.ID || c.Room != "game:1" {
		t.Errorf("the handler is told %+v", c)
	}
}

// TestADeletedChannelSaysFarewell: its clients are closed, and its handler knows of each
// by the id that it was told before.
func TestADeletedChannelSaysFarewell(t *testing.T) {
	b := answering(t, func(handlerCall) string { return "{}" })
	srv := serve(t, handled(spoken(open("chat")), b, "connect", "disconnect"), open("other"))
	c := connect(t, srv, "chat")
	c.next("welcome")
	e := connectEngine(t, srv, "/chat")
	come := map[string]bool{b.next(t, "connected").Session: true, b.next(t, "connected").Session: true}
	if err := srv.Reload(document(open("other"))); err != nil {
		t.Fatal(err)
	}
	c.closed(wire.CloseChannelGone)
	e.expect(`42/chat,["klaxon.disconnect"`)
	for range 2 {
		gone := b.next(t, "disconnected")
		if !come[gone.Session] || gone.Code != int(wire.CloseChannelGone) {
			t.Errorf("the handler is told %+v", gone)
		}
		delete(come, gone.Session)
	}
}

// TestAHandlerThatIsAddedLater is told of the clients that are there already.
func TestAHandlerThatIsAddedLater(t *testing.T) {
	b := answering(t, func(handlerCall) string { return "{}" })
	srv := serve(t, open("chat"))
	c := connect(t, srv, "chat?room=game:1")
	id := c.next("welcome")["session"]
	ch := handled(open("chat"), b, "disconnect", "*")
	ch.Handlers[0].Rooms = []string{"game:*"}
	if err := srv.Reload(document(ch)); err != nil {
		t.Fatal(err)
	}
	if call := b.next(t, "dev.klaxon.room.occupied"); call.Room != "game:1" {
		t.Errorf("the handler is told %+v", call)
	}
	c.say(`{"type":"emit","event":"x","ref":1}`)
	c.next("ack")
	b.next(t, "event")
	_ = c.conn.Close()
	if call := b.next(t, "disconnected"); call.Session != id {
		t.Errorf("the handler is told %+v", call)
	}
}

func TestEmitRate(t *testing.T) {
	b := answering(t, func(handlerCall) string { return "{}" })
	ch := handled(open("chat"), b, "*")
	ch.Limits.EmitRate = 1
	srv := serve(t, ch)
	ann, bob := connect(t, srv, "chat"), connect(t, srv, "chat")
	ann.next("welcome")
	bob.next("welcome")
	for i := range 10 {
		ann.say(fmt.Sprintf(`{"type":"emit","event":"x","ref":%d}`, i))
	}
	limited := 0
	for range 10 {
		var m map[string]any
		if json.Unmarshal(ann.frame().Payload, &m) != nil || m["type"] == "error" && m["code"] != "rate_limited" {
			t.Fatalf("got %v", m)
		}
		if m["type"] == "error" {
			limited++
		}
	}
	if limited < 5 || limited > 8 {
		t.Errorf("%d of 10 were too many", limited)
	}
	bob.say(`{"type":"emit","event":"x","ref":1}`)
	bob.next("ack")
}

func TestBucket(t *testing.T) {
	var b bucket
	now := time.Now()
	count := func(n int) (taken int) {
		for range n {
			if b.pour(10, 1, now) {
				taken++
			}
		}
		return taken
	}
	if got := count(100); got != 20 {
		t.Errorf("%d at once", got)
	}
	now = now.Add(500 * time.Millisecond)
	if got := count(100); got != 5 {
		t.Errorf("%d after half a second", got)
	}
	now = now.Add(time.Hour)
	if got := count(100); got != 20 {
		t.Errorf("%d after an hour", got)
	}
	if !b.pour(0, 1, now) {
		t.Error("a rate of none is one")
	}
}

// TestARoomThatIsLeftAtOnce is forgotten, or told of twice, and there is nothing left of it.
func TestARoomThatIsLeftAtOnce(t *testing.T) {
	b := answering(t, func(handlerCall) string { return "{}" })
	ch := open("games")
	ch.Handlers = []settings.Handler{{
		Rooms: []string{"*"}, URL: b.url, Timeout: settings.Duration(time.Second), Concurrency: 5, Loopback: true,
	}}
	srv := serve(t, ch)
	c := connect(t, srv, "games")
	c.next("welcome")
	for i := range 200 {
		c.say(fmt.Sprintf(`{"type":"join","rooms":["%d"]}`, i%50))
		c.next("joined")
		c.say(fmt.Sprintf(`{"type":"leave","rooms":["%d"]}`, i%50))
		c.next("left")
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		srv.rooms.mu.Lock()
		rooms, keepers := len(srv.rooms.rooms), srv.rooms.keepers
		srv.rooms.mu.Unlock()
		if rooms == 0 && keepers == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d rooms and %d keepers are left", rooms, keepers)
		}
	}
	last := map[string]string{}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, call := range b.all {
		if last[call.Room] == call.Type {
			t.Errorf("room %s: %s twice", call.Room, call.Type)
		}
		last[call.Room] = call.Type
	}
	for room, typ := range last {
		if typ != "dev.klaxon.room.vacated" {
			t.Errorf("room %s: the last is %s", room, typ)
		}
	}
}
