// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/cmd/broker/status"
	"github.com/klaxon-dev/klaxon/controllers/render"
)

// A broker that is not whole, or whose nodes are being replaced, is looked at again
// after brokerPace at first, and later after a part of the time for which nothing has
// changed: nodes that give no answer in time keep a worker waiting.
const (
	brokerPace     = time.Second
	brokerPatience = 4
)

// brokers follows managed brokers, and replaces their nodes one at a time.
type brokers struct {
	// Static.
	client client.Client
	reader StatusReader
	now    func() time.Time

	mu sync.Mutex
	// Guarded by mu.
	deleted map[types.NamespacedName]types.UID // the pod of each broker that was deleted last
	stands  map[types.NamespacedName]standstill
}

// standstill is what was last found of a broker that is not as it should be.
type standstill struct {
	found string
	since time.Time
}

// brokerView is a managed broker as it was seen in a round.
type brokerView struct {
	nodes    int32
	problem  error         // why it is not whole; nil: it is
	unknown  bool          // the problem is only that ready nodes cannot be asked
	outdated []string      // pods that are not yet as they should be
	pending  bool          // the StatefulSet has not yet taken note of what it should be
	wait     time.Duration // until it is looked at again, if it is not as it should be
}

// nodeView is a node as it was seen in a round.
type nodeView struct {
	podView
	pod    *corev1.Pod
	answer *status.Node
	err    error // why there is no answer
}

func newBrokers(c client.Client, reader StatusReader) *brokers {
	return &brokers{client: c, reader: reader, now: time.Now, deleted: map[types.NamespacedName]types.UID{}, stands: map[types.NamespacedName]standstill{}}
}

// observe asks all nodes of the round's managed broker and replaces one if it is time.
func (b *brokers) observe(ctx context.Context, in *gathered, round *round) error {
	if round.managed == nil {
		return nil
	}
	view := &brokerView{nodes: render.BrokerNodes(round.managed.spec)}
	round.broker = view
	nodes := b.ask(ctx, in)
	view.judge(nodes)
	set := in.brokerSet
	if set == nil || set.Status.UpdateRevision == "" || set.Status.ObservedGeneration < max(set.Generation, round.brokerGeneration) {
		view.pending = true
	}
	var outdated []nodeView
	ending := false
	for _, n := range nodes {
		switch {
		case !n.pod.DeletionTimestamp.IsZero():
			ending = true
		case !view.pending && n.pod.Labels[appsv1.ControllerRevisionHashLabelKey] != set.Status.UpdateRevision:
			outdated = append(outdated, n)
			view.outdated = append(view.outdated, n.name)
		}
	}
	view.wait = b.patience(client.ObjectKeyFromObject(in.pusher), view)
	if ending || len(outdated) == 0 || !round.changeable() || round.failure != nil || b.unseen(in) {
		return nil
	}
	pod := stuck(outdated)
	if pod == nil && view.problem == nil { // a whole cluster can do without any one node
		pod = leaderLast(outdated, nodes[0].answer.MetaLeader)
	}
	if pod == nil {
		pod = needless(outdated, nodes, int(view.nodes))
	}
	if pod == nil {
		return nil
	}
	return b.replace(ctx, in.pusher, pod)
}

// patience is how long to wait before the next look.
func (b *brokers) patience(pusher types.NamespacedName, v *brokerView) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.problem == nil && !v.replacing() {
		delete(b.stands, pusher)
		return 0
	}
	found, now := fmt.Sprint(v.problem, v.pending, v.outdated), b.now()
	if b.stands[pusher].found != found {
		b.stands[pusher] = standstill{found, now}
	}
	return max(brokerPace, now.Sub(b.stands[pusher].since)/brokerPatience)
}

// ask asks all nodes.
func (b *brokers) ask(ctx context.Context, in *gathered) []nodeView {
	nodes := make([]nodeView, len(in.brokerPods))
	var asking sync.WaitGroup
	for i := range nodes {
		n, pod := &nodes[i], &in.brokerPods[i]
		n.pod, n.podView = pod, viewOf(pod)
		if n.err = unasked(n); n.err != nil {
			continue
		}
		asking.Go(func() {
			answer, err := b.reader.NodeStatus(ctx, pod.Status.PodIP, in.adminToken)
			if err != nil {
				n.err = fmt.Errorf("pod %s cannot be asked: %w", pod.Name, err)
				return
			}
			n.answer = answer
		})
	}
	asking.Wait()
	return nodes
}

// judge says whether the broker is whole. That a node which is ready cannot be asked
// matters only if nothing is known to be wrong.
func (v *brokerView) judge(nodes []nodeView) {
	var silent error
	for i := range nodes {
		n := &nodes[i]
		switch {
		case n.err == nil && !n.answer.Ready:
			v.problem = cmp.Or(v.problem, fmt.Errorf("node %s is not ready: %s", n.answer.Name, n.answer.Reason))
		case n.err == nil:
		case n.ready && n.pod.DeletionTimestamp.IsZero():
			silent = cmp.Or(silent, n.err)
		default:
			v.problem = cmp.Or(v.problem, n.err)
		}
	}
	switch {
	case v.problem != nil:
	case silent != nil && len(nodes) == int(v.nodes):
		v.problem, v.unknown = silent, true
	default:
		v.problem = status.Whole(int(v.nodes), answers(nodes, nil))
	}
}

// answers of nodes, leaving out one pod's.
func answers(nodes []nodeView, except *corev1.Pod) []status.Node {
	var out []status.Node
	for i := range nodes {
		if n := &nodes[i]; n.answer != nil && n.pod != except {
			out = append(out, *n.answer)
		}
	}
	return out
}

// unasked is why a node need not be asked.
func unasked(n *nodeView) error {
	switch {
	case !n.pod.DeletionTimestamp.IsZero():
		return fmt.Errorf("pod %s is ending", n.name)
	case n.reason != "":
		return fmt.Errorf("pod %s: %s", n.name, n.reason)
	case n.pod.Status.PodIP == "":
		return fmt.Errorf("pod %s has not started yet", n.name)
	}
	return nil
}

// stuck is a pod that cannot even start, so that nothing is lost with it; nil: none.
func stuck(outdated []nodeView) *corev1.Pod {
	for _, n := range outdated {
		if !n.ready && n.reason != "" {
			return n.pod
		}
	}
	return nil
}

// leaderLast is a pod that does not lead the cluster, if there is one.
func leaderLast(outdated []nodeView, leader string) *corev1.Pod {
	for _, n := range outdated {
		if n.name != leader {
			return n.pod
		}
	}
	return outdated[0].pod
}

// needless is a pod that is not ready, maybe never will be as it is, and that all
// others do without; nil: none.
func needless(outdated, nodes []nodeView, replicas int) *corev1.Pod {
	for _, n := range outdated {
		if !n.ready && len(nodes) == replicas && status.WholeWithout(n.name, replicas, answers(nodes, n.pod)) == nil {
			return n.pod
		}
	}
	return nil
}

// unseen reports whether the cache still has the pod that was deleted last: then what
// is known of the pods is not what is so.
func (b *brokers) unseen(in *gathered) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := client.ObjectKeyFromObject(in.pusher)
	for i := range in.brokerPods {
		if in.brokerPods[i].UID == b.deleted[key] {
			return true
		}
	}
	delete(b.deleted, key)
	return false
}

// replace deletes a pod, for another to take its place.
func (b *brokers) replace(ctx context.Context, p *v1alpha1.Pusher, pod *corev1.Pod) error {
	b.mu.Lock()
	b.deleted[client.ObjectKeyFromObject(p)] = pod.UID
	b.mu.Unlock()
	logf.FromContext(ctx).Info("Replacing a node of the broker", "pod", pod.Name)
	err := b.client.Delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &pod.UID})
	if client.IgnoreNotFound(err) != nil {
		b.mu.Lock()
		delete(b.deleted, client.ObjectKeyFromObject(p))
		b.mu.Unlock()
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	return nil
}

func (b *brokers) forget(pusher types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.deleted, pusher)
	delete(b.stands, pusher)
}

// replacing reports whether nodes are not yet as they should be.
func (v *brokerView) replacing() bool { return v.pending || len(v.outdated) > 0 }

// next is when to look again.
func (v *brokerView) next(regular time.Duration) time.Duration {
	if v != nil && (v.problem != nil || v.replacing()) {
		return min(v.wait, regular)
	}
	return regular
}

func (v *brokerView) verdict() verdict {
	switch {
	case v.unknown:
		return verdict{metav1.ConditionUnknown, v1alpha1.ReasonStatusUnreachable, sentence(v.problem.Error())}
	case v.problem != nil:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonNotWhole, sentence(v.problem.Error())}
	case len(v.outdated) > 0:
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonReady, fmt.Sprintf("All nodes are there and have all events; %d of %d are yet to be replaced", len(v.outdated), v.nodes)}
	}
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonReady, "All nodes are there and have all events"}
}
