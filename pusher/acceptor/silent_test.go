// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package acceptor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roomy is a taker with as much room as it says.
type roomy struct {
	taker
	room *atomic.Int64
}

func (r roomy) Room() int { return int(r.room.Load()) }

func (roomy) Busy([]byte) string { return Busy }

// startAtOnce runs an Acceptor that gets its connections before their requests,
// as in a storm. Nobody serves its Rest.
func startAtOnce(t *testing.T, room int64) (a *Acceptor, ended chan error, left *atomic.Int64) {
	t.Helper()
	left = &atomic.Int64{}
	left.Store(room)
	a, err := Listen("127.0.0.1:0", roomy{taker{t}, left}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.set(unix.TCP_DEFER_ACCEPT, 0); err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() { ended <- a.Run() }()
	t.Cleanup(func() { _ = a.Close() })
	return a, ended, left
}

// ask shakes hands on a connection and reads the answer.
func ask(t *testing.T, c net.Conn) string {
	t.Helper()
	write(t, c, fmt.Sprintf(handshake, "/mine"))
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestConnectionsThatWereSilentAreTakenWhenTheySpeak(t *testing.T) {
	a, _, _ := startAtOnce(t, 1000)
	var all []net.Conn
	for range 500 {
		all = append(all, dial(t, a))
	}
	for i, c := range all {
		if got, want := ask(t, c), c.LocalAddr().String()+` taken, early ""`; got != want {
			t.Fatalf("connection %d heard %q, want %q", i, got, want)
		}
	}
}

func TestTheOneThatWasSilentForLongestMakesRoom(t *testing.T) {
	a, _, _ := startAtOnce(t, 3)
	var all []net.Conn
	for range 5 {
		all = append(all, dial(t, a))
	}
	for i, c := range all[:2] {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("connection %d read %d bytes, error %v: it should have made room", i, n, err)
		}
	}
	for i, c := range all[2:] {
		if got := ask(t, c); !strings.Contains(got, "taken") {
			t.Errorf("connection %d heard %q", 2+i, got)
		}
	}
}

func TestWhoSpeaksComesBeforeWhoIsSilent(t *testing.T) {
	a, _, room := startAtOnce(t, 10)
	quiet := dial(t, a)
	// It is held once another one that came behind it has been answered.
	if got := ask(t, dial(t, a)); !strings.Contains(got, "taken") {
		t.Fatalf("heard %q", got)
	}
	room.Store(1)
	if got := ask(t, dial(t, a)); !strings.Contains(got, "taken") {
		t.Errorf("heard %q", got)
	}
	if n, err := quiet.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the silent one read %d bytes, error %v: it should have made room", n, err)
	}
}

// TestAsManyMakeRoomAsNeeded: net/http makes sessions too, so there can be less
// room by more than one.
func TestAsManyMakeRoomAsNeeded(t *testing.T) {
	a, _, room := startAtOnce(t, 10)
	var quiet []net.Conn
	for range 3 {
		quiet = append(quiet, dial(t, a))
	}
	if got := ask(t, dial(t, a)); !strings.Contains(got, "taken") {
		t.Fatalf("heard %q", got)
	}
	room.Store(2)
	if got := ask(t, dial(t, a)); !strings.Contains(got, "taken") {
		t.Errorf("heard %q", got)
	}
	for i, c := range quiet[:2] {
		if err := c.SetDeadline(time.Now().Add(patience / 2)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("connection %d should have made room: %v", i, err)
		}
	}
	if got := ask(t, quiet[2]); !strings.Contains(got, "taken") {
		t.Errorf("the last one heard %q", got)
	}
}

// TestWhoIsSilentMakesRoomWhenDescriptorsRunOut: they can be used up by others
// than clients.
func TestWhoIsSilentMakesRoomWhenDescriptorsRunOut(t *testing.T) {
	a, _, _ := startAtOnce(t, 1000)
	quiet := dial(t, a)
	if got := ask(t, dial(t, a)); !strings.Contains(got, "taken") {
		t.Fatalf("heard %q", got)
	}
	useUpDescriptors(t)
	c := dial(t, a)
	if err := c.SetDeadline(time.Now().Add(patience / 2)); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c); !strings.Contains(got, "taken") {
		t.Errorf("heard %q", got)
	}
	if _, err := quiet.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the silent one should have made room: %v", err)
	}
}

// useUpDescriptors leaves one until the test ends.
func useUpDescriptors(t *testing.T) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	var all []int
	t.Cleanup(func() {
		for _, fd := range all {
			_ = unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(was.Cur, 256), Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		all = append(all, fd)
	}
	if len(all) == 0 {
		t.Fatal("there was no descriptor left to begin with")
	}
	_ = unix.Close(all[0])
	all = all[1:]
}

func TestCloseEndsSilentConnections(t *testing.T) {
	a, ended, _ := startAtOnce(t, 10)
	quiet := dial(t, a)
	if got := ask(t, dial(t, a)); !strings.Contains(got, "taken") {
		t.Fatalf("heard %q", got)
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if n, err := quiet.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, error %v", n, err)
	}
}

// TestPatienceEnds has its own clock.
func TestPatienceEnds(t *testing.T) {
	var s silent
	defer s.close()
	now := time.Now()
	peers := map[int]int{}
	open := func() (fds []int) {
		for range 3 {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Close(pair[1]) })
			fds = append(fds, pair[0])
			peers[pair[0]] = pair[1]
		}
		return fds
	}
	fds := open()
	for i, fd := range fds {
		s.add(fd, visitor{until: now.Add(time.Duration(i) * time.Second)})
	}
	if _, ok := s.take(fds[0]); !ok {
		t.Fatal("one that spoke is not known")
	}
	t.Cleanup(func() { _ = unix.Close(fds[0]) })
	if due := s.due(now.Add(time.Hour)); !due.Equal(now.Add(time.Second)) {
		t.Errorf("the next is due in %v, want 1s", due.Sub(now))
	}
	s.expire(now.Add(time.Second))
	var over []bool
	for _, fd := range fds {
		n, err := unix.Read(peers[fd], make([]byte, 1))
		over = append(over, n == 0 && err == nil)
	}
	if want := []bool{false, true, false}; !slices.Equal(over, want) {
		t.Errorf("ended: %v, want %v", over, want)
	}
	s.expire(now.Add(time.Minute))
	if latest := now.Add(time.Hour); s.len() != 0 || len(s.order) != 0 || !s.due(latest).Equal(latest) {
		t.Errorf("%d are left, %d in order, due %v", s.len(), len(s.order), s.due(latest))
	}
	if _, ok := s.take(fds[2]); ok {
		t.Error("one that is gone is known")
	}
}
