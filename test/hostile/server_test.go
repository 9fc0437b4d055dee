// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// Credentials of the server under attack.
const (
	publisherToken = "publisher-0123456789abcdef0123456789"
	adminToken     = "admin-0123456789abcdef0123456789abcd"
)

// Times that the server is set to.
const (
	heartbeat        = 5 * time.Second
	heartbeatTimeout = 10 * time.Second
)

// channel is a Channel that everybody may listen to.
func channel(name string) settings.Channel {
	return settings.Channel{
		Name: name, Clients: settings.Clients{Anonymous: true},
		Publishers:  settings.Publishers{TokenSHA256: []string{digest(publisherToken)}},
		Limits:      settings.Limits{EventBytes: 64 << 10, Connections: 10000, EmitRate: 100},
		SlowClients: settings.SlowClients{BufferBytes: 256 << 10, Policy: settings.Disconnect},
		History:     settings.History{Size: 1000, TTL: settings.Duration(time.Minute), Bytes: 4 << 20},
		SocketIO:    settings.SocketIO{Namespace: "/" + name},
		Compression: &settings.Compression{MinBytes: 4096},
	}
}

func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// document has the Channel that is listened to and those that attacks need. Names are
// in order.
func document(beat, timeout time.Duration) *settings.Settings {
	guarded := channel("guarded")
	guarded.Clients = settings.Clients{JWT: []settings.JWTIssuer{
		{Issuer: "https://shared", Audiences: []string{"web"}, HMACKey: []byte(sharedKey)},
		{Issuer: "https://public", Audiences: []string{"web"}, JWKS: publicKeys()},
	}}
	recovery := channel("recovery")
	recovery.SocketIO.Recovery = true
	talks := channel("talks")
	talks.Clients.Rules = map[string]string{"publish": `room in rooms && event.startsWith("talk.")`}
	tiny := channel("tiny")
	tiny.Limits.Connections = 5
	s := &settings.Settings{
		Pusher: settings.Pusher{
			Namespace: "shop", Name: "edge",
			Heartbeat: settings.Heartbeat{Interval: settings.Duration(beat), Timeout: settings.Duration(timeout)},
			Drain:     settings.Drain{MaxPeriod: settings.Duration(time.Minute)},
			Admin:     settings.Admin{TokenSHA256: digest(adminToken)},
		},
		Channels: []settings.Channel{guarded, recovery, talks, channel("ticks"), tiny},
	}
	s.Seal()
	return s
}

// server is a push server that runs as a process of its own.
type server struct {
	clients, events, admin string
	pid                    int
	asks                   *http.Client // a connection for each question, which ends with it

	mu  sync.Mutex
	log bytes.Buffer
}

func start(t *testing.T, s *settings.Settings, env ...string) *server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.json")
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	const anywhere = "127.0.0.1:0"
	cmd := exec.Command(program, "--settings", path, "--clients-addr", anywhere, "--events-addr", anywhere, "--admin-addr", anywhere)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	srv := &server{pid: cmd.Process.Pid, asks: &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}}
	ready, read := make(chan struct{}), make(chan struct{})
	go srv.follow(out, ready, read)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
		srv.mu.Lock()
		defer srv.mu.Unlock()
		if log := srv.log.Bytes(); t.Failed() {
			t.Logf("the server's log, %d bytes, ends with\n%s", len(log), log[max(0, len(log)-8<<10):])
		}
	})
	select {
	case <-ready:
	case <-read:
		t.Fatal("the server has not started")
	case <-time.After(patience):
		t.Fatal("the server does not start")
	}
	return srv
}

// follow reads the log, and from it where the server listens.
func (s *server) follow(out io.Reader, ready, read chan<- struct{}) {
	defer close(read)
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadBytes('\n')
		s.mu.Lock()
		s.log.Write(line)
		s.mu.Unlock()
		var says struct {
			Msg                    string
			Clients, Events, Admin net.TCPAddr
		}
		if s.clients == "" && json.Unmarshal(line, &says) == nil && says.Msg == "ready" {
			s.clients, s.events, s.admin = says.Clients.String(), says.Events.String(), says.Admin.String()
			close(ready)
		}
		if err != nil {
			return
		}
	}
}

// logged is how many bytes the server has logged.
func (s *server) logged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Len()
}

// footprint is what a server holds.
type footprint struct {
	descriptors, goroutines, connections, sessions int
}

func (s *server) footprint() (f footprint, err error) {
	var st settings.Status
	if err := s.ask("/status", func(r io.Reader) error { return json.NewDecoder(r).Decode(&st) }); err != nil {
		return f, err
	}
	f.connections = int(st.Connections)
	for _, ch := range st.Channels {
		f.sessions += int(ch.Connections)
	}
	if err := s.ask("/metrics", func(r io.Reader) error {
		n, err := metric(r, "go_goroutines")
		f.goroutines = int(n)
		return err
	}); err != nil {
		return f, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid))
	f.descriptors = len(open)
	return f, err
}

func (s *server) ask(path string, read func(io.Reader) error) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.admin+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := s.asks.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is answered %s", path, resp.Status)
	}
	return read(resp.Body)
}

// metric reads one value of Prometheus' text format.
func metric(r io.Reader, name string) (float64, error) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

// closes is how many connections were closed with a code.
func (s *server) closes(t *testing.T, code int) int {
	t.Helper()
	return int(s.counted(t, fmt.Sprintf("klaxon_closes_total{code=\"%d\"}", code)))
}

// resident is how many MiB of memory the process has.
func (s *server) resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}
