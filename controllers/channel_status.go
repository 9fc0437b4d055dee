// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// place is where a Channel is served, or why it is nowhere.
type place struct {
	pusher  string
	refusal *compile.Refusal // why it may not be served there
	failure *verdict         // why its own Pusher could not be applied
}

// channelStatus computes a Channel's status from its place and from the report
// of that place; nil when there is no report of the Channel as it is now.
func channelStatus(ch *v1alpha1.Channel, at place, report *channelReport) v1alpha1.ChannelStatus {
	out := v1alpha1.ChannelStatus{Conditions: slices.Clone(ch.Status.Conditions)}
	if at.refusal != nil {
		setChannel(&out, ch.Generation, nowhere(at.refusal))
		return out
	}
	out.Pusher = at.pusher
	out.URLs = &v1alpha1.ChannelURLs{
		WebSocket:   render.WebSocketURL(ch.Namespace, at.pusher, ch.Name),
		SocketIO:    render.SocketIOURL(ch.Namespace, at.pusher, compile.Namespace(ch)),
		EventStream: render.EventStreamURL(ch.Namespace, at.pusher, ch.Name),
	}
	out.Address = &v1alpha1.ChannelAddress{
		URL:      render.PublishURL(ch.Namespace, at.pusher, ch.Name),
		Audience: settings.Pusher{Namespace: ch.Namespace, Name: at.pusher}.Audience(),
	}
	switch {
	case at.failure != nil:
		out.Connections, out.Revision = ch.Status.Connections, ch.Status.Revision
		at.failure.set(&out.Conditions, v1alpha1.ConditionApplied, ch.Generation)
		lastReady(ch).set(&out.Conditions, v1alpha1.ConditionReady, ch.Generation)
		if report != nil {
			reported(ch, report).accepted.set(&out.Conditions, v1alpha1.ConditionAccepted, ch.Generation)
		} else if ch.Status.Pusher == "" {
			waitingFor(at.pusher).set(&out.Conditions, v1alpha1.ConditionAccepted, ch.Generation)
		}
	case report != nil:
		out.Connections, out.Revision = report.connections, report.revision
		setChannel(&out, ch.Generation, reported(ch, report))
	default: // what was said at the last place stays until there is more to say
		out.Connections, out.Revision = ch.Status.Connections, ch.Status.Revision
		if ch.Status.Pusher == "" {
			waiting := waitingFor(at.pusher)
			setChannel(&out, ch.Generation, channelVerdicts{waiting, waiting, waiting})
		}
	}
	return out
}

// channelVerdicts are a Channel's conditions.
type channelVerdicts struct{ accepted, applied, ready verdict }

func setChannel(out *v1alpha1.ChannelStatus, generation int64, v channelVerdicts) {
	v.accepted.set(&out.Conditions, v1alpha1.ConditionAccepted, generation)
	v.applied.set(&out.Conditions, v1alpha1.ConditionApplied, generation)
	v.ready.set(&out.Conditions, v1alpha1.ConditionReady, generation)
}

// nowhere are the conditions of a Channel that has no place.
func nowhere(why *compile.Refusal) channelVerdicts {
	not := verdict{metav1.ConditionFalse, v1alpha1.ReasonNotAccepted, "The Channel has no Pusher until it is accepted"}
	return channelVerdicts{verdict{metav1.ConditionFalse, why.Reason, why.Message}, not, not}
}

func reported(ch *v1alpha1.Channel, report *channelReport) channelVerdicts {
	out := channelVerdicts{accepted: acceptedChannel(), applied: report.applied, ready: report.ready}
	if report.refused.Reason != "" {
		out.accepted = verdict{metav1.ConditionFalse, report.refused.Reason, report.refused.Message}
	}
	if out.ready.status == "" {
		out.ready = lastReady(ch)
	}
	return out
}

// waitingFor is all that can be said of a Channel that had no place before.
func waitingFor(pusher string) verdict {
	return verdict{metav1.ConditionUnknown, v1alpha1.ReasonPending, "Waiting for Pusher " + pusher}
}

func acceptedChannel() verdict {
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The Channel can be served as specified"}
}

// lastReady keeps saying that clients can connect while nothing says otherwise.
func lastReady(ch *v1alpha1.Channel) verdict {
	if c := meta.FindStatusCondition(ch.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Status == metav1.ConditionTrue {
		return verdict{c.Status, c.Reason, c.Message}
	}
	return verdict{metav1.ConditionUnknown, v1alpha1.ReasonStatusUnreachable, "The pods could not be asked"}
}
