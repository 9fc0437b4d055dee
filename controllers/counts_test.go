// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// Counts wait when there are too many of them; nothing else does.
func TestCounts(t *testing.T) {
	ready := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	for name, tt := range map[string]struct {
		before, after v1alpha1.ChannelStatus
		want          bool
	}{
		"a count":                {v1alpha1.ChannelStatus{Connections: 1}, v1alpha1.ChannelStatus{Connections: 2}, true},
		"nothing":                {v1alpha1.ChannelStatus{Connections: 1}, v1alpha1.ChannelStatus{Connections: 1}, false},
		"a condition":            {v1alpha1.ChannelStatus{}, v1alpha1.ChannelStatus{Conditions: ready}, false},
		"a count and a revision": {v1alpha1.ChannelStatus{}, v1alpha1.ChannelStatus{Connections: 1, Revision: "r"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			spent := counts{flowcontrol.NewFakeNeverRateLimiter()}
			if got := spent.deferChannel(tt.before, tt.after); got != tt.want {
				t.Errorf("Channel: deferred %v, want %v", got, tt.want)
			}
			pusher := func(s v1alpha1.ChannelStatus) v1alpha1.PusherStatus {
				return v1alpha1.PusherStatus{Connections: s.Connections, Revision: s.Revision, Conditions: s.Conditions}
			}
			if got := spent.deferPusher(pusher(tt.before), pusher(tt.after)); got != tt.want {
				t.Errorf("Pusher: deferred %v, want %v", got, tt.want)
			}
			if (counts{flowcontrol.NewFakeAlwaysRateLimiter()}).deferChannel(tt.before, tt.after) {
				t.Error("deferred though there is room")
			}
		})
	}
}
