// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

type requestQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// board holds what the PusherReconciler last found out about each Channel, and
// wakes the ChannelReconciler for those whose report changed.
type board struct {
	mu sync.Mutex
	// Guarded by mu.
	reports map[types.NamespacedName]map[string]channelReport // by Pusher, then Channel
	queue   requestQueue
}

func newBoard() *board {
	return &board{reports: map[types.NamespacedName]map[string]channelReport{}}
}

// publish replaces the reports of one Pusher's Channels.
func (b *board) publish(pusher types.NamespacedName, reports map[string]channelReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.reports[pusher]
	b.reports[pusher] = reports
	if b.queue == nil {
		return
	}
	for name, r := range reports {
		if old, ok := before[name]; !ok || old != r {
			b.queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: pusher.Namespace, Name: name}})
		}
	}
}

// report returns what is known of a Channel on a Pusher.
func (b *board) report(pusher types.NamespacedName, channel string) (channelReport, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.reports[pusher][channel]
	return r, ok
}

// forget drops the reports of a Pusher that is gone.
func (b *board) forget(pusher types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.reports, pusher)
}

// source feeds changed reports to a controller.
func (b *board) source() source.Source {
	return source.Func(func(_ context.Context, q requestQueue) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.queue = q
		return nil
	})
}
