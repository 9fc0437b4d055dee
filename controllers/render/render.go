// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// Object is one object to apply.
type Object interface {
	runtime.ApplyConfiguration
	GetKind() *string
	GetAPIVersion() *string
	GetName() *string
	GetNamespace() *string
}

// Input is everything that objects are rendered from.
type Input struct {
	// Pusher, as the API server stores it: its UID is in the owner references.
	Pusher *v1alpha1.Pusher
	// Image of the push server.
	Image string
	// AdminToken is the value of the admin credential.
	AdminToken string
	// Seed of all keys.
	Seed []byte
	// Settings, packed.
	Settings *settings.Packed
	// Broker changes with the way to the broker. Empty: there is none but the memory
	// of the only pod.
	Broker string
	// Network says who the pods have to do with.
	Network Network
	// Managed is a broker to run. Nil: none.
	Managed *ManagedBroker
}

// Objects returns all objects of a Pusher in the order in which to apply them:
// the settings' parts before the index that names them, and the Deployment,
// which needs all others, last.
func Objects(in Input) []Object {
	out := []Object{serviceAccount(in.Pusher, DeploymentName(in.Pusher.Name), Labels(in.Pusher.Name)), adminSecret(in.Pusher, in.AdminToken), keysSecret(in.Pusher, in.Seed)}
	if in.Managed != nil {
		out = append(out, brokerObjects(in)...)
	}
	for i := len(in.Settings.Parts) - 1; i >= 0; i-- {
		out = append(out, settingsSecret(in.Pusher, in.Settings, i))
	}
	out = append(out, networkPolicies(in)...)
	out = append(out, clientsService(in.Pusher), eventsService(in.Pusher), podsService(in.Pusher))
	if in.Broker != "" {
		// A pod that is not ready is of no use to anybody, and holds up nobody.
		spec := budget(Selector(in.Pusher.Name), policyv1.AlwaysAllow)
		out = append(out, disruptionBudget(in.Pusher, DeploymentName(in.Pusher.Name), Labels(in.Pusher.Name), spec))
	}
	return append(out, deployment(in))
}

// owner makes the Pusher the controller of an object. It does not ask to block
// the owner's deletion, which would take a privilege and serve nobody.
func owner(p *v1alpha1.Pusher) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind("Pusher").
		WithName(p.Name).
		WithUID(p.UID).
		WithController(true)
}
