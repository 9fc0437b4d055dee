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

// +kubebuilder:rbac:groups=push.klaxon.dev,resources=pushers,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=push.klaxon.dev,resources=pushers/status,verbs=patch
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=services;serviceaccounts,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// identityWait is how soon a reconcile that lacks the first keys tries again.
const identityWait = time.Second

// staleWait is how soon a reconcile that worked on an outdated copy tries again.
const staleWait = 50 * time.Millisecond

// PusherReconciler makes a Pusher's objects and settings what they should be
// and finds out what its pods serve.
type PusherReconciler struct {
	client.Client
	gatherer  *gatherer
	applier   *applier
	rollouts  *rollouts
	brokers   *brokers
	board     *board
	events    transitions
	counts    counts
	image     string
	namespace string        // of the operator
	interval  time.Duration // between two looks at pods that are up to date
}

// Reconcile is one round: gather, compile, apply, observe, report.
func (r *PusherReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	pusher := &v1alpha1.Pusher{}
	if err := r.Get(ctx, req.NamespacedName, pusher); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("get Pusher: %w", err)
	}
	if !pusher.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	if !r.gatherer.identityKnown() {
		return ctrl.Result{RequeueAfter: identityWait}, nil
	}
	found, err := r.gatherer.gather(ctx, pusher)
	if err != nil {
		return ctrl.Result{}, err
	}
	round := decide(found)
	var failure error
	if round.changeable() {
		failure = r.applyObjects(ctx, found, &round)
	}
	round.pods = r.rollouts.observe(ctx, found, &round)
	if failed := r.brokers.observe(ctx, found, &round); failed != nil {
		failure = errors.Join(failure, round.fail(failed))
	}
	if round.unknownKeys() {
		r.gatherer.identity.refresh()
	}
	for _, url := range round.unknownURLs() {
		r.gatherer.jwks.Refresh(url)
	}
	r.board.publish(req.NamespacedName, channelReports(&round))
	err = r.writeStatus(ctx, pusher, pusherStatus(&round))
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: staleWait}, failure
	}
	if failure != nil || err != nil {
		return ctrl.Result{}, errors.Join(failure, err)
	}
	regular := wait.Jitter(r.interval, 0.1)
	return ctrl.Result{RequeueAfter: min(r.rollouts.next(&round, regular), round.broker.next(regular)), Priority: round.priority()}, nil
}

// writeStatus patches the status if it changed, and tells of transitions. Counts
// that have to wait are left to a later round.
func (r *PusherReconciler) writeStatus(ctx context.Context, p *v1alpha1.Pusher, status v1alpha1.PusherStatus) error {
	if equality.Semantic.DeepEqual(p.Status, status) || r.counts.deferPusher(p.Status, status) {
		return nil
	}
	before := p.DeepCopy()
	p.Status = status
	if err := r.Status().Patch(ctx, p, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	r.events.tell(p, before.Status.Conditions, status.Conditions)
	return nil
}

func (r *PusherReconciler) forget(pusher types.NamespacedName) {
	r.board.forget(pusher)
	r.rollouts.forget(pusher)
	r.brokers.forget(pusher)
	r.gatherer.forget(pusher)
	r.applier.forget(objectRefs(pusher)...)
}
