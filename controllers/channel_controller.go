// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// +kubebuilder:rbac:groups=push.klaxon.dev,resources=channels,verbs=get;list;watch
// +kubebuilder:rbac:groups=push.klaxon.dev,resources=channels/status,verbs=patch

// ChannelReconciler gives a Channel its place and tells how it fares there.
type ChannelReconciler struct {
	client.Client
	applier *applier
	board   *board
	events  transitions
	counts  counts
	// interval until what was refused, or has to wait, is tried again.
	interval time.Duration
}

// Reconcile finds or makes the Channel's Pusher and writes the Channel's status.
func (r *ChannelReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ch := &v1alpha1.Channel{}
	if err := r.Get(ctx, req.NamespacedName, ch); err != nil {
		if apierrors.IsNotFound(err) {
			r.applier.forget(objectRef{"Pusher", req.NamespacedName})
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("get Channel: %w", err)
	}
	if !ch.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	find := r.own
	if ch.Spec.PusherRef != nil {
		find = r.join
	}
	at, failure := find(ctx, ch)
	if failure != nil && at.failure == nil {
		return ctrl.Result{}, failure
	}
	status := channelStatus(ch, at, r.reportOf(ch, at))
	if r.counts.deferChannel(ch.Status, status) {
		return ctrl.Result{RequeueAfter: wait.Jitter(r.interval, 0.1)}, failure
	}
	err := r.writeStatus(ctx, ch, status)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: staleWait}, failure
	}
	if failure != nil || err != nil || at.failure == nil {
		return ctrl.Result{}, errors.Join(failure, err)
	}
	return ctrl.Result{RequeueAfter: wait.Jitter(r.interval, 0.1)}, nil
}

// reportOf returns the report of the Channel as it is now; nil if there is none.
func (r *ChannelReconciler) reportOf(ch *v1alpha1.Channel, at place) *channelReport {
	report, ok := r.board.report(types.NamespacedName{Namespace: ch.Namespace, Name: at.pusher}, ch.Name)
	if !ok || report.uid != ch.UID || report.generation != ch.Generation {
		return nil
	}
	return &report
}

// writeStatus patches the status if it changed, and tells of transitions.
func (r *ChannelReconciler) writeStatus(ctx context.Context, ch *v1alpha1.Channel, status v1alpha1.ChannelStatus) error {
	if equality.Semantic.DeepEqual(ch.Status, status) {
		return nil
	}
	before := ch.DeepCopy()
	ch.Status = status
	if err := r.Status().Patch(ctx, ch, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	r.events.tell(ch, before.Status.Conditions, status.Conditions)
	return nil
}
