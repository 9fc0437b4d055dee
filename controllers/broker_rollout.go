// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
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

// brokerPace is how soon a broker is looked at again that is not whole, or whose nodes
// are being replaced.
const brokerPace = time.Second

// brokers follows managed brokers, and replaces their nodes one at a time.
type brokers struct {
	// Static.
	client client.Client
	reader StatusReader

	mu sync.Mutex
	// Guarded by mu.
	deleted map[types.NamespacedName]types.UID // the pod of each broker that was deleted last
}

// brokerView is a managed broker as it was seen in a round.
type brokerView struct {
	nodes    int32
	problem  error    // why it is not whole; nil: it is
	outdated []string // pods that are not yet as they should be
	pending  bool     // the StatefulSet has not yet taken note of what it should be
}

func newBrokers(c client.Client, reader StatusReader) *brokers {
	return &brokers{client: c, reader: reader, deleted: map[types.NamespacedName]types.UID{}}
}

// observe asks all nodes of the round's managed broker and replaces one if it is time.
func (b *brokers) observe(ctx context.Context, in *gathered, round *round) error {
	if round.managed == nil {
		return nil
	}
	view := &brokerView{nodes: render.BrokerNodes(round.managed.spec)}
	round.broker = view
	answers, err := b.ask(ctx, in)
	if view.problem = err; err == nil {
		view.problem = status.Whole(int(view.nodes), answers)
	}
	set := in.brokerSet
	if set == nil || set.Status.UpdateRevision == "" || set.Status.ObservedGeneration < max(set.Generation, round.brokerGeneration) {
		view.pending = true
		return nil
	}
	var outdated []*corev1.Pod
	ending := false
	for i := range in.brokerPods {
		pod := &in.brokerPods[i]
		switch {
		case !pod.DeletionTimestamp.IsZero():
			ending = true
		case pod.Labels[appsv1.ControllerRevisionHashLabelKey] != set.Status.UpdateRevision:
			outdated = append(outdated, pod)
			view.outdated = append(view.outdated, pod.Name)
		}
	}
	if ending || len(outdated) == 0 || !round.changeable() || round.failure != nil || b.unseen(in) {
		return nil
	}
	pod := stuck(outdated)
	if pod == nil && view.problem == nil { // a whole cluster can do without any one node
		pod = leaderLast(outdated, leader(answers))
	}
	if pod == nil {
		return nil
	}
	return b.replace(ctx, in.pusher, pod)
}

// ask returns the answers of all nodes.
func (b *brokers) ask(ctx context.Context, in *gathered) ([]status.Node, error) {
	pods := in.brokerPods
	nodes, errs := make([]status.Node, len(pods)), make([]error, len(pods))
	var asking sync.WaitGroup
	for i := range pods {
		pod := &pods[i]
		if errs[i] = unasked(pod); errs[i] != nil {
			continue
		}
		asking.Go(func() {
			n, err := b.reader.NodeStatus(ctx, pod.Status.PodIP, in.adminToken)
			if err != nil {
				errs[i] = fmt.Errorf("pod %s cannot be asked: %w", pod.Name, err)
				return
			}
			nodes[i] = *n
		})
	}
	asking.Wait()
	for _, err := range errs {
		if err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// unasked is why a pod need not be asked.
func unasked(pod *corev1.Pod) error {
	view := viewOf(pod)
	switch {
	case !pod.DeletionTimestamp.IsZero():
		return fmt.Errorf("pod %s is ending", pod.Name)
	case view.reason != "":
		return fmt.Errorf("pod %s: %s", pod.Name, view.reason)
	case pod.Status.PodIP == "":
		return fmt.Errorf("pod %s has not started yet", pod.Name)
	}
	return nil
}

func leader(nodes []status.Node) string {
	for i := range nodes {
		if nodes[i].MetaLeader != "" {
			return nodes[i].MetaLeader
		}
	}
	return ""
}

// stuck is a pod that cannot even start, so that nothing is lost with it; nil: none.
func stuck(pods []*corev1.Pod) *corev1.Pod {
	for _, pod := range pods {
		if v := viewOf(pod); !v.ready && v.reason != "" {
			return pod
		}
	}
	return nil
}

// leaderLast is a pod that does not lead the cluster, if there is one.
func leaderLast(pods []*corev1.Pod, leader string) *corev1.Pod {
	for _, pod := range pods {
		if pod.Name != leader {
			return pod
		}
	}
	return pods[0]
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
		b.forget(client.ObjectKeyFromObject(p))
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	return nil
}

func (b *brokers) forget(pusher types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.deleted, pusher)
}

// replacing reports whether nodes are not yet as they should be.
func (v *brokerView) replacing() bool { return v.pending || len(v.outdated) > 0 }

// next is when to look again.
func (v *brokerView) next(regular time.Duration) time.Duration {
	if v != nil && (v.problem != nil || v.replacing()) {
		return min(brokerPace, regular)
	}
	return regular
}

func (v *brokerView) verdict() verdict {
	switch {
	case v.problem != nil:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonNotWhole, sentence(v.problem.Error())}
	case len(v.outdated) > 0:
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonReady, fmt.Sprintf("All nodes are there and have all events; %d of %d are yet to be replaced", len(v.outdated), v.nodes)}
	}
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonReady, "All nodes are there and have all events"}
}
