// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/render"
)

// join finds the Pusher that a Channel names, and whether it may go there.
func (r *ChannelReconciler) join(ctx context.Context, ch *v1alpha1.Channel) (place, error) {
	name := string(ch.Spec.PusherRef.Name)
	pusher := &v1alpha1.Pusher{}
	err := r.Get(ctx, types.NamespacedName{Namespace: ch.Namespace, Name: name}, pusher)
	if apierrors.IsNotFound(err) {
		return place{refusal: &compile.Refusal{Reason: v1alpha1.ReasonPusherNotFound, Message: fmt.Sprintf(
			"Pusher %s does not exist in namespace %s: create it, or name another in spec.pusherRef", name, ch.Namespace)}}, nil
	}
	if err != nil {
		return place{}, fmt.Errorf("get Pusher %s: %w", name, err)
	}
	if owner := metav1.GetControllerOf(pusher); owner != nil {
		return place{refusal: &compile.Refusal{Reason: v1alpha1.ReasonPusherOwned, Message: fmt.Sprintf(
			"Pusher %s belongs to %s %s alone: name a Pusher that was created for several Channels", name, owner.Kind, owner.Name)}}, nil
	}
	return place{pusher: name}, nil
}

// own makes the Channel's own Pusher what spec.pusher says.
func (r *ChannelReconciler) own(ctx context.Context, ch *v1alpha1.Channel) (place, error) {
	out := place{pusher: ch.Name}
	obj, err := ownedPusher(ch)
	if err != nil {
		return out, err
	}
	err = r.applier.apply(ctx, ch, obj)
	var held *heldError
	switch {
	case err == nil:
		return out, nil
	case errors.As(err, &held) && held.leaving:
		out.failure = &verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, sentence(err.Error())}
		return out, nil
	case errors.As(err, &held):
		return place{refusal: &compile.Refusal{Reason: v1alpha1.ReasonConflict, Message: sentence(err.Error()) +
			", or give the Channel another name, or let it join with spec.pusherRef"}}, nil
	}
	out.failure = &verdict{metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, sentence(err.Error())}
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		return out, nil // a change of the Channel, or of the operator's rights, must come first
	}
	return out, err
}

// pusherObject is a Pusher to apply.
type pusherObject struct{ *unstructured.Unstructured }

// IsApplyConfiguration marks the type as one.
func (pusherObject) IsApplyConfiguration() {}

// The getters of render.Object.
func (o pusherObject) GetKind() *string       { return new(o.Unstructured.GetKind()) }
func (o pusherObject) GetAPIVersion() *string { return new(o.Unstructured.GetAPIVersion()) }
func (o pusherObject) GetName() *string       { return new(o.Unstructured.GetName()) }
func (o pusherObject) GetNamespace() *string  { return new(o.Unstructured.GetNamespace()) }

// ownedPusher is the Pusher of a Channel, with the Channel's spec.pusher.
func ownedPusher(ch *v1alpha1.Channel) (render.Object, error) {
	spec := v1alpha1.PusherSpec{}
	if ch.Spec.Pusher != nil {
		spec = *ch.Spec.Pusher
	}
	if spec.Replicas == nil {
		spec.Replicas = new(int32(1))
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("marshal spec.pusher: %w", err)
	}
	fields := map[string]any{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("unmarshal spec.pusher: %w", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": fields}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Pusher"))
	u.SetNamespace(ch.Namespace)
	u.SetName(ch.Name)
	u.SetLabels(render.Labels(ch.Name))
	if err := unstructured.SetNestedSlice(u.Object, []any{map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Channel", "name": ch.Name, "uid": string(ch.UID), "controller": true,
	}}, "metadata", "ownerReferences"); err != nil {
		return nil, fmt.Errorf("set owner of Pusher %s: %w", ch.Name, err)
	}
	return pusherObject{u}, nil
}
