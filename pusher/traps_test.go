// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// comeIn connects n clients on each of the ways that a handshake can take, also
// on connections that were held because they were silent at first.
func comeIn(t *testing.T, srv *Server, n int) (all []*client) {
	t.Helper()
	acceptAtOnce(t, srv)
	ways := maps.Clone(paths)
	unusual := strings.NewReplacer("/ws/orders", "/ws/%6frders") // for net/http
	for name, change := range map[string]*strings.Replacer{"silent first": strings.NewReplacer(), "silent, then unusual": unusual} {
		ways[name] = func(t *testing.T, srv *Server, request string) (net.Conn, *bufio.Reader) {
			c := dial(t, srv)
			connect(t, srv, "orders").next("welcome") // who comes behind is served, so this one is held
			send(t, c, change.Replace(request))
			return c, bufio.NewReader(c)
		}
	}
	for name, path := range ways {
		for range n {
			conn, r := path(t, srv, handshake())
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%s: %v, error %v", name, resp, err)
			}
			c := &client{t: t, conn: conn, r: r}
			c.next("welcome")
			all = append(all, c)
		}
	}
	return all
}

// acceptAtOnce lets the clients' listener have connections before they speak.
func acceptAtOnce(t *testing.T, srv *Server) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		fd, err := strconv.Atoi(filepath.Base(link))
		if err != nil {
			t.Fatal(err)
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
			continue // something else, or closed meanwhile
		}
		sa, err := unix.Getsockname(fd)
		if in4, ok := sa.(*unix.SockaddrInet4); err == nil && ok && in4.Port == srv.ClientsAddr().(*net.TCPAddr).Port {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 0); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the clients' listener is not among the descriptors")
}

// TestCollectionsCloseNoSocket: a net.Conn or os.File that a socket was taken out
// of must not close it when it is collected.
func TestCollectionsCloseNoSocket(t *testing.T) {
	srv := serve(t, open("orders"))
	all := comeIn(t, srv, 20)
	for range 5 {
		collected := make(chan struct{})
		runtime.AddCleanup(new([64]byte), func(ch chan struct{}) { close(ch) }, collected)
		runtime.GC()
		<-collected
		for _, c := range all {
			c.say(`{"type":"ping"}`)
			c.next("pong")
		}
	}
}

// TestASocketHasOneDescriptorAndOnePoller: a descriptor that is duplicated and
// kept, or that Go's poller still watches, shows in /proc.
func TestASocketHasOneDescriptorAndOnePoller(t *testing.T) {
	srv := serve(t, open("orders"))
	all := comeIn(t, srv, 10)
	var descriptors, pollers map[string]int // by the socket's inode
	eventually(t, "sockets are open or watched more than once", func() (int, bool) {
		descriptors, pollers = sockets(t)
		twice := 0
		for inode, n := range descriptors {
			if n > 1 || pollers[inode] > 1 {
				twice++
			}
		}
		return twice, twice == 0
	})
	watched := 0
	for inode := range descriptors {
		watched += pollers[inode]
	}
	if both := 2 * len(all); watched < both { // the clients are in this process too
		t.Errorf("%d sockets are watched, of at least %d", watched, both)
	}
}

// sockets counts this process's descriptors, and watches in epolls, of each socket.
func sockets(t *testing.T) (descriptors, pollers map[string]int) {
	t.Helper()
	descriptors, pollers = map[string]int{}, map[string]int{}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	watch := regexp.MustCompile(`(?m)^tfd:.* ino:([0-9a-f]+) `)
	for _, link := range links {
		target, _ := os.Readlink(link) // it may have been closed meanwhile
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			descriptors[strings.TrimSuffix(inode, "]")]++
		}
		if target != "anon_inode:[eventpoll]" {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + filepath.Base(link))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range watch.FindAllSubmatch(info, -1) {
			inode, err := strconv.ParseUint(string(m[1]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			pollers[strconv.FormatUint(inode, 10)]++
		}
	}
	return descriptors, pollers
}

// TestEarlyBytesOfUnusualHandshakes: net/http gets a request that the fast path
// leaves alone, and more behind it than its own buffer takes.
func TestEarlyBytesOfUnusualHandshakes(t *testing.T) {
	srv := serve(t, open("orders"))
	const pings = 1000
	early := strings.Repeat(string(ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"type":"ping"}`))))), pings)
	conn, r := paths["at once"](t, srv, strings.Replace(handshake(), "/ws/orders", "/ws/%6frders", 1)+early)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, error %v", resp, err)
	}
	c := &client{t: t, conn: conn, r: r}
	c.next("welcome")
	for range pings {
		c.next("pong")
	}
}

// TestAKeyThatIsReplacedTakesItsTokensAlong, although they were seen before.
func TestAKeyThatIsReplacedTakesItsTokensAlong(t *testing.T) {
	srv := serve(t, guarded("orders"))
	path := "orders?token=" + signed(t, "ann", time.Hour)
	stays := connect(t, srv, path)
	stays.next("welcome")
	connect(t, srv, path).next("welcome")
	next := guarded("orders")
	next.Clients.JWT[0].HMACKey = []byte("another key, another key, another")
	if err := srv.Reload(document(next)); err != nil {
		t.Fatal(err)
	}
	connect(t, srv, path).closed(wire.CloseUnauthorized)
	stays.say(`{"type":"auth","token":"` + strings.TrimPrefix(path, "orders?token=") + `"}`)
	if m := stays.next("error"); m["code"] != "token" {
		t.Errorf("got %v", m)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	srv := serve(t, open("orders"))
	c := connect(t, srv, "orders")
	c.next("welcome")
	c.say(`{"type":"ping"}` + strings.Repeat(" ", plain.MaxMessage-15))
	c.next("pong")
	c.say(`{"type":"ping"}` + strings.Repeat(" ", plain.MaxMessage-14))
	c.closed(wire.CloseTooBig)

	// In fragments, of which each is small.
	c = connect(t, srv, "orders")
	c.next("welcome")
	for i := range 5 {
		f := ws.NewFrame(ws.OpContinuation, false, make([]byte, plain.MaxMessage/4))
		if i == 0 {
			f.Header.OpCode = ws.OpText
		}
		if err := ws.WriteFrame(c.conn, ws.MaskFrame(f)); err != nil {
			t.Fatal(err)
		}
	}
	c.closed(wire.CloseTooBig)
}

// TestARefusedUpgradeIsClosed does not leave closing to the collector.
func TestARefusedUpgradeIsClosed(t *testing.T) {
	srv := serve(t, open("orders"))
	for name, path := range paths {
		_, r := path(t, srv, strings.Replace(handshake(), "Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 1))
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusUpgradeRequired {
			t.Fatalf("%s: %v, error %v", name, resp, err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatalf("%s: the connection stays open: %v", name, err)
		}
	}
}
