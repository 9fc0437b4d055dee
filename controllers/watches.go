// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// Workers of each controller: a Pusher's round may wait for pods.
const (
	channelWorkers = 4
	pusherWorkers  = 8
)

// What fails is tried again after firstRetry, and later ever more seldom, but
// not more seldom than lastRetry: whoever has mended the cause is waiting.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 30 * time.Second
)

func retries() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry)
}

type namespacedName = types.NamespacedName

func (r *ChannelReconciler) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("channel").
		WithOptions(controller.Options{MaxConcurrentReconciles: channelWorkers, RateLimiter: retries()}).
		For(&v1alpha1.Channel{}).
		Watches(&v1alpha1.Pusher{}, handler.EnqueueRequestsFromMapFunc(r.channelsOf), builder.WithPredicates(notStatus())).
		WatchesRawSource(r.board.source()).
		Complete(r)
}

// channelsOf finds the Channels that name a Pusher, and the one of its name,
// whose own it is or whose place it takes.
func (r *ChannelReconciler) channelsOf(ctx context.Context, pusher client.Object) []reconcile.Request {
	list := &v1alpha1.ChannelList{}
	err := r.List(ctx, list, client.InNamespace(pusher.GetNamespace()), client.MatchingFields{indexPusherRef: pusher.GetName()})
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the Channels of a Pusher", "pusher", client.ObjectKeyFromObject(pusher))
		return nil
	}
	out := make([]reconcile.Request, 0, len(list.Items)+1)
	out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(pusher)})
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}

func (r *PusherReconciler) setup(mgr ctrl.Manager, own cache.Cache) error {
	ownSecret := &metav1.PartialObjectMetadata{}
	ownSecret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	toOwner := handler.TypedEnqueueRequestForOwner[*metav1.PartialObjectMetadata](
		mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.Pusher{}, handler.OnlyControllerOwner())
	return ctrl.NewControllerManagedBy(mgr).
		Named("pusher").
		WithOptions(controller.Options{MaxConcurrentReconciles: pusherWorkers, RateLimiter: retries()}).
		For(&v1alpha1.Pusher{}, builder.WithPredicates(notStatus())).
		Owns(&appsv1.Deployment{}).
		Owns(&appsv1.StatefulSet{}).
		Owns(&policyv1.PodDisruptionBudget{}, builder.OnlyMetadata).
		Owns(&networkingv1.NetworkPolicy{}, builder.OnlyMetadata).
		Owns(&corev1.Service{}, builder.OnlyMetadata).
		Owns(&corev1.ServiceAccount{}, builder.OnlyMetadata).
		WatchesRawSource(source.Kind(own, ownSecret, toOwner)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.pushersOfSecret)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(pusherOfPod), builder.WithPredicates(podFacts())).
		Watches(&v1alpha1.Channel{}, handler.EnqueueRequestsFromMapFunc(pusherOfChannel), builder.WithPredicates(notStatus())).
		WatchesRawSource(source.Func(r.watchIdentity)).
		Complete(r)
}

// watchIdentity starts a round of every Pusher when keys change.
func (r *PusherReconciler) watchIdentity(ctx context.Context, queue requestQueue) error {
	all := func() {
		list := &v1alpha1.PusherList{}
		if err := r.List(ctx, list); err != nil {
			logf.FromContext(ctx).Error(err, "Cannot list Pushers to tell them of new keys; their next regular round will")
			return
		}
		for i := range list.Items {
			queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	r.gatherer.identity.subscribe(all)
	r.gatherer.jwks.Subscribe(all)
	return nil
}

// pushersOfSecret finds the Pushers that refer to a Secret, themselves or by their
// Channels.
func (r *PusherReconciler) pushersOfSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	list := &v1alpha1.ChannelList{}
	err := r.List(ctx, list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexSecrets: secret.GetName()})
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the Channels of a Secret", "secret", client.ObjectKeyFromObject(secret))
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, pusherOfChannel(ctx, &list.Items[i])...)
	}
	pushers := &v1alpha1.PusherList{}
	err = r.List(ctx, pushers, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexSecrets: secret.GetName()})
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the Pushers of a Secret", "secret", client.ObjectKeyFromObject(secret))
	}
	for i := range pushers.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&pushers.Items[i])})
	}
	return out
}

// pusherOfChannel is where a Channel asks to be served.
func pusherOfChannel(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetName()
	if ch, ok := o.(*v1alpha1.Channel); ok && ch.Spec.PusherRef != nil {
		name = string(ch.Spec.PusherRef.Name)
	}
	return []reconcile.Request{{NamespacedName: namespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

func pusherOfPod(_ context.Context, pod client.Object) []reconcile.Request {
	name := pod.GetLabels()[v1alpha1.LabelPusher]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: namespacedName{Namespace: pod.GetNamespace(), Name: name}}}
}

// notStatus passes changes of what somebody asks for, not of what we answer.
func notStatus() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			!maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
			!equality.Semantic.DeepEqual(e.ObjectOld.GetOwnerReferences(), e.ObjectNew.GetOwnerReferences()) ||
			!e.ObjectOld.GetDeletionTimestamp().Equal(e.ObjectNew.GetDeletionTimestamp())
	}}
}

// podFacts passes changes of what a round looks at. Our own nudges are none.
func podFacts() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*corev1.Pod)
		after, ok2 := e.ObjectNew.(*corev1.Pod)
		if !ok || !ok2 {
			return true
		}
		return viewOf(before) != viewOf(after) || before.Status.PodIP != after.Status.PodIP ||
			before.Status.Phase != after.Status.Phase || !before.DeletionTimestamp.Equal(after.DeletionTimestamp)
	}}
}
