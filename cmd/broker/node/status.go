// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

const (
	// maxLag is how many entries a follower may miss and still count as caught
	// up: under load it always misses a few, which it gets in the next
	// milliseconds. One that was away misses more, or was not heard.
	maxLag = 256
	// maxSilence is the longest that a follower may not have been heard. It
	// answers its leader at least once a second.
	maxSilence = 5 * time.Second
	// maxBehind is how many followers are listed in a status.
	maxBehind = 100
)

// Status says what this node is, has and leads.
func (n *Node) Status() status.Node {
	c, secrets := &n.config, n.secrets.Load()
	st := status.Node{
		Name: c.Name, Cluster: c.Cluster, Replicas: c.Replicas,
		Version: c.Version, ServerVersion: server.VERSION,
		Phase: n.phase(), SecretsRevision: secrets.revision, CertificateEnds: secrets.certificateEnds(),
	}
	if e := n.reloadError.Load(); e != nil {
		st.ReloadError = *e
	}
	if err := n.ready(); err != nil {
		st.Reason = err.Error()
	} else {
		st.Ready = true
	}
	if st.Phase == status.Starting {
		return st
	}
	st.Clients = n.server.NumClients()
	js, err := n.jetStream()
	if err != nil {
		if st.Ready {
			st.Ready, st.Reason = false, err.Error()
		}
		return st
	}
	st.Streams, st.Leading = js.Streams, n.leading(js)
	st.Messages, st.Bytes = js.Messages, js.Bytes
	st.MetaLeader = n.metaLeader(js)
	followers := n.followers(js)
	for i := range followers {
		if f := &followers[i]; f.behind() {
			if st.BehindCount++; len(st.Behind) < maxBehind {
				st.Behind = append(st.Behind, f.Follower)
			}
		}
	}
	return st
}

func (n *Node) phase() status.Phase {
	switch {
	case n.stopping.Load():
		return status.Stopping
	case n.listening():
		return status.Running
	}
	return status.Starting
}

// jetStream asks the server for its streams.
func (n *Node) jetStream() (*server.JSInfo, error) {
	js, err := n.server.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return nil, fmt.Errorf("ask JetStream for its state: %w", err)
	}
	return js, nil
}

// metaLeader is the node that leads the cluster, or "".
func (n *Node) metaLeader(js *server.JSInfo) string {
	switch {
	case n.config.Replicas == 1:
		return n.config.Name
	case js.Meta == nil:
		return ""
	}
	return js.Meta.Leader
}

// follower is a replica of something that this node leads.
type follower struct {
	status.Follower
	silence time.Duration
	pending bool // not yet, or no longer, a member
}

// behind reports whether it would slow the others down to need it.
func (f *follower) behind() bool {
	return f.Offline || f.pending || f.Lag > maxLag || f.silence > maxSilence
}

// followers lists all replicas of what this node leads. Of what it does not
// lead it knows nothing reliable; the leader's status has it.
func (n *Node) followers(js *server.JSInfo) []follower {
	var all []follower
	add := func(stream string, replicas []*server.PeerInfo) {
		for _, p := range replicas {
			all = append(all, follower{
				Follower: status.Follower{Stream: stream, Node: p.Name, Offline: p.Offline, Lag: p.Lag},
				silence:  p.Active, pending: p.Pending,
			})
		}
	}
	if js.Meta != nil && js.Meta.Leader == n.config.Name {
		add("", js.Meta.Replicas)
		for range n.config.Replicas - 1 - len(js.Meta.Replicas) {
			all = append(all, follower{Follower: status.Follower{Node: "a node never seen", Offline: true}})
		}
	}
	for s := range streams(js) {
		if s.Cluster != nil && s.Cluster.Leader == n.config.Name {
			add(s.Name, s.Cluster.Replicas)
		}
	}
	return all
}

// leading counts the streams that this node leads.
func (n *Node) leading(js *server.JSInfo) int {
	var count int
	for s := range streams(js) {
		if s.Cluster == nil || s.Cluster.Leader == n.config.Name {
			count++
		}
	}
	return count
}

// streams are the replicas of this node.
func streams(js *server.JSInfo) iter.Seq[*server.StreamDetail] {
	return func(yield func(*server.StreamDetail) bool) {
		for _, account := range js.AccountDetails {
			for i := range account.Streams {
				if !yield(&account.Streams[i]) {
					return
				}
			}
		}
	}
}

// certificateEnds is when the served certificate expires, or nil without TLS.
func (s *secrets) certificateEnds() *time.Time {
	if s.tls == nil {
		return nil
	}
	return &s.tls.ends
}
