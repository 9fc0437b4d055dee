// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/keys"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// round is what one reconcile of a Pusher has decided and found out. Status is
// computed from it alone.
type round struct {
	pusher     *v1alpha1.Pusher
	channels   []v1alpha1.Channel
	compiled   compile.Result
	refusal    *compile.Refusal // why the Pusher is not accepted
	failure    *verdict         // why its objects are not what they should be
	deployment *appsv1.Deployment
	generation int64 // of the Deployment as it was last applied
	pods       []podView

	brokerKind       string         // as status.broker has it
	managed          *managedBroker // the broker to run; nil: none
	brokerGeneration int64          // of its StatefulSet as it was last applied
	broker           *brokerView    // nil: none
}

// podView is a pod as it was seen in a round.
type podView struct {
	name   string
	uid    types.UID
	ready  bool
	reason string // why it is not ready, if it says so
	// accepting: the clients Service leads to it.
	accepting bool
	status    *settings.Status // nil when it could not be asked
	err       error            // why it could not be asked
}

// behind says whether a pod serves other settings than those of a revision. One
// that refuses the admin credential does: it knows the settings' earlier one.
func (p podView) behind(wanted string) bool {
	return p.status != nil && p.status.Revision != wanted || errors.Is(p.err, ErrUnauthorized)
}

// decide compiles the settings and judges the Pusher.
func decide(in *gathered) round {
	r := round{pusher: in.pusher, channels: in.channels, deployment: in.deployment}
	input := compile.Input{
		Pusher: in.pusher, Channels: in.channels, Secrets: in.secrets,
		KeySet: in.keySet, Issuer: in.issuer, AdminTokenSHA256: tokenSHA256(in.adminToken), SessionKey: keys.Derive(in.seed, "session key", settings.SessionKeyBytes),
	}
	var refusal *compile.Refusal
	if r.brokerKind, r.managed, refusal = chooseBroker(in); r.managed != nil {
		input.Managed = r.managed.way
	}
	r.compiled = compile.Compile(input)
	if r.refusal = r.compiled.Pusher; refusal != nil {
		r.refusal = refusal
	}
	return r
}

// changeable says whether the operator may change what runs.
func (r *round) changeable() bool {
	return r.refusal == nil && !r.pusher.Spec.Paused
}

// wanted is the revision of the settings that pods should serve; empty when
// there are none to serve.
func (r *round) wanted() string {
	if r.compiled.Settings == nil {
		return ""
	}
	return r.compiled.Settings.Revision
}

// unknownKeys says whether a pod has met a token of a key that it does not know.
func (r *round) unknownKeys() bool {
	for _, p := range r.pods {
		if p.status != nil && len(p.status.UnknownKeyIDs) > 0 {
			return true
		}
	}
	return false
}

// unknownURLs are those of issuers whose keys are not all known.
func (r *round) unknownURLs() (urls []string) {
	for _, p := range r.pods {
		if p.status != nil {
			urls = append(urls, p.status.UnknownKeyURLs...)
		}
	}
	return urls
}

// silent says whether a ready pod gave no answer, which may have taken long.
func (r *round) silent() bool {
	for _, p := range r.pods {
		if p.ready && p.status == nil && !errors.Is(p.err, ErrUnauthorized) {
			return true
		}
	}
	return false
}

// priority of the next round in the queue: one that only looks again, or has to
// wait for a pod that does not answer, lets all go first that have work to do.
func (r *round) priority() *int {
	if r.current() || r.silent() {
		return new(handler.LowPriority)
	}
	return new(0)
}

// current says whether every pod that could be asked serves what it should,
// and every ready pod could be asked.
func (r *round) current() bool {
	for _, p := range r.pods {
		if p.status == nil && p.ready || p.behind(r.wanted()) {
			return false
		}
	}
	return true
}
