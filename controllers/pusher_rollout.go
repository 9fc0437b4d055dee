// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

const (
	maxAsked      = 16 // pods of one Pusher that are asked at once
	firstNudgeGap = 500 * time.Millisecond
	maxNudgeGap   = time.Minute
)

// pace says how often pods are asked while they do not yet serve what they
// should, by the time since it is wanted. After the last step the regular
// interval applies.
var pace = []struct{ until, every time.Duration }{
	{3 * time.Second, 100 * time.Millisecond},
	{30 * time.Second, 250 * time.Millisecond},
	{3 * time.Minute, time.Second},
}

// rollouts follows settings on their way into pods: it asks each pod what it
// serves, and nudges those that serve something else.
type rollouts struct {
	// Static.
	client client.Client
	reader StatusReader
	now    func() time.Time

	mu sync.Mutex
	// Guarded by mu.
	running map[types.NamespacedName]*rollout
}

// rollout is one revision of settings on its way.
type rollout struct {
	revision string
	since    time.Time
	nudges   map[types.UID]nudge
}

// nudge counts how often a pod was nudged for one revision.
type nudge struct {
	attempts int
	next     time.Time
}

func newRollouts(c client.Client, reader StatusReader) *rollouts {
	return &rollouts{client: c, reader: reader, now: time.Now, running: map[types.NamespacedName]*rollout{}}
}

// observe asks all pods that have an address, and nudges those that serve other
// settings than the round's.
func (r *rollouts) observe(ctx context.Context, in *gathered, round *round) []podView {
	views := make([]podView, len(in.pods))
	var asking sync.WaitGroup
	slots := make(chan struct{}, maxAsked)
	for i := range in.pods {
		pod := &in.pods[i]
		views[i] = viewOf(pod)
		if pod.Status.PodIP == "" {
			continue
		}
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			if s, err := r.reader.PodStatus(ctx, pod.Status.PodIP, in.adminToken); err != nil {
				views[i].err = err
			} else {
				views[i].status = s
			}
		})
	}
	asking.Wait()
	if !round.changeable() {
		return views
	}
	r.direct(ctx, in, views)
	if round.failure != nil {
		return views
	}
	for i := range views {
		if views[i].behind(round.wanted()) && r.due(in.pusher, round.wanted(), views[i].uid) {
			r.nudge(ctx, &in.pods[i])
		}
	}
	return views
}

// due says whether a pod should be nudged now, and counts it if so.
func (r *rollouts) due(p *v1alpha1.Pusher, revision string, pod types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, run := r.now(), r.run(client.ObjectKeyFromObject(p), revision)
	n := run.nudges[pod]
	if now.Before(n.next) {
		return false
	}
	n.next = now.Add(min(firstNudgeGap<<min(n.attempts, 10), maxNudgeGap))
	n.attempts++
	run.nudges[pod] = n
	return true
}

// run returns the rollout of a revision, a new one if another was under way.
func (r *rollouts) run(pusher types.NamespacedName, revision string) *rollout {
	run := r.running[pusher]
	if run == nil || run.revision != revision {
		run = &rollout{revision: revision, since: r.now(), nudges: map[types.UID]nudge{}}
		r.running[pusher] = run
	}
	return run
}

// nudge makes the kubelet look at the pod's volumes at once, by a fresh value
// of an annotation. It only hastens what happens anyway, so an error is logged
// and no more.
func (r *rollouts) nudge(ctx context.Context, pod *corev1.Pod) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{v1alpha1.AnnotationNudge: r.now().UTC().Format(time.RFC3339Nano)},
	}})
	if err == nil {
		err = r.client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		logf.FromContext(ctx).Error(err, "Cannot nudge a pod; it will find its settings later", "pod", pod.Name)
	}
}

// next is when to look again: soon while settings are on their way, at the
// regular interval otherwise.
func (r *rollouts) next(round *round, regular time.Duration) time.Duration {
	key := client.ObjectKeyFromObject(round.pusher)
	r.mu.Lock()
	defer r.mu.Unlock()
	if round.current() || !round.changeable() || round.failure != nil {
		delete(r.running, key)
		return regular
	}
	since := r.now().Sub(r.run(key, round.wanted()).since)
	for _, step := range pace {
		if since < step.until {
			return min(step.every, regular)
		}
	}
	return regular
}

func (r *rollouts) forget(pusher types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, pusher)
}

func viewOf(pod *corev1.Pod) podView {
	v := podView{name: pod.Name, uid: pod.UID, accepting: pod.Labels[v1alpha1.LabelAccepting] == "true"}
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && pod.Status.PodIP != "":
			v.ready = true
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse:
			v.reason = c.Reason + ": " + c.Message
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "ContainerCreating" {
			v.reason = w.Reason
		}
	}
	return v
}
