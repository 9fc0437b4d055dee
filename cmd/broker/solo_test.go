// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

// TestKilled: what was acknowledged is there after a crash.
func TestKilled(t *testing.T) {
	b := solo(t, "--credentials="+secretsDir(t), "--store="+t.TempDir(), "--max-storage=1Gi")
	b.start()
	b.waitReady()
	js := connect(t, []*broker{b})
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}})
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	for i := range n {
		if _, err := js.Publish(t.Context(), "orders.new", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	b.kill()
	b.start()
	b.waitReady()
	for i := range n {
		var msg *jetstream.RawStreamMsg
		eventually(t, "the client is back", func() error {
			msg, err = stream.GetMsg(t.Context(), uint64(i+1))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				t.Fatalf("message %d was acknowledged and is gone", i)
			}
			return err
		})
		if string(msg.Data) != fmt.Sprint(i) {
			t.Errorf("message %d is %q", i, msg.Data)
		}
	}
	st, err := b.status()
	if err != nil {
		t.Fatal(err)
	}
	if err := status.Whole(1, []status.Node{st}); err != nil || st.Streams != 1 || st.Leading != 1 || st.Messages != n || st.MetaLeader != "solo" {
		t.Errorf("whole: %v; status: %+v", err, st)
	}
}

// TestDiskFull: a node that cannot write any more ends, and comes back with all
// that it has acknowledged.
func TestDiskFull(t *testing.T) {
	b := solo(t, "--credentials="+secretsDir(t), "--store="+t.TempDir(), "--max-storage=1Gi")
	// No file may grow over a megabyte: to the server that is a disk that is full.
	b.startAs(exec.Command("sh", append([]string{"-c", `ulimit -f 2048 && exec "$0" "$@"`, os.Args[0]}, b.args...)...))
	b.waitReady()
	js := connect(t, []*broker{b})
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	var acked uint64
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := js.Publish(ctx, "orders", make([]byte, 100<<10))
		cancel()
		if err != nil {
			break
		}
		acked++
	}
	select {
	case <-b.done:
	case <-time.After(patience):
		t.Fatal("the node goes on without its disk")
	}
	if code := b.cmd.ProcessState.ExitCode(); code != 1 || b.logged("is the volume full, or broken?") != nil {
		t.Errorf("ended with %d", code)
	}
	b.start()
	b.waitReady()
	eventually(t, "all that was acknowledged is there", func() error {
		info, err := stream.Info(t.Context())
		if err == nil && info.State.Msgs < acked {
			t.Fatalf("%d of %d messages", info.State.Msgs, acked)
		}
		return err
	})
	eventually(t, "it takes messages again", func() error {
		_, err := js.Publish(t.Context(), "orders", nil)
		return err
	})
}

// TestStops: SIGTERM with clients connected ends the node in time, and its
// probes say so until then.
func TestStops(t *testing.T) {
	b := solo(t, "--credentials="+secretsDir(t), "--store="+t.TempDir(), "--max-storage=1Gi")
	b.start()
	b.waitReady()
	lame := make(chan struct{})
	connect(t, []*broker{b}, nats.LameDuckModeHandler(func(*nats.Conn) {
		defer close(lame)
		if err := b.probe("/readyz"); err == nil || !strings.Contains(err.Error(), "503 stopping") {
			t.Errorf("/readyz while it stops: %v", err)
		}
		if err := b.probe("/healthz"); err != nil {
			t.Errorf("/healthz while it stops: %v", err)
		}
		if st, err := b.status(); err != nil || st.Phase != status.Stopping || st.CaughtUp() {
			t.Errorf("/status while it stops: %+v, %v", st, err)
		}
	}))
	for range 5 {
		connect(t, []*broker{b})
	}
	t.Logf("ended after %s", b.term())
	select {
	case <-lame:
	default:
		t.Error("the client was not told before it was cut off")
	}
}

// TestOneStoreAtATime: a process that starts while another still uses its store waits
// until that has ended, and can be told to end meanwhile.
func TestOneStoreAtATime(t *testing.T) {
	secrets, store := secretsDir(t), t.TempDir()
	first := solo(t, "--credentials="+secrets, "--store="+store, "--max-storage=1Gi")
	first.start()
	first.waitReady()
	js := connect(t, []*broker{first})
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	second := solo(t, "--credentials="+secrets, "--store="+store, "--max-storage=1Gi")
	waits := func() {
		t.Helper()
		eventually(t, "the second waits", func() error { return second.logged("another process uses the store") })
		if err := second.probe("/healthz"); err != nil {
			t.Errorf("/healthz while it waits: %v", err)
		}
		if err := second.probe("/startupz"); err == nil {
			t.Error("/startupz: it has started with a store that another process uses")
		}
		if st, err := second.status(); err != nil || st.Phase != status.Starting {
			t.Errorf("/status while it waits: %+v, %v", st, err)
		}
	}
	second.start()
	waits()
	second.term()
	second.log = &log{}
	second.start()
	waits()
	for i := range 20 {
		if _, err := js.Publish(t.Context(), "orders.new", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	first.kill()
	second.waitReady()
	if st, err := second.status(); err != nil || st.Messages != 20 {
		t.Errorf("the second has %d of 20 messages (%v)", st.Messages, err)
	}
}

// TestMemory: without a store, streams in memory work and are gone afterwards,
// and streams on disk are refused.
func TestMemory(t *testing.T) {
	b := solo(t, "--credentials="+secretsDir(t), "--max-memory=1Mi")
	b.start()
	b.waitReady()
	js := connect(t, []*broker{b})
	create := func(name string, storage jetstream.StorageType) error {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Storage: storage, MaxBytes: 64 << 10})
		return err
	}
	if err := create("disk", jetstream.FileStorage); err == nil || !strings.Contains(err.Error(), "insufficient storage") {
		t.Errorf("a stream on disk: %v, want that there is no room", err)
	}
	if err := create("memory", jetstream.MemoryStorage); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "large", Storage: jetstream.MemoryStorage, MaxBytes: 1 << 20}); err == nil {
		t.Error("more memory was promised than --max-memory")
	}
	if _, err := js.Publish(t.Context(), "memory", []byte("x")); err != nil {
		t.Error(err)
	}
	b.term()
	b.start()
	b.waitReady()
	eventually(t, "the client is back", func() error {
		_, err := js.Stream(t.Context(), "memory")
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return nil
		case err == nil:
			return errors.New("the stream is still there")
		}
		return err
	})
}

// TestAdmin: with an admin credential, only probes are for everybody.
func TestAdmin(t *testing.T) {
	dir := secretsDir(t)
	sum := sha256.Sum256([]byte("the-token"))
	write(t, filepath.Join(dir, "admin"), hex.EncodeToString(sum[:]))
	b := solo(t, "--credentials="+dir)
	b.start()
	b.waitReady()
	for path, want := range map[string]int{"/healthz": 200, "/startupz": 200, "/readyz": 200, "/status": 401, "/metrics": 401, "/varz": 404} {
		for token, want := range map[string]int{"": want, "another": want, "the-token": min(want, 200) + max(0, want-401)*68} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.health+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s with token %q: %d, want %d", path, token, resp.StatusCode, want)
			}
		}
	}
}

// TestAccount: clients are held to their own account.
func TestAccount(t *testing.T) {
	b := solo(t, "--credentials="+secretsDir(t))
	b.start()
	b.waitReady()
	js := connect(t, []*broker{b})
	for _, subject := range []string{"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.ACCOUNT.$SYS.CONNZ"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if _, err := js.Conn().RequestWithContext(ctx, subject, nil); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s: %v, want nobody who answers", subject, err)
		}
		cancel()
	}
	events, err := js.Conn().SubscribeSync("$SYS.>")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		other := connect(t, []*broker{b}) // which is an event in the system's account
		other.Conn().Close()
		if err := js.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if msg, err := events.NextMsg(time.Millisecond); err == nil {
		t.Errorf("an event of the system's account: %s", msg.Subject)
	}
}
