// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// What is not named here would be remembered for ever when its Pusher is gone.
func TestEveryObjectIsForgotten(t *testing.T) {
	p := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge"}}
	parts := make([][]byte, settings.MaxParts)
	objects := render.Objects(render.Input{
		Pusher: p, Broker: "b", Settings: &settings.Packed{Parts: parts}, Managed: &render.ManagedBroker{Spec: &v1alpha1.ManagedBrokerSpec{}},
	})
	refs := objectRefs(types.NamespacedName{Namespace: "shop", Name: "edge"})
	for _, o := range objects {
		ref := objectRef{*o.GetKind(), types.NamespacedName{Namespace: *o.GetNamespace(), Name: *o.GetName()}}
		if !slices.Contains(refs, ref) {
			t.Errorf("%s %s is not forgotten", ref.kind, ref.Name)
		}
	}
	if len(objects) != len(refs) {
		t.Errorf("%d objects, %d references", len(objects), len(refs))
	}
}
