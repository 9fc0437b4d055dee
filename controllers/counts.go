// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// Writes of counts per second, over all Channels and Pushers. A thousand busy
// Channels show counts of the last minute, and etcd hardly notices.
const (
	countsRate  = 20
	countsBurst = 100
)

// counts bounds how often statuses are written only because clients came or
// went. Whatever else changes in a status is written at once, with its counts.
type counts struct{ limit flowcontrol.RateLimiter }

func newCounts() counts {
	return counts{flowcontrol.NewTokenBucketRateLimiter(countsRate, countsBurst)}
}

// deferChannel says whether the write of a Channel's status should wait.
func (c counts) deferChannel(before, after v1alpha1.ChannelStatus) bool {
	changed := before.Connections != after.Connections
	before.Connections = after.Connections
	return changed && equality.Semantic.DeepEqual(before, after) && !c.limit.TryAccept()
}

// deferPusher says whether the write of a Pusher's status should wait.
func (c counts) deferPusher(before, after v1alpha1.PusherStatus) bool {
	changed := before.Connections != after.Connections
	before.Connections = after.Connections
	return changed && equality.Semantic.DeepEqual(before, after) && !c.limit.TryAccept()
}
