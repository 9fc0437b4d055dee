// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// applyObjects makes the Pusher's objects what they should be. What keeps it
// from that goes into the round; what is worth trying again at once it returns.
func (r *PusherReconciler) applyObjects(ctx context.Context, in *gathered, round *round) error {
	packed, err := settings.Pack(round.compiled.Settings)
	if err != nil {
		return fmt.Errorf("pack settings: %w", err)
	}
	input := render.Input{
		Pusher: in.pusher, Image: r.image, AdminToken: in.adminToken, Seed: in.seed, Settings: packed,
		Broker: round.compiled.Settings.Pusher.BrokerFingerprint(),
	}
	input.Network = network(round.compiled.Settings, r.namespace, round.managed != nil)
	if round.managed != nil {
		input.Managed = &render.ManagedBroker{Spec: round.managed.spec, Files: round.managed.files}
	}
	objects := render.Objects(input)
	for _, obj := range objects {
		if err := r.applier.apply(ctx, in.pusher, obj); err != nil {
			return round.fail(err)
		}
	}
	key := client.ObjectKeyFromObject(in.pusher)
	round.generation = r.applier.generation(deploymentRef(key))
	round.brokerGeneration = r.applier.generation(statefulSetRef(key))
	return round.fail(r.prune(ctx, in.pusher, len(packed.Parts)))
}

// prune deletes the settings Secrets that shrunken settings no longer need.
func (r *PusherReconciler) prune(ctx context.Context, p *v1alpha1.Pusher, parts int) error {
	for i := parts; i < settings.MaxParts; i++ {
		meta := &metav1.PartialObjectMetadata{}
		meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		key := types.NamespacedName{Namespace: p.Namespace, Name: render.SettingsSecret(p.Name, i)}
		err := r.applier.secrets.Get(ctx, key, meta)
		if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(meta, p) {
			continue
		}
		if err != nil {
			return fmt.Errorf("get Secret %s: %w", key.Name, err)
		}
		exactly := client.Preconditions{UID: &meta.UID}
		if err := r.Delete(ctx, meta, exactly); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete Secret %s: %w", key.Name, err)
		}
	}
	return nil
}

// fail notes why objects are not what they should be. It returns the error if
// trying again may help; otherwise the next regular round will try.
func (r *round) fail(err error) error {
	var held *heldError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &held) && held.leaving:
		r.failure = &verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, sentence(err.Error())}
		return nil
	case errors.As(err, &held):
		r.refusal = &compile.Refusal{Reason: v1alpha1.ReasonConflict, Message: sentence(err.Error())}
		return nil
	}
	r.failure = &verdict{metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, sentence(err.Error())}
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) {
		return nil
	}
	return err
}

func deploymentRef(pusher types.NamespacedName) objectRef {
	return objectRef{"Deployment", types.NamespacedName{Namespace: pusher.Namespace, Name: render.DeploymentName(pusher.Name)}}
}

func statefulSetRef(pusher types.NamespacedName) objectRef {
	return objectRef{"StatefulSet", types.NamespacedName{Namespace: pusher.Namespace, Name: render.BrokerName(pusher.Name)}}
}

// objectRefs names every object that a Pusher can have.
func objectRefs(pusher types.NamespacedName) []objectRef {
	in := func(kind, name string) objectRef {
		return objectRef{kind, types.NamespacedName{Namespace: pusher.Namespace, Name: name}}
	}
	refs := []objectRef{
		in("ServiceAccount", render.DeploymentName(pusher.Name)),
		deploymentRef(pusher),
		in("Service", render.ClientsService(pusher.Name)),
		in("Service", render.EventsService(pusher.Name)),
		in("Service", render.PodsService(pusher.Name)),
		in("Secret", render.AdminSecret(pusher.Name)),
		in("Secret", render.KeysSecret(pusher.Name)),
		in("PodDisruptionBudget", render.DeploymentName(pusher.Name)),
		in("NetworkPolicy", render.DeploymentName(pusher.Name)),
		statefulSetRef(pusher),
		in("ServiceAccount", render.BrokerName(pusher.Name)),
		in("Service", render.BrokerName(pusher.Name)),
		in("Secret", render.BrokerName(pusher.Name)),
		in("PodDisruptionBudget", render.BrokerName(pusher.Name)),
		in("NetworkPolicy", render.BrokerName(pusher.Name)),
	}
	for i := range settings.MaxParts {
		refs = append(refs, in("Secret", render.SettingsSecret(pusher.Name, i)))
	}
	return refs
}
