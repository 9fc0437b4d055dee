// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/render"
)

// pusherStatus computes a Pusher's status from a round.
func pusherStatus(r *round) v1alpha1.PusherStatus {
	p := r.pusher
	out := v1alpha1.PusherStatus{
		Conditions: slices.Clone(p.Status.Conditions),
		Replicas:   int32(len(r.pods)), //nolint:gosec // bounded by what a cluster can hold
		Selector:   render.Selector(p.Name).String(),
		Revision:   p.Status.Revision,
		Channels:   p.Status.Channels,
		Broker:     p.Status.Broker,
	}
	if r.refusal == nil {
		out.Broker = r.brokerKind
	}
	for _, pod := range r.pods {
		if !pod.ready {
			continue
		}
		out.ReadyReplicas++
		if pod.status != nil {
			out.Connections += pod.status.Connections
		}
	}
	if s := r.compiled.Settings; s != nil && r.changeable() && r.failure == nil {
		out.Revision = s.Revision
		out.Channels = int32(len(s.Channels)) //nolint:gosec // bounded by what a Secret can hold
	}
	pusherAccepted(r).set(&out.Conditions, v1alpha1.ConditionAccepted, p.Generation)
	pusherApplied(r).set(&out.Conditions, v1alpha1.ConditionApplied, p.Generation)
	pusherReady(r).set(&out.Conditions, v1alpha1.ConditionReady, p.Generation)
	if r.broker != nil {
		r.broker.verdict().set(&out.Conditions, v1alpha1.ConditionBrokerReady, p.Generation)
	} else {
		meta.RemoveStatusCondition(&out.Conditions, v1alpha1.ConditionBrokerReady)
	}
	return out
}

func pusherAccepted(r *round) verdict {
	if r.refusal != nil {
		return verdict{metav1.ConditionFalse, r.refusal.Reason, r.refusal.Message}
	}
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The Pusher can be run as specified"}
}

// pusherApplied goes through what can be missing, the first thing first.
func pusherApplied(r *round) verdict {
	switch {
	case r.refusal != nil:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonNotAccepted, "What runs is left as it is until the Pusher is accepted"}
	case r.pusher.Spec.Paused:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonPaused, "spec.paused keeps what runs as it is"}
	case r.failure != nil:
		return *r.failure
	}
	if v := rolledOut(r.deployment, r.generation); v != nil {
		return *v
	}
	if r.broker != nil && r.broker.pending {
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, "The broker's pods are being made"}
	}
	if r.broker != nil && len(r.broker.outdated) > 0 {
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, "The broker's nodes are being replaced, one at a time"}
	}
	if render.Replicas(r.pusher) == 0 && len(r.pods) == 0 {
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonApplied, "No replicas are asked for and none run"}
	}
	if v := served(r, func(p podView) bool { return p.status.Revision == r.wanted() }); v != nil {
		return *v
	}
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonApplied, "Every ready pod serves the current settings"}
}

// rolledOut says what a Deployment, last applied as the given generation, still
// has to do; nil when nothing.
func rolledOut(d *appsv1.Deployment, generation int64) *verdict {
	pending := func(message string) *verdict {
		return &verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, message}
	}
	if d == nil {
		return pending("The Deployment does not exist yet")
	}
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	if why := podsRefused(d); why != "" {
		return pending("Pods cannot be made: " + why)
	}
	if d.Status.ObservedGeneration < max(d.Generation, generation) || d.Status.UpdatedReplicas < want || d.Status.Replicas > d.Status.UpdatedReplicas {
		return pending("The Deployment is replacing its pods")
	}
	return nil
}

// podsRefused is why the API server lets no pods of a Deployment be made, such
// as a quota or a policy; empty when it does.
func podsRefused(d *appsv1.Deployment) string {
	if d == nil {
		return ""
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}

// served says what keeps the ready pods from all serving something; nil when
// nothing does. A pod that could not be asked matters only if no other tells
// that something is missing.
func served(r *round, serves func(podView) bool) *verdict {
	var unreachable *verdict
	ready := 0
	for _, p := range r.pods {
		if !p.ready {
			continue
		}
		ready++
		switch {
		case p.status == nil:
			unreachable = &verdict{metav1.ConditionUnknown, v1alpha1.ReasonStatusUnreachable, fmt.Sprintf("Pod %s cannot be asked: %v", p.name, p.err)}
		case serves(p):
		case p.status.SettingsError != "":
			return &verdict{
				metav1.ConditionFalse, v1alpha1.ReasonSettingsRejected,
				fmt.Sprintf("Pod %s refused its settings and keeps serving the earlier ones: %s", p.name, p.status.SettingsError),
			}
		default:
			return &verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, fmt.Sprintf("Pod %s does not serve the current settings yet", p.name)}
		}
	}
	if ready == 0 {
		return noReadyPods(r)
	}
	return unreachable
}

func pusherReady(r *round) verdict {
	ready, full := 0, 0
	for _, p := range r.pods {
		if p.ready {
			ready++
		}
		if p.ready && p.status != nil && p.status.Full {
			full++
		}
	}
	switch {
	case ready == 0:
		return *noReadyPods(r)
	case full > 0:
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonReady, fmt.Sprintf(
			"Clients can connect, but %d of %d ready pods use more memory than limits.memoryPercent: add replicas or memory", full, ready)}
	}
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonReady, "Clients can connect"}
}

// noReadyPods says why no pod is ready, as far as the pods tell.
func noReadyPods(r *round) *verdict {
	message := "No pod is ready"
	refused := ""
	if len(r.pods) == 0 {
		refused = podsRefused(r.deployment)
	}
	switch {
	case render.Replicas(r.pusher) == 0:
		message = "No replicas are asked for: set spec.replicas to 1"
	case refused != "":
		message = "No pod is ready: pods cannot be made: " + refused
	case len(r.pods) > 0 && r.pods[0].reason != "":
		message = fmt.Sprintf("No pod is ready: pod %s: %s", r.pods[0].name, r.pods[0].reason)
	}
	return &verdict{metav1.ConditionFalse, v1alpha1.ReasonNoReadyPods, message}
}
