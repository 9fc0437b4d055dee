// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// pusherSettings is the part of the document that concerns every Channel.
func pusherSettings(in Input) settings.Pusher {
	spec := &in.Pusher.Spec
	p := settings.Pusher{
		Namespace: in.Pusher.Namespace,
		Name:      in.Pusher.Name,
		Heartbeat: settings.Heartbeat{
			Interval: settings.Duration(defaultHeartbeatInterval),
			Timeout:  settings.Duration(defaultHeartbeatTimeout),
		},
		Drain: settings.Drain{
			Period:    settings.Duration(defaultDrainPeriod),
			MaxPeriod: settings.Duration(DrainMaxPeriod(spec)),
		},
		Admin:           settings.Admin{TokenSHA256: in.AdminTokenSHA256},
		ServiceAccounts: in.Issuer,
		OpenPublishing:  in.OpenPublishing,
	}
	if h := spec.Heartbeat; h != nil {
		p.Heartbeat.Interval = settings.Duration(duration(h.Interval, defaultHeartbeatInterval))
		p.Heartbeat.Timeout = settings.Duration(duration(h.Timeout, defaultHeartbeatTimeout))
	}
	if d := spec.Drain; d != nil {
		p.Drain.Period = settings.Duration(duration(d.Period, defaultDrainPeriod))
	}
	if m := spec.Metrics; m != nil {
		p.Admin.OpenMetrics = m.Access == v1alpha1.MetricsOpen
	}
	return p
}

// DrainMaxPeriod is spec.drain.maxPeriod or its default.
func DrainMaxPeriod(spec *v1alpha1.PusherSpec) time.Duration {
	if spec.Drain == nil {
		return DefaultDrainMaxPeriod
	}
	return duration(spec.Drain.MaxPeriod, DefaultDrainMaxPeriod)
}

func duration(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}
