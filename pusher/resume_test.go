// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// keeping gives a Channel a history.
func keeping(c settings.Channel, size int64) settings.Channel {
	c.History = settings.History{Size: size, TTL: settings.Duration(time.Hour), Bytes: 64 << 20}
	return c
}

// recovering gives a Channel connection state recovery as well.
func recovering(c settings.Channel, size int64) settings.Channel {
	c = keeping(spoken(c), size)
	c.SocketIO.Recovery = true
	return c
}

// wantEvents reads events and compares their data.
func (c *client) wantEvents(want ...int) (offset string) {
	c.t.Helper()
	for _, w := range want {
		ev := c.next("event")
		if ev["data"] != float64(w) {
			c.t.Fatalf("got event %v, want %d", ev, w)
		}
		offset, _ = ev["offset"].(string)
	}
	return offset
}

// numbered publishes events whose data are from … to, and returns their offsets.
func numbered(t *testing.T, srv *Server, from, to int, to1 ...string) (offsets []string) {
	t.Helper()
	for i := from; i <= to; i++ {
		address := ""
		if len(to1) > 0 {
			address = "," + to1[0]
		}
		offsets = append(offsets, mustPublish(t, srv, "orders", fmt.Sprintf(`{"event":"n","data":%d%s}`, i, address)))
	}
	return offsets
}

func TestAClientGoesOnFromWhereItWas(t *testing.T) {
	srv := serve(t, keeping(open("orders"), 100))
	at := numbered(t, srv, 1, 5)
	for range 4 { // both loops
		c := connect(t, srv, "orders?since="+at[1])
		w := c.next("welcome")
		if w["recovered"] != true || w["offset"] != at[1] || w["oldest"] != nil {
			t.Fatalf("welcome: %v", w)
		}
		c.wantEvents(3, 4, 5)
		c.say(`{"type":"ping"}`)
		if pong := c.next("pong"); pong["offset"] != at[4] {
			t.Errorf("after the replay the client is at %v, want %s", pong["offset"], at[4])
		}
	}
	c := connect(t, srv, "orders?since="+at[4])
	if w := c.next("welcome"); w["recovered"] != true || w["offset"] != at[4] {
		t.Errorf("who has missed nothing: %v", w)
	}
	numbered(t, srv, 6, 6)
	c.wantEvents(6)
	if w := connect(t, srv, "orders").next("welcome"); w["recovered"] != nil || w["oldest"] != nil {
		t.Errorf("who has not been there: %v", w)
	}
}

func TestAReplayIsForItsRoomsUserAndSession(t *testing.T) {
	srv := serve(t, keeping(guarded("orders"), 100))
	token := "&token=" + signed(t, "ann", time.Hour, "*")
	c := connect(t, srv, "orders?room=a"+token)
	c.next("welcome")
	c.say(`{"type":"join","rooms":["b","c"]}`)
	c.next("joined")
	c.say(`{"type":"leave","rooms":["c"]}`)
	left := c.next("left")
	session := ""
	sessions, _ := (directory{srv}).List(t.Context(), "orders")
	for _, s := range sessions {
		session = s.ID
	}
	_ = c.conn.Close()
	numbered(t, srv, 1, 1, `"rooms":["a"]`)
	numbered(t, srv, 2, 2, `"rooms":["c"]`)
	numbered(t, srv, 3, 3, `"rooms":["c","b"]`)
	numbered(t, srv, 4, 4, `"users":["bob"]`)
	numbered(t, srv, 5, 5, `"users":["ann"]`)
	numbered(t, srv, 6, 6, fmt.Sprintf(`"sessions":[%q]`, session))
	numbered(t, srv, 7, 7)

	resume := url.QueryEscape(left["resume"].(string))
	c = connect(t, srv, "orders?resume="+resume+token)
	if w := c.next("welcome"); w["recovered"] != true || fmt.Sprint(w["rooms"]) != "[a b]" {
		t.Fatalf("welcome: %v", w)
	}
	c.wantEvents(1, 3, 5, 6, 7)
	// Without the token the client is another session, in the rooms that it names.
	c = connect(t, srv, "orders?room=c&since="+left["offset"].(string)+token)
	c.next("welcome")
	c.wantEvents(2, 3, 5, 7)
	// What is said besides is later than the token.
	since := numbered(t, srv, 8, 9, `"rooms":["b"]`)[0]
	c = connect(t, srv, "orders?since="+since+"&resume="+resume+token)
	c.next("welcome")
	c.wantEvents(9)
	// Rules are run again: this token does not let its user into b.
	c = connect(t, srv, "orders?since="+since+"&resume="+resume+"&token="+signed(t, "ann", time.Hour, "a"))
	if w := c.next("welcome"); w["recovered"] != true || fmt.Sprint(w["rooms"]) != "[a]" {
		t.Errorf("welcome: %v", w)
	}
	if e := c.next("error"); e["code"] != "forbidden" || fmt.Sprint(e["rooms"]) != "[b]" {
		t.Errorf("error: %v", e)
	}
	c = connect(t, srv, "orders?resume="+resume+"&token="+signed(t, "bob", time.Hour, "*"))
	if w := c.next("welcome"); w["recovered"] != false || fmt.Sprint(w["rooms"]) != "[]" {
		t.Errorf("another's token: %v", w)
	}
}

func TestWhatIsNotKeptIsSaid(t *testing.T) {
	none := open("none")
	srv := serve(t, keeping(open("orders"), 3), none, keeping(open("other"), 3))
	at := numbered(t, srv, 1, 6)
	epoch, _, _ := strings.Cut(at[0], ".")
	resume, _ := connect(t, srv, "other").next("welcome")["resume"].(string)
	for name, query := range map[string]string{
		"aged out":              "since=" + at[0],
		"another epoch":         "since=other.5",
		"ahead":                 "since=" + epoch + ".1000",
		"garbage":               "resume=garbage",
		"garbage and an offset": "resume=garbage&since=" + at[4],
		"of another channel":    "resume=" + resume,
	} {
		c := connect(t, srv, "orders?"+query)
		w := c.next("welcome")
		if w["recovered"] != false || w["oldest"] != at[2] || w["offset"] != at[5] {
			t.Errorf("%s: %v", name, w)
		}
		numbered(t, srv, 7, 7)
		at = append(at[1:], c.wantEvents(7))
		_ = c.conn.Close()
	}
	mustPublish(t, srv, "none", `{"event":"n","data":1}`)
	w := connect(t, srv, "none?since=x.1").next("welcome")
	if w["recovered"] != false || w["oldest"] != nil || w["resume"] != nil {
		t.Errorf("without history: %v", w)
	}
	d, base := dialer(srv)
	if _, _, _, err := d.Dial(t.Context(), base+"orders?since=yesterday"); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("an offset that is none: %v", err)
	}
}

// TestRequestsWaitForTheWelcome: whoever sends a message along with the handshake
// is answered, after the welcome.
func TestRequestsWaitForTheWelcome(t *testing.T) {
	srv := serve(t, keeping(open("orders"), 100))
	at := numbered(t, srv, 1, 3)
	numbered(t, srv, 4, 4, `"rooms":["b"]`)
	early := masked(`{"type":"join","rooms":["b"]}`) + masked(`{"type":"ping"}`)
	for range 20 {
		conn, r := paths["at once"](t, srv, strings.Replace(handshake(), "/ws/orders?room=a", "/ws/orders?since="+at[1], 1)+early)
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, error %v", resp, err)
		}
		c := &client{t: t, conn: conn, r: r}
		c.next("welcome")
		if j := c.next("joined"); j["offset"] != at[1] {
			t.Errorf("joined at %v, where the client is at %s", j["offset"], at[1])
		}
		c.next("pong")
		c.wantEvents(3, 4)
	}
}

func masked(msg string) string {
	return string(ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(msg)))))
}

func TestAnEventStreamGoesOn(t *testing.T) {
	srv := serve(t, keeping(open("orders"), 3))
	at := numbered(t, srv, 1, 5)
	st := streamFrom(t, srv, "orders?lastEventId="+at[3])
	if got := st.block(); !strings.Contains(got, `"recovered":true`) || !strings.Contains(got, "\nid: "+at[3]+"\n") {
		t.Errorf("welcome: %s", got)
	}
	if got := st.block(); got != "id: "+at[4]+"\nevent: n\ndata: 5" {
		t.Errorf("got %q", got)
	}
	for _, id := range []string{at[0], "some-other-servers-id"} {
		st = streamFrom(t, srv, "orders?lastEventId="+id)
		if got := st.block(); !strings.Contains(got, `"recovered":false,"oldest":"`+at[1]+`"`) || !strings.Contains(got, "\nid: "+at[4]+"\n") {
			t.Errorf("welcome of %s: %s", id, got)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+srv.ClientsAddr().String()+"/sse/orders?lastEventId="+at[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", at[4])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b := make([]byte, 512)
	if n, err := resp.Body.Read(b); err != nil || !strings.Contains(string(b[:n]), `"recovered":true`) {
		t.Errorf("the header is younger than the URL: %v %s", err, b[:n])
	}
}

// TestReplaysJoinTheLiveStream: while events pour in, in bursts, clients come back
// from anywhere. Each gets every event from there, once and in order.
func TestReplaysJoinTheLiveStream(t *testing.T) {
	const bursts, each, clients = 60, 50, 24
	ch := keeping(open("orders"), 100_000)
	ch.Limits.EventBytes, ch.SlowClients.BufferBytes = 512, 16<<10
	srv := serve(t, ch)
	var mu sync.Mutex
	var offsets []string
	burst := func(n int) {
		evs := make([]*wire.Event, each)
		for i := range evs {
			evs[i] = &wire.Event{Name: "n", Data: fmt.Append(nil, n*each+i)}
		}
		receipts, err := srv.broker.Publish(t.Context(), "orders", evs)
		if err != nil {
			t.Errorf("publish: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, r := range receipts {
			offsets = append(offsets, r.Position.String())
		}
	}
	burst(0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; n < bursts; n++ {
			burst(n)
			time.Sleep(20 * time.Millisecond) // a stream, not one burst
			roomForAll(srv)
		}
	}()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			mu.Lock()
			at := rand.IntN(len(offsets))
			since := offsets[at]
			mu.Unlock()
			c := connect(t, srv, "orders?since="+since)
			if w := c.next("welcome"); w["recovered"] != true {
				t.Errorf("welcome: %v", w)
				return
			}
			for want := at + 1; want < bursts*each; want++ {
				if ev := c.next("event"); ev["data"] != float64(want) {
					t.Errorf("after %d comes %v", want-1, ev)
					return
				}
			}
		})
		time.Sleep(20 * time.Millisecond)
	}
	wg.Wait()
	<-done
	noReplays(t, srv)
}

// roomForAll waits until no client that has caught up is so slow, on a machine that is
// busy, that a burst would end it.
func roomForAll(srv *Server) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var full atomic.Bool
		srv.onLoops(func(sh *shard) {
			for _, s := range slices.Clone(sh.table.Members("orders")) {
				if ses := sh.sessions.At(s); ses.channel != nil && !ses.replaying && !sh.loop.Fits(ses.conn, 0) {
					full.Store(true)
				}
			}
		})
		if !full.Load() {
			return
		}
	}
}

// noReplays wants nothing to be left of replays that have ended.
func noReplays(t *testing.T, srv *Server) {
	t.Helper()
	srv.onLoops(func(sh *shard) {
		if len(sh.replays) != 0 || sh.recent != nil {
			t.Errorf("%d replays have not ended", len(sh.replays))
		}
	})
}

// gated is a history that waits before it is read.
type gated struct {
	history
	entered, gate chan struct{}
}

func (g *gated) Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error) {
	g.entered <- struct{}{}
	<-g.gate
	return g.history.Read(ctx, channel, r)
}

// TestMoreThanCanBeHeld comes while the first page is read.
func TestMoreThanCanBeHeld(t *testing.T) {
	for _, live := range []int{0, 1, maxHeld, maxHeld + 1, 3*maxHeld + 7} {
		t.Run(fmt.Sprint(live), func(t *testing.T) {
			srv := serve(t, keeping(open("orders"), 10_000))
			g := &gated{history: srv.broker, entered: make(chan struct{}, 100), gate: make(chan struct{})}
			srv.replays.history = g
			at := numbered(t, srv, 0, 9)
			c := connect(t, srv, "orders?since="+at[4])
			<-g.entered
			numbered(t, srv, 10, 9+live)
			close(g.gate)
			if w := c.next("welcome"); w["offset"] != at[4] {
				t.Errorf("welcome: %v", w)
			}
			for want := 5; want <= 9+live; want++ {
				c.wantEvents(want)
			}
			numbered(t, srv, 10+live, 10+live)
			c.wantEvents(10 + live)
			noReplays(t, srv)
		})
	}
}

// TestMoreThanCanBeHeldOfWhatIsLost: who cannot go on from where it was still
// misses nothing from its welcome on.
func TestMoreThanCanBeHeldOfWhatIsLost(t *testing.T) {
	srv := serve(t, keeping(open("orders"), 10_000))
	g := &gated{history: srv.broker, entered: make(chan struct{}, 100), gate: make(chan struct{})}
	srv.replays.history = g
	at := numbered(t, srv, 0, 9)
	c := connect(t, srv, "orders?since=other.4")
	<-g.entered
	numbered(t, srv, 10, 9+2*maxHeld)
	close(g.gate)
	if w := c.next("welcome"); w["recovered"] != false || w["offset"] != at[9] {
		t.Errorf("welcome: %v", w)
	}
	for want := 10; want <= 9+2*maxHeld; want++ {
		c.wantEvents(want)
	}
}

// failing is a history that cannot be read for a while.
type failing struct {
	history
	times atomic.Int64
}

func (f *failing) Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error) {
	if f.times.Add(-1) >= 0 {
		return wire.Page{}, errors.New("away")
	}
	return f.history.Read(ctx, channel, r)
}

func TestAHistoryThatCannotBeRead(t *testing.T) {
	srv := serve(t, keeping(open("orders"), 100))
	f := &failing{history: srv.broker}
	srv.replays.history = f
	at := numbered(t, srv, 0, 2)
	f.times.Store(3)
	c := connect(t, srv, "orders?since="+at[0])
	if w := c.next("welcome"); w["recovered"] != true {
		t.Errorf("after a while: %v", w)
	}
	c.wantEvents(1, 2)
	f.times.Store(1000)
	connect(t, srv, "orders?since="+at[0]).closed(wire.CloseTryLater)
}

// TestAReplayWaitsForASlowClient: what is missed is more than the buffer holds.
func TestAReplayWaitsForASlowClient(t *testing.T) {
	ch := keeping(open("orders"), 1000)
	ch.SlowClients.BufferBytes = 64 << 10
	srv := serve(t, ch)
	const n = 400
	big := strings.Repeat("x", 60<<10)
	first := mustPublish(t, srv, "orders", `{"event":"n","data":"first"}`)
	for i := range n {
		mustPublish(t, srv, "orders", fmt.Sprintf(`{"event":"n","data":"%d %s"}`, i, big))
	}
	c := connect(t, srv, "orders?since="+first)
	c.next("welcome")
	time.Sleep(300 * time.Millisecond) // several waits
	for i := range n {
		ev := c.next("event")
		if got, _, _ := strings.Cut(ev["data"].(string), " "); got != fmt.Sprint(i) {
			t.Fatalf("event %s, want %d", got, i)
		}
	}
}

// TestHistoryThatVanishesUnderAReplay: who reads more slowly than the log moves on
// is closed, and told when it comes back.
func TestHistoryThatVanishesUnderAReplay(t *testing.T) {
	ch := keeping(open("orders"), 500)
	ch.SlowClients.BufferBytes = 64 << 10
	srv := serve(t, ch)
	big := strings.Repeat("x", 60<<10)
	first := mustPublish(t, srv, "orders", `{"event":"n","data":0}`)
	for range 400 {
		mustPublish(t, srv, "orders", `{"event":"n","data":"`+big+`"}`)
	}
	c := connect(t, srv, "orders?since="+first)
	c.next("welcome")
	for range 500 {
		mustPublish(t, srv, "orders", `{"event":"n","data":1}`)
	}
	at := ""
	for {
		f := c.frame()
		var m struct{ Offset string }
		if json.Unmarshal(f.Payload, &m) != nil {
			break // the close frame
		}
		at = m.Offset
	}
	if w := connect(t, srv, "orders?since="+at).next("welcome"); w["recovered"] != false {
		t.Errorf("welcome: %v", w)
	}
}

func TestResumeTokens(t *testing.T) {
	a, b := newSIDs(nil), newSIDs(nil)
	want := resumeToken{
		channel: "orders", session: wire.SessionID{1, 2, 3}, user: "änn", at: wire.Position{Epoch: "abc", Seq: 1 << 60}, rooms: []string{"r", "ü", ""}, granted: []string{"ü"},
	}
	token := a.writeResume(want)
	if got, ok := a.readResume(token); !ok || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := b.readResume(token); ok {
		t.Error("a token of another key is taken")
	}
	for i := range len(token) {
		changed := []byte(token)
		changed[i] ^= 1
		if got, ok := a.readResume(string(changed)); ok && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("a token with byte %d changed is taken: %+v", i, got)
		}
	}
	for _, bad := range []string{"", "x", token[:20], token + "A", token + "\n", strings.Repeat("A", 40)} {
		if _, ok := a.readResume(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	many := slices.Repeat([]string{strings.Repeat("r", wire.MaxRoomName)}, wire.MaxRooms)
	if got := a.writeResume(resumeToken{rooms: many}); got != "" {
		t.Errorf("a token has %d bytes", len(got))
	}
	if _, ok := a.readResume(a.pid(want.session)); ok {
		t.Error("a pid is taken for a token")
	}
}
