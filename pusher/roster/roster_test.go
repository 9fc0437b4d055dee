// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package roster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const patience = 20 * time.Second

// start starts a NATS node. Started again with the same options it has the same
// address, and remembers nothing.
func start(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.JetStream, o.NoSigs, o.NoLog, o.StoreDir = "127.0.0.1", true, true, true, t.TempDir()
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	addr, _ := s.Addr().(*net.TCPAddr)
	o.Port = addr.Port
	return s
}

func join(t *testing.T, s *server.Server, self uint32) *Roster {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	r, err := New(Config{Conn: conn, Bucket: "klaxon_shop_edge_sessions", Self: self})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	r.Keep(time.Minute)
	return r
}

func put(t *testing.T, r *Roster, id, record string) {
	t.Helper()
	stored := make(chan struct{})
	r.Put(id, []byte(record), func() { close(stored) })
	select {
	case <-stored:
	case <-time.After(patience):
		t.Fatalf("%s is not stored", id)
	}
}

func take(t *testing.T, r *Roster, id string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	record, err := r.Take(ctx, id, func(record []byte) bool { return !bytes.HasPrefix(record, []byte("not ")) })
	if err != nil {
		t.Fatal(err)
	}
	return string(record)
}

func wantTaken(t *testing.T, r *Roster, id, want string) {
	t.Helper()
	if got := take(t, r, id); got != want {
		t.Errorf("%s was %q, want %q", id, got, want)
	}
}

func (r *Roster) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries)
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !check(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestASessionIsTakenOver(t *testing.T) {
	s := start(t, &server.Options{})
	a, b := join(t, s, 1), join(t, s, 2)
	taken := make(chan string, 10)
	a.Serve(func(id string) { taken <- id }, func() { t.Error("everything is asked for again") })
	put(t, a, "x", "first")
	put(t, a, "x", "second")
	put(t, a, "y", "not for you")
	wantTaken(t, b, "nobody", "")
	wantTaken(t, b, "y", "")
	// From one that lives, and learns of it when it writes.
	wantTaken(t, b, "x", "second")
	a.Put("x", []byte("third"), func() { t.Error("stored what is another's") })
	select {
	case id := <-taken:
		if id != "x" {
			t.Errorf("%s was taken", id)
		}
	case <-time.After(patience):
		t.Fatal("the former owner does not learn of it")
	}
	// From one that has ended, back again, with what was written last.
	b.Put("x", []byte("fourth"), nil)
	b.Release("x")
	wantTaken(t, b, "x", "fourth")
	b.Release("x")
	wantTaken(t, a, "x", "fourth")
	put(t, a, "x", "fifth")
	a.Drop("x")
	eventually(t, "x to be dropped", func() bool { return a.len() == 1 })
	wantTaken(t, b, "x", "")
	a.Release("y")
	if a.len() != 0 || b.len() != 0 {
		t.Errorf("%d and %d sessions are left", a.len(), b.len())
	}
	select {
	case id := <-taken:
		t.Errorf("%s was taken", id)
	default:
	}
}

// TestOnlyOneTakesASession of many who want it at the same time.
func TestOnlyOneTakesASession(t *testing.T) {
	s := start(t, &server.Options{})
	owner := join(t, s, 1)
	var others []*Roster
	for i := range uint32(4) {
		others = append(others, join(t, s, i+2))
	}
	for round := range 20 {
		id := fmt.Sprint("s", round)
		put(t, owner, id, "once")
		owner.Release(id)
		accepted := make(chan int, len(others))
		for i, r := range others {
			go func() {
				record, err := r.Take(t.Context(), id, func([]byte) bool { return true })
				if err != nil || string(record) != "once" {
					t.Errorf("%d took %q, %v", i, record, err)
				}
				accepted <- i
			}()
		}
		for range others {
			<-accepted
		}
		// All took it in turn; one has it in the end.
		value, _, err := owner.get(t.Context(), id)
		if err != nil || string(value[4:]) != "once" {
			t.Fatal(err)
		}
	}
}

// TestNATSIsAway while sessions change, and has forgotten everything.
func TestNATSIsAway(t *testing.T) {
	o := &server.Options{}
	s := start(t, o)
	a, b := join(t, s, 1), join(t, s, 2)
	renewed := make(chan struct{}, 10)
	for _, r := range []*Roster{a, b} {
		r.Serve(func(id string) { t.Errorf("%s was taken", id) }, func() { renewed <- struct{}{} })
	}
	put(t, a, "x", "before")
	put(t, b, "y", "before")
	s.Shutdown()
	s.WaitForShutdown()
	stored := make(chan struct{})
	a.Put("x", []byte("while it is away"), nil)
	a.Put("x", []byte("and again"), func() { close(stored) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.Take(ctx, "x", func([]byte) bool { return true }); err == nil {
		t.Error("it is known that there is no such session")
	}
	select {
	case <-stored:
		t.Error("stored nowhere")
	default:
	}
	start(t, o)
	for range 2 {
		select {
		case <-renewed:
		case <-time.After(patience):
			t.Fatal("nobody asks for what was forgotten")
		}
	}
	select {
	case <-stored:
	case <-time.After(patience):
		t.Fatal("not stored when NATS is back")
	}
	put(t, b, "y", "after")
	wantTaken(t, b, "x", "and again")
	wantTaken(t, a, "y", "after")
}

func TestRecordsAreKeptForAsLongAsNeeded(t *testing.T) {
	s := start(t, &server.Options{})
	a, b := join(t, s, 1), join(t, s, 2)
	put(t, a, "x", "record")
	b.Keep(time.Hour)
	put(t, b, "y", "record")
	a.Keep(30 * time.Minute) // b needs them for longer
	put(t, a, "x", "again")
	bucket, err := a.find()
	if err != nil {
		t.Fatal(err)
	}
	if st, err := bucket.Status(t.Context()); err != nil || st.TTL() != time.Hour+2*Refresh {
		t.Errorf("kept for %v (%v)", st.TTL(), err)
	}
	wantTaken(t, b, "x", "again")
}
