// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// patience is how long anything in a test may take.
const patience = 30 * time.Second

// natsOptions are those of one node, on a port that the system chooses.
func natsOptions(dir string) *server.Options {
	return &server.Options{
		ServerName: filepath.Base(dir), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir,
		NoSigs: true, NoLog: true, JetStreamMaxMemory: 512 << 20, JetStreamMaxStore: 1 << 30,
	}
}

// runNATS starts a node and ends it with the test. Started again with the same
// options it has the same address.
func runNATS(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopNATS(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	o.Port = s.Addr().(*net.TCPAddr).Port
	return s
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func oneNode(t testing.TB) *server.Server {
	t.Helper()
	return runNATS(t, natsOptions(t.TempDir()))
}

// cluster is three nodes.
type cluster struct {
	options []*server.Options
	nodes   []*server.Server
}

func threeNodes(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{}
	var ports []int
	for range 3 { // free ports, as all nodes must know all others
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		l.Close()
	}
	var routes []string
	for _, p := range ports {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p))
	}
	dir := t.TempDir()
	for i, p := range ports {
		o := natsOptions(filepath.Join(dir, fmt.Sprint("node", i)))
		o.Cluster = server.ClusterOpts{Name: "klaxon", Host: "127.0.0.1", Port: p}
		o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		c.options, c.nodes = append(c.options, o), append(c.nodes, runNATS(t, o))
	}
	c.waitForLeader(t)
	return c
}

// waitForLeader waits until the nodes that run have a leader.
func (c *cluster) waitForLeader(t testing.TB) {
	t.Helper()
	eventually(t, "the cluster has a leader", func() bool {
		for _, s := range c.nodes {
			if s.Running() && s.JetStreamIsLeader() {
				return true
			}
		}
		return false
	})
}

func (c *cluster) url() string {
	var urls []string
	for _, s := range c.nodes {
		urls = append(urls, s.ClientURL())
	}
	return strings.Join(urls, ",")
}

// restart ends a node and starts it again, with what it had stored.
func (c *cluster) restart(t testing.TB, i int) {
	t.Helper()
	stopNATS(c.nodes[i])
	c.nodes[i] = runNATS(t, c.options[i])
}

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes that %s", what)
		}
	}
}
