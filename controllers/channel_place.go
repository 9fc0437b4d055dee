// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

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
	if owner := ownerChannel(pusher); owner != nil {
		return place{refusal: &compile.Refusal{Reason: v1alpha1.ReasonPusherOwned, Message: fmt.Sprintf(
			"Pusher %s belongs to Channel %s alone: name a Pusher that was created for several Channels", name, owner.Name)}}, nil
	}
	return place{pusher: name}, nil
}

// own makes the Channel's own Pusher what spec.pusher says.
func (r *ChannelReconciler) own(ctx context.Context, ch *v1alpha1.Channel) (place, error) {
	out := place{pusher: ch.Name}
	err := r.applier.apply(ctx, ch, ownedPusher(ch))
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
		return out, nil // something else, such as a quota or a policy, must change first, and no event tells
	}
	return out, err
}

// pusherObject is the apply configuration of a Pusher.
type pusherObject struct {
	metav1ac.TypeMetaApplyConfiguration    `json:",inline"`
	*metav1ac.ObjectMetaApplyConfiguration `json:"metadata,omitempty"`
	Spec                                   v1alpha1.PusherSpec `json:"spec"`
}

// IsApplyConfiguration marks the type as one.
func (*pusherObject) IsApplyConfiguration() {}

// ownedPusher is the Pusher of a Channel, with the Channel's spec.pusher.
func ownedPusher(ch *v1alpha1.Channel) *pusherObject {
	out := &pusherObject{ObjectMetaApplyConfiguration: metav1ac.ObjectMeta().
		WithNamespace(ch.Namespace).
		WithName(ch.Name).
		WithLabels(render.Labels(ch.Name)).
		WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(v1alpha1.GroupVersion.String()).
			WithKind("Channel").
			WithName(ch.Name).
			WithUID(ch.UID).
			WithController(true))}
	out.WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("Pusher")
	if ch.Spec.Pusher != nil {
		out.Spec = *ch.Spec.Pusher
	}
	if out.Spec.Replicas == nil {
		out.Spec.Replicas = new(int32(1))
	}
	return out
}

var _ render.Object = (*pusherObject)(nil)
