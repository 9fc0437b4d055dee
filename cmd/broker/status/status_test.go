// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"strings"
	"testing"
)

func TestWhole(t *testing.T) {
	three := func(change func(nodes []Node)) []Node {
		nodes := make([]Node, 3)
		for i, name := range []string{"a", "b", "c"} {
			nodes[i] = Node{Name: name, Replicas: 3, Phase: Running, Ready: true, MetaLeader: "b"}
		}
		change(nodes)
		return nodes
	}
	for name, c := range map[string]struct {
		nodes []Node
		want  string // "": whole
	}{
		"whole":          {three(func([]Node) {}), ""},
		"one missing":    {three(func([]Node) {})[:2], "2 of 3 nodes answered"},
		"none":           {nil, "0 of 3"},
		"same twice":     {three(func(n []Node) { n[2].Name = "a" }), "two nodes are called a"},
		"other size":     {three(func(n []Node) { n[1].Replicas = 1 }), "node b was started for 1 nodes"},
		"stopping":       {three(func(n []Node) { n[0].Phase = Stopping }), "node a: Stopping"},
		"not ready":      {three(func(n []Node) { n[2].Ready, n[2].Reason = false, "no leader" }), "node c is not ready: no leader"},
		"behind":         {three(func(n []Node) { n[1].BehindCount, n[1].Behind = 1, []Follower{{Node: "c"}} }), "1 followers of node b are behind, among them c"},
		"behind, unsaid": {three(func(n []Node) { n[1].BehindCount = 1 }), "1 followers"},
		"split":          {three(func(n []Node) { n[2].MetaLeader = "c" }), "node a follows b, node c follows c"},
		"leaderless": {three(func(n []Node) {
			for i := range n {
				n[i].MetaLeader = ""
			}
		}), "no node leads"},
		"led by a stranger": {three(func(n []Node) {
			for i := range n {
				n[i].MetaLeader = "d"
			}
		}), "no node leads"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Whole(3, c.nodes)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestWholeWithout: two nodes that need the third in nothing, whatever is wrong with it.
func TestWholeWithout(t *testing.T) {
	for name, c := range map[string]struct {
		change func(a, b *Node)
		want   string // "": whole
	}{
		"whole":                {func(*Node, *Node) {}, ""},
		"it is behind":         {func(a, _ *Node) { a.BehindCount, a.Behind = 2, []Follower{{Node: "c"}, {Stream: "s", Node: "c"}} }, ""},
		"another is behind":    {func(a, _ *Node) { a.BehindCount, a.Behind = 2, []Follower{{Node: "c"}, {Node: "b"}} }, "1 followers of node a are behind, among them b"},
		"who knows who":        {func(a, _ *Node) { a.BehindCount, a.Behind = 2, []Follower{{Node: "c"}} }, "1 followers of node a are behind"},
		"it leads":             {func(a, b *Node) { a.MetaLeader, b.MetaLeader = "c", "c" }, "no node leads"},
		"nobody leads":         {func(a, b *Node) { a.MetaLeader, b.MetaLeader = "", "" }, "no node leads"},
		"another is not ready": {func(_, b *Node) { b.Ready, b.Reason = false, "no leader" }, "node b is not ready: no leader"},
		"it is among them":     {func(_, b *Node) { b.Name = "c" }, "two nodes are called c"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := []Node{{Name: "a"}, {Name: "b"}}
			for i := range nodes {
				nodes[i].Replicas, nodes[i].Phase, nodes[i].Ready, nodes[i].MetaLeader = 3, Running, true, "a"
			}
			c.change(&nodes[0], &nodes[1])
			err := WholeWithout("c", 3, nodes)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err := WholeWithout("c", 3, nodes[:1]); err == nil {
				t.Error("one node of three is whole")
			}
		})
	}
	if err := WholeWithout("a", 1, nil); err != nil {
		t.Errorf("a node that is alone: %v", err)
	}
}

func TestCaughtUp(t *testing.T) {
	ok := Node{Phase: Running, Ready: true}
	for name, change := range map[string]func(*Node){
		"stopping":  func(n *Node) { n.Phase = Stopping },
		"not ready": func(n *Node) { n.Ready = false },
		"behind":    func(n *Node) { n.BehindCount = 1 },
	} {
		n := ok
		if change(&n); n.CaughtUp() {
			t.Errorf("%s, and yet caught up", name)
		}
	}
	if !ok.CaughtUp() {
		t.Error("not caught up, though nothing is missing")
	}
}
