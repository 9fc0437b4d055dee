// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
)

// channelReport is what a round of its Pusher found out about one Channel. It
// is comparable, so that only a change wakes the ChannelReconciler.
type channelReport struct {
	uid         types.UID
	generation  int64 // of the Channel that was compiled
	refused     compile.Refusal
	revision    string // empty when it is refused
	applied     verdict
	ready       verdict // its status is empty when nobody could be asked
	connections int64
}

// channelReports computes the reports of all Channels of a round.
func channelReports(r *round) map[string]channelReport {
	revisions := map[string]string{}
	if s := r.compiled.Settings; s != nil {
		for i := range s.Channels {
			revisions[s.Channels[i].Name] = s.Channels[i].Revision
		}
	}
	owned := ownerChannel(r.pusher) != nil
	out := make(map[string]channelReport, len(r.channels))
	for i := range r.channels {
		ch := &r.channels[i]
		report := channelReport{
			uid: ch.UID, generation: ch.Generation,
			refused: r.compiled.Refused[ch.Name], revision: revisions[ch.Name],
			ready: channelReady(r, ch.Name),
		}
		if owned && r.refusal != nil {
			report.refused = *r.refusal
		}
		report.applied = channelApplied(r, ch.Name, report)
		for _, p := range r.pods {
			if p.ready && p.status != nil {
				report.connections += p.status.Channels[ch.Name].Connections
			}
		}
		out[ch.Name] = report
	}
	return out
}

// channelApplied says whether every ready pod serves the Channel's own revision.
func channelApplied(r *round, name string, report channelReport) verdict {
	if report.refused.Reason != "" {
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonNotAccepted, "Nothing is applied until the Channel is accepted"}
	}
	missing := served(r, func(p podView) bool {
		s, ok := p.status.Channels[name]
		return ok && s.Revision == report.revision
	})
	switch {
	case missing == nil:
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonApplied, "Every ready pod serves this Channel as specified"}
	case missing.reason == v1alpha1.ReasonSettingsRejected || missing.status == metav1.ConditionUnknown:
		return *missing
	case r.refusal != nil:
		return verdict{
			metav1.ConditionFalse, v1alpha1.ReasonNotAccepted,
			fmt.Sprintf("Pusher %s is not accepted (%s): %s", r.pusher.Name, r.refusal.Reason, r.refusal.Message),
		}
	case r.pusher.Spec.Paused:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonPaused, fmt.Sprintf("spec.paused of Pusher %s keeps what runs as it is", r.pusher.Name)}
	case r.failure != nil:
		return *r.failure
	}
	return *missing
}

// channelReady says whether clients of the Channel can connect to some pod. The
// empty verdict means that nobody could be asked.
func channelReady(r *round, name string) verdict {
	ready, asked := 0, 0
	for _, p := range r.pods {
		if !p.ready {
			continue
		}
		ready++
		if p.status == nil {
			continue
		}
		asked++
		if _, ok := p.status.Channels[name]; ok {
			return verdict{metav1.ConditionTrue, v1alpha1.ReasonReady, "Clients can connect"}
		}
	}
	switch {
	case ready == 0:
		return *noReadyPods(r)
	case asked == 0:
		return verdict{}
	}
	return verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, "No pod serves this Channel yet"}
}
