// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

// Node is a node of the broker.
type Node struct {
	process
	clients, routes, health string
}

// nodes makes the nodes of a broker; they are not started.
func (m *Machine) nodes() error {
	credentials := filepath.Join(m.config.Dir, "credentials")
	for file, line := range map[string]string{"clients": natsUser + ":" + m.natsPassword, "routes": "node:" + secret()} {
		if err := write(filepath.Join(credentials, file), []byte(line+"\n")); err != nil {
			return err
		}
	}
	var peers []string
	for i := range m.config.Nodes {
		n := &Node{process: process{name: fmt.Sprintf("broker-%d", i)}}
		n.log = m.path("logs", n.name)
		n.env = []string{"TMPDIR=" + m.config.Dir}
		host := loopback(10 + i)
		if err := freePorts(host, &n.clients, &n.routes, &n.health); err != nil {
			return err
		}
		if m.apart != nil {
			if err := freePorts(m.apart.prefix+brokerOurs, &n.clients); err != nil {
				return err
			}
		}
		peers = append(peers, n.name+"="+n.routes)
		m.Nodes = append(m.Nodes, n)
	}
	for _, n := range m.Nodes {
		n.args = []string{
			filepath.Join(m.config.Bin, "broker"), "--name=" + n.name, "--cluster=chaos", fmt.Sprintf("--replicas=%d", m.config.Nodes),
			"--clients-addr=" + n.clients, "--routes-addr=" + n.routes, "--health-addr=" + n.health, "--credentials=" + credentials,
		}
		if !m.config.Memory {
			n.args = append(n.args, "--store="+m.path("store", n.name), "--max-storage=2Gi")
		}
		if m.config.Nodes > 1 {
			n.args = append(n.args, "--peers="+strings.Join(peers, ","))
		}
	}
	return nil
}

// natsURL is where pushers reach the broker.
func (m *Machine) natsURL() string {
	var urls []string
	for _, n := range m.Nodes {
		urls = append(urls, "nats://"+n.clients)
	}
	return strings.Join(urls, ",")
}

// Start runs the node. WaitWhole waits until it is ready.
func (n *Node) Start() error { return n.start() }

// Name is the node's.
func (n *Node) Name() string { return n.name }

// Status is what the node says of itself.
func (n *Node) Status(ctx context.Context) (st status.Node, err error) {
	body, err := get(ctx, "http://"+n.health+"/status")
	if err == nil {
		err = json.Unmarshal(body, &st)
	}
	return st, err
}

// WaitWhole waits until any one node may be stopped, and returns the one that
// leads the cluster, which is best stopped last.
func (m *Machine) WaitWhole(ctx context.Context) (leader string, err error) {
	return leader, until(ctx, "the broker is whole", func() error {
		var all []status.Node
		for _, n := range m.Nodes {
			st, err := n.Status(ctx)
			if err != nil {
				return err
			}
			all = append(all, st)
		}
		leader = all[0].MetaLeader
		return status.Whole(len(m.Nodes), all)
	})
}

// Leader is a node that leads a stream of events, so that its end is felt.
func (m *Machine) Leader(ctx context.Context) (*Node, error) {
	for _, n := range m.Nodes {
		st, err := n.Status(ctx)
		if err != nil {
			return nil, err
		}
		if st.Leading > 0 {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node of the broker leads a stream")
}
