// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// The rounds below are of Pusher edge with Channel orders, whose wanted
// revisions are "new" and "orders-new".
func roundOf(edit func(*round)) *round {
	r := &round{
		pusher: &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge", Generation: 3}},
		channels: []v1alpha1.Channel{{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "orders", UID: types.UID("o"), Generation: 5,
		}}},
		compiled: compile.Result{Settings: &settings.Settings{
			Revision: "new", Channels: []settings.Channel{{Name: "orders", Revision: "orders-new"}},
		}},
		deployment: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Generation: 1},
			Status:     appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1},
		},
		generation: 1,
		pods:       []podView{current("a")},
	}
	if edit != nil {
		edit(r)
	}
	return r
}

func pod(name, revision, channel string) podView {
	v := podView{name: name, ready: true, status: &settings.Status{Revision: revision, Channels: map[string]settings.ChannelStatus{}}}
	if channel != "" {
		v.status.Channels["orders"] = settings.ChannelStatus{Revision: channel, Connections: 2}
	}
	return v
}

func current(name string) podView { return pod(name, "new", "orders-new") }
func earlier(name string) podView { return pod(name, "old", "orders-old") }

func silent(name string) podView {
	return podView{name: name, ready: true, err: errors.New("no answer in time")}
}

func starting(name string) podView { return podView{name: name, reason: "ImagePullBackOff"} }

func rejecting(name string) podView {
	v := earlier(name)
	v.status.SettingsError = "too odd"
	return v
}

func TestConditions(t *testing.T) {
	pods := func(p ...podView) func(*round) { return func(r *round) { r.pods = p } }
	refused := func(r *round) {
		r.refusal = &compile.Refusal{Reason: v1alpha1.ReasonBrokerRequired, Message: "no broker"}
	}
	// Each condition as status/reason: Applied and Ready of the Pusher, then of the Channel.
	for name, tt := range map[string]struct {
		edit           func(*round)
		pusherApplied  string
		pusherReady    string
		channelApplied string
		channelReady   string
	}{
		"all is well":            {nil, "True/Applied", "True/Ready", "True/Applied", "True/Ready"},
		"several pods":           {pods(current("a"), current("b")), "True/Applied", "True/Ready", "True/Applied", "True/Ready"},
		"one is behind":          {pods(current("a"), earlier("b")), "False/Pending", "True/Ready", "False/Pending", "True/Ready"},
		"another Channel's edit": {pods(pod("a", "old", "orders-new")), "False/Pending", "True/Ready", "True/Applied", "True/Ready"},
		"new Channel":            {pods(pod("a", "old", "")), "False/Pending", "True/Ready", "False/Pending", "False/Pending"},
		"one is silent":          {pods(current("a"), silent("b")), "Unknown/StatusUnreachable", "True/Ready", "Unknown/StatusUnreachable", "True/Ready"},
		"silent and behind":      {pods(silent("a"), earlier("b")), "False/Pending", "True/Ready", "False/Pending", "True/Ready"},
		"all are silent":         {pods(silent("a")), "Unknown/StatusUnreachable", "True/Ready", "Unknown/StatusUnreachable", "/"},
		"one rejects":            {pods(current("a"), rejecting("b")), "False/SettingsRejected", "True/Ready", "False/SettingsRejected", "True/Ready"},
		"none is ready":          {pods(starting("a")), "False/NoReadyPods", "False/NoReadyPods", "False/NoReadyPods", "False/NoReadyPods"},
		"starting beside":        {pods(current("a"), starting("b")), "True/Applied", "True/Ready", "True/Applied", "True/Ready"},
		"no pods":                {pods(), "False/NoReadyPods", "False/NoReadyPods", "False/NoReadyPods", "False/NoReadyPods"},
		"no replicas": {
			func(r *round) { r.pods = nil; r.pusher.Spec.Replicas = new(int32(0)) },
			"True/Applied", "False/NoReadyPods", "False/NoReadyPods", "False/NoReadyPods",
		},
		"no Deployment yet": {func(r *round) { r.deployment = nil }, "False/Pending", "True/Ready", "True/Applied", "True/Ready"},
		"rolling":           {func(r *round) { r.deployment.Generation = 2 }, "False/Pending", "True/Ready", "True/Applied", "True/Ready"},
		"just applied":      {func(r *round) { r.generation = 2 }, "False/Pending", "True/Ready", "True/Applied", "True/Ready"},
		"paused":            {func(r *round) { r.pusher.Spec.Paused = true }, "False/Paused", "True/Ready", "True/Applied", "True/Ready"},
		"refused, served":   {refused, "False/NotAccepted", "True/Ready", "True/Applied", "True/Ready"},
		"refused, not served": {
			func(r *round) { refused(r); r.pods = []podView{earlier("a")} },
			"False/NotAccepted", "True/Ready", "False/NotAccepted", "True/Ready",
		},
		"paused, not served": {
			func(r *round) { r.pusher.Spec.Paused = true; r.pods = []podView{earlier("a")} },
			"False/Paused", "True/Ready", "False/Paused", "True/Ready",
		},
		"not stored": {func(r *round) {
			r.failure = &verdict{metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, "no"}
			r.pods = []podView{earlier("a")}
		}, "False/ApplyFailed", "True/Ready", "False/ApplyFailed", "True/Ready"},
	} {
		t.Run(name, func(t *testing.T) {
			r := roundOf(tt.edit)
			report := channelReports(r)["orders"]
			for what, v := range map[string][2]string{
				"Pusher Applied":  {short(pusherApplied(r)), tt.pusherApplied},
				"Pusher Ready":    {short(pusherReady(r)), tt.pusherReady},
				"Channel Applied": {short(report.applied), tt.channelApplied},
				"Channel Ready":   {short(report.ready), tt.channelReady},
			} {
				if v[0] != v[1] {
					t.Errorf("%s: %s, want %s", what, v[0], v[1])
				}
			}
		})
	}
}

func short(v verdict) string { return string(v.status) + "/" + v.reason }

// What runs is left as it is: so is what is said of it.
func TestChannelsAreCountedAsTheyAreApplied(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*round)
		want int32
	}{
		"applied": {nil, 1},
		"paused":  {func(r *round) { r.pusher.Spec.Paused = true }, 7},
		"refused": {func(r *round) { r.refusal, r.compiled.Settings = &compile.Refusal{Reason: v1alpha1.ReasonInvalid}, nil }, 7},
		"not stored": {func(r *round) {
			r.failure = &verdict{metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, "no"}
		}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			r := roundOf(tt.edit)
			r.pusher.Status.Channels = 7
			if got := pusherStatus(r).Channels; got != tt.want {
				t.Errorf("%d Channels, want %d", got, tt.want)
			}
		})
	}
}

// Who owns only a Channel must learn of the quota that keeps its pods away.
func TestChannelsSayWhyThereAreNoPods(t *testing.T) {
	r := roundOf(func(r *round) {
		r.pods = nil
		r.deployment.Status.Conditions = []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentReplicaFailure, Status: "True", Message: "exceeded quota"},
		}
	})
	if got := channelReports(r)["orders"].ready.message; got != "No pod is ready: pods cannot be made: exceeded quota" {
		t.Errorf("message %q", got)
	}
}

// A Pusher whose pods do not answer takes long, and must not hold up others.
func TestPriority(t *testing.T) {
	for name, tt := range map[string]struct {
		pods []podView
		want int
	}{
		"nothing to do":       {[]podView{current("a")}, handler.LowPriority},
		"on the way":          {[]podView{earlier("a")}, 0},
		"credential changed":  {[]podView{{name: "a", ready: true, err: ErrUnauthorized}}, 0},
		"does not answer":     {[]podView{silent("a")}, handler.LowPriority},
		"one does not answer": {[]podView{silent("a"), earlier("b")}, handler.LowPriority},
	} {
		t.Run(name, func(t *testing.T) {
			if got := *roundOf(func(r *round) { r.pods = tt.pods }).priority(); got != tt.want {
				t.Errorf("priority %d, want %d", got, tt.want)
			}
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	limiter, last := retries(), time.Duration(0)
	for range 100 {
		last = limiter.When(reconcile.Request{})
	}
	if last != lastRetry {
		t.Errorf("retry after %s, want %s", last, lastRetry)
	}
}

func TestOwnPushersRefusalIsItsChannels(t *testing.T) {
	r := roundOf(func(r *round) {
		r.refusal = &compile.Refusal{Reason: v1alpha1.ReasonBrokerRequired, Message: "no broker"}
	})
	if got := channelReports(r)["orders"].refused.Reason; got != "" {
		t.Errorf("a Channel that joined is refused: %s", got)
	}
	r.pusher.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Channel", Name: "edge", Controller: new(true)}}
	if got := channelReports(r)["orders"].refused.Reason; got != v1alpha1.ReasonBrokerRequired {
		t.Errorf("the owner's refusal is %q, want the Pusher's", got)
	}
}

// Nobody could be asked: what was last known of Ready stays, and nothing is invented.
func TestReadyIsKeptWhileNobodyAnswers(t *testing.T) {
	report := channelReports(roundOf(func(r *round) { r.pods = []podView{silent("a")} }))["orders"]
	for status, want := range map[metav1.ConditionStatus]string{
		metav1.ConditionTrue:  "True/Ready",
		metav1.ConditionFalse: "Unknown/StatusUnreachable",
		"":                    "Unknown/StatusUnreachable",
	} {
		ch := &v1alpha1.Channel{ObjectMeta: metav1.ObjectMeta{Generation: 5}}
		if status != "" {
			verdict{status, v1alpha1.ReasonReady, ""}.set(&ch.Status.Conditions, v1alpha1.ConditionReady, 4)
		}
		out := channelStatus(ch, place{pusher: "edge"}, &report)
		c := meta.FindStatusCondition(out.Conditions, v1alpha1.ConditionReady)
		if got := string(c.Status) + "/" + c.Reason; got != want || c.ObservedGeneration != 5 {
			t.Errorf("Ready was %q: now %s of generation %d, want %s of 5", status, got, c.ObservedGeneration, want)
		}
	}
}

// A report of another generation says nothing: what stands in the status stays.
func TestWithoutReportTheStatusStays(t *testing.T) {
	ch := &v1alpha1.Channel{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders", UID: "o", Generation: 5}}
	report := channelReports(roundOf(nil))["orders"]
	ch.Status = channelStatus(ch, place{pusher: "edge"}, &report)
	ch.Generation = 6
	out := channelStatus(ch, place{pusher: "edge"}, nil)
	if c := meta.FindStatusCondition(out.Conditions, v1alpha1.ConditionApplied); c.ObservedGeneration != 5 || out.Connections != 2 {
		t.Errorf("observedGeneration %d and %d connections, want those of generation 5", c.ObservedGeneration, out.Connections)
	}
	fresh := channelStatus(&v1alpha1.Channel{}, place{pusher: "edge"}, nil)
	if c := meta.FindStatusCondition(fresh.Conditions, v1alpha1.ConditionAccepted); c == nil || c.Status != metav1.ConditionUnknown {
		t.Errorf("a Channel that nothing is known of: %+v, want Unknown", c)
	}
}

// Placing and accepting are two things: what a Channel refers to is no better
// because its Pusher cannot be applied, and no worse once there is a place.
func TestAcceptedIsNotGuessed(t *testing.T) {
	ch := &v1alpha1.Channel{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders", UID: "o", Generation: 5}}
	failed := place{pusher: "orders", failure: &verdict{metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, "no"}}
	report := channelReports(roundOf(func(r *round) {
		r.compiled.Refused = map[string]compile.Refusal{"orders": {Reason: v1alpha1.ReasonSecretNotFound}}
	}))["orders"]
	accepted := func(s v1alpha1.ChannelStatus) string {
		c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionAccepted)
		return short(verdict{c.Status, c.Reason, c.Message})
	}
	if got := accepted(channelStatus(ch, failed, nil)); got != "Unknown/Pending" {
		t.Errorf("nothing compiled and not applied: %s", got)
	}
	ch.Status = channelStatus(ch, failed, &report)
	if got := accepted(ch.Status); got != "False/SecretNotFound" {
		t.Errorf("refused and not applied: %s", got)
	}
	if got := accepted(channelStatus(ch, failed, nil)); got != "False/SecretNotFound" {
		t.Errorf("refused before a restart and not applied: %s", got)
	}
	ch.Status = channelStatus(ch, place{refusal: &compile.Refusal{Reason: v1alpha1.ReasonPusherNotFound}}, nil)
	if got := accepted(channelStatus(ch, place{pusher: "edge"}, nil)); got != "Unknown/Pending" {
		t.Errorf("its Pusher came into being: %s", got)
	}
}

func TestReportsOfOneChannelDoNotDependOnAnother(t *testing.T) {
	before := channelReports(roundOf(nil))["orders"]
	after := channelReports(roundOf(func(r *round) {
		r.channels = append(r.channels, v1alpha1.Channel{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "news", Generation: 1}})
		r.compiled.Settings.Revision = "newer"
		r.compiled.Settings.Channels = append(r.compiled.Settings.Channels, settings.Channel{Name: "news", Revision: "n"})
	}))["orders"]
	if before != after {
		t.Errorf("report changed from %+v to %+v", before, after)
	}
}
