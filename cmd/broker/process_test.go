// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klaxon-dev/klaxon/cmd/broker/node"
	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

// patience is how long a test waits for something that must come. It is far
// more than is needed: the race detector on a loaded machine is slow.
const patience = 90 * time.Second

// host is where processes listen. On 127.0.0.1 somebody's outgoing connection may
// take the port that was found for a process before the process does.
const host = "127.10.20.30"

const (
	clientPassword = "client-password-of-tests"
	routePassword  = "route-password-of-tests"
	nextPassword   = "the-next-password-of-tests"
)

// log is what a process writes, while it writes it.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// broker is one node: where it is, and its process while it runs.
type broker struct {
	t                       *testing.T
	name                    string
	clients, routes, health string
	args                    []string
	store                   string // "": none
	tmp                     string // where it keeps what it keeps without a store
	log                     *log
	cmd                     *exec.Cmd
	done                    chan struct{} // closed when the process has ended
}

// secretsDir has credentials of clients and routes.
func secretsDir(t *testing.T) string {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "clients"), "pusher-1:"+clientPassword+"\n")
	write(t, filepath.Join(dir, "routes"), "node-1:"+routePassword+"\n")
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	// By a rename, as the kubelet does: never half a file.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// solo is a node that runs alone; it is not started.
func solo(t *testing.T, args ...string) *broker {
	b := &broker{t: t, name: "solo", clients: freeAddr(t), health: freeAddr(t), tmp: t.TempDir(), log: &log{}}
	b.args = append([]string{"--name=solo", "--clients-addr=" + b.clients, "--health-addr=" + b.health}, args...)
	return b
}

// trio are three nodes of one cluster, each with a store; they are not started.
func trio(t *testing.T, args ...string) []*broker {
	var all []*broker
	var peers []string
	for _, name := range []string{"a", "b", "c"} {
		b := &broker{t: t, name: name, clients: freeAddr(t), routes: freeAddr(t), health: freeAddr(t), store: t.TempDir(), tmp: t.TempDir(), log: &log{}}
		peers = append(peers, name+"="+b.routes)
		all = append(all, b)
	}
	for _, b := range all {
		b.args = append([]string{
			"--name=" + b.name, "--cluster=test", "--replicas=3", "--peers=" + strings.Join(peers, ","),
			"--clients-addr=" + b.clients, "--routes-addr=" + b.routes, "--health-addr=" + b.health,
			"--store=" + b.store, "--max-storage=1Gi",
		}, args...)
	}
	return all
}

// start runs the process.
func (b *broker) start() {
	b.t.Helper()
	b.startAs(exec.Command(os.Args[0], b.args...))
}

// startAs runs a command that is, or becomes, the process.
func (b *broker) startAs(cmd *exec.Cmd) {
	b.t.Helper()
	b.cmd = cmd
	b.cmd.Env = append(os.Environ(), asBroker+"=1", "TMPDIR="+b.tmp)
	b.cmd.Stdout, b.cmd.Stderr = b.log, b.log
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	done := make(chan struct{})
	b.done = done
	go func() {
		defer close(done)
		_ = cmd.Wait() // the state is in cmd.ProcessState
	}()
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		for _, secret := range []string{clientPassword, routePassword, nextPassword} {
			if strings.Contains(b.log.String(), secret) {
				b.t.Errorf("node %s has logged a password", b.name)
			}
		}
		if b.t.Failed() && cmd == b.cmd {
			b.t.Logf("node %s:\n%s", b.name, b.log)
		}
	})
}

// kill ends the process as a crash would.
func (b *broker) kill() {
	_ = b.cmd.Process.Kill()
	<-b.done
}

// wipe loses the volume.
func (b *broker) wipe() {
	b.t.Helper()
	if err := os.RemoveAll(filepath.Join(b.store, "jetstream")); err != nil {
		b.t.Fatal(err)
	}
}

// term asks the process to end, and holds it to the time that it promises.
func (b *broker) term() time.Duration {
	b.t.Helper()
	began := time.Now()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	select {
	case <-b.done:
	case <-time.After(node.StopTimeout + 5*time.Second):
		b.t.Fatalf("node %s has not ended", b.name)
	}
	if code := b.cmd.ProcessState.ExitCode(); code != 0 {
		b.t.Errorf("node %s ended with %d", b.name, code)
	}
	return time.Since(began)
}

// probe returns nil for a 200.
func (b *broker) probe(path string) error {
	_, err := b.get(path)
	return err
}

func (b *broker) get(path string) ([]byte, error) {
	select {
	case <-b.done:
		return nil, fmt.Errorf("node %s is not running: %s", b.name, b.cmd.ProcessState)
	default:
	}
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + b.health + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %s", b.name, path, resp.StatusCode, strings.TrimSpace(string(body)))
	}
	return body, err
}

func (b *broker) status() (status.Node, error) {
	var st status.Node
	body, err := b.get("/status")
	if err == nil {
		err = json.Unmarshal(body, &st)
	}
	return st, err
}

func (b *broker) waitReady() {
	b.t.Helper()
	eventually(b.t, "node "+b.name+" is ready", func() error { return b.probe("/readyz") })
}

// whole asks all nodes, as a rolling update does before each step.
func whole(all []*broker) (leader string, err error) {
	var nodes []status.Node
	for _, b := range all {
		st, err := b.status()
		if err != nil {
			return "", err
		}
		nodes = append(nodes, st)
	}
	if err := status.Whole(len(all), nodes); err != nil {
		return "", err
	}
	return nodes[0].MetaLeader, nil
}

func waitWhole(t *testing.T, all []*broker) (leader string) {
	t.Helper()
	eventually(t, "the cluster is whole", func() (err error) {
		leader, err = whole(all)
		return err
	})
	return leader
}

// eventually asks until the answer is nil.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s: %v", patience, what, err)
		}
	}
}

// connect is a client of the given nodes that comes back whenever it is cut off.
func connect(t *testing.T, all []*broker, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	var urls []string
	for _, b := range all {
		urls = append(urls, "nats://"+b.clients)
	}
	nc, err := nats.Connect(strings.Join(urls, ","), append([]nats.Option{
		nats.UserInfoHandler(func() (string, string) { return "pusher-1", clientPassword }), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond),
		nats.RetryOnFailedConnect(false), nats.Timeout(10 * time.Second),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// logged returns nil once the text is in the node's log.
func (b *broker) logged(text string) error {
	if !strings.Contains(b.log.String(), text) {
		return fmt.Errorf("%q has not been logged", text)
	}
	return nil
}

// freeAddr is an address on loopback that nothing listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
