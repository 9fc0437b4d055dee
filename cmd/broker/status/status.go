// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"errors"
	"fmt"
	"time"
)

// Phase is where a node is in its life.
type Phase string

// The phases, in order.
const (
	Starting Phase = "Starting" // reads its store; listens for nothing but probes
	Running  Phase = "Running"
	Stopping Phase = "Stopping" // was told to end, hands over what it leads
)

// Node is the answer of one node.
type Node struct {
	Name          string `json:"name"`
	Cluster       string `json:"cluster"`
	Version       string `json:"version"`       // of Klaxon
	ServerVersion string `json:"serverVersion"` // of nats-server
	Replicas      int    `json:"replicas"`      // nodes of the cluster, as configured
	Phase         Phase  `json:"phase"`

	// Ready is what /readyz says: the leaders of the cluster and of every stream
	// of this node are known, and it has all that they have. Reason says why not.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`

	// MetaLeader is the node that leads the cluster, "" while none is known. It
	// is best stopped last.
	MetaLeader string `json:"metaLeader,omitempty"`

	// Behind are followers that miss something of what this node leads, the
	// first hundred of them; BehindCount is how many there are.
	Behind      []Follower `json:"behind,omitempty"`
	BehindCount int        `json:"behindCount"`

	Clients  int    `json:"clients"`
	Streams  int    `json:"streams"` // that this node has a replica of
	Leading  int    `json:"leading"` // streams that it leads
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`

	// CertificateEnds is when the certificate that is served expires.
	CertificateEnds *time.Time `json:"certificateEnds,omitempty"`
	// SecretsRevision is of the certificates and credentials that are used now.
	SecretsRevision string `json:"secretsRevision"`
	// ReloadError says why changed certificates or credentials are not used.
	ReloadError string `json:"reloadError,omitempty"`
}

// Follower is a replica on another node, as its leader sees it.
type Follower struct {
	Stream  string `json:"stream,omitempty"` // "": the cluster's own log
	Node    string `json:"node"`
	Offline bool   `json:"offline,omitempty"`
	Lag     uint64 `json:"lag,omitempty"` // entries that it misses
}

// CaughtUp reports whether this node misses nothing, and none of its followers
// does.
func (n *Node) CaughtUp() bool {
	return n.Phase == Running && n.Ready && n.BehindCount == 0
}

// Whole returns nil when the nodes are a whole cluster of which any one node
// may be stopped, or else why not. The nodes are the answers of all pods, asked
// for after the last change.
func Whole(replicas int, nodes []Node) error { return whole(replicas, nodes, "") }

// WholeWithout returns nil when all nodes but one are whole and do not need that one:
// it may be stopped whatever its state. The nodes are the answers of all others.
func WholeWithout(absent string, replicas int, nodes []Node) error {
	return whole(replicas, nodes, absent)
}

func whole(replicas int, nodes []Node, absent string) error {
	expected := replicas
	if absent != "" {
		expected--
	}
	if len(nodes) != expected {
		return fmt.Errorf("%d of %d nodes answered", len(nodes), expected)
	}
	if expected == 0 {
		return nil // it was alone: nobody is left to be held up
	}
	seen := map[string]bool{}
	leader := nodes[0].MetaLeader
	for i := range nodes {
		n := &nodes[i]
		switch {
		case seen[n.Name] || n.Name == absent:
			return fmt.Errorf("two nodes are called %s", n.Name)
		case n.Replicas != replicas:
			return fmt.Errorf("node %s was started for %d nodes, not %d", n.Name, n.Replicas, replicas)
		case n.Phase != Running:
			return fmt.Errorf("node %s: %s", n.Name, n.Phase)
		case !n.Ready:
			return fmt.Errorf("node %s is not ready: %s", n.Name, n.Reason)
		case n.MetaLeader != leader:
			return fmt.Errorf("node %s follows %s, node %s follows %s", nodes[0].Name, leader, n.Name, n.MetaLeader)
		}
		if err := n.waitsFor(absent); err != nil {
			return err
		}
		seen[n.Name] = true
	}
	if leader == "" || !seen[leader] {
		return errors.New("no node leads the cluster")
	}
	return nil
}

// waitsFor says which followers of a node are behind, other than the absent one.
func (n *Node) waitsFor(absent string) error {
	others := n.BehindCount
	first := ""
	for _, f := range n.Behind {
		switch {
		case absent != "" && f.Node == absent:
			others--
		case first == "":
			first = f.Node
		}
	}
	switch {
	case others > 0 && first != "":
		return fmt.Errorf("%d followers of node %s are behind, among them %s", others, n.Name, first)
	case others > 0:
		return fmt.Errorf("%d followers of node %s are behind", others, n.Name)
	}
	return nil
}
