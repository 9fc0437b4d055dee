// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// store is a reader of Secrets that counts what is asked of it.
type store struct {
	client.Reader
	secrets         map[string]*corev1.Secret
	metadata, whole int
}

func (s *store) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	found := s.secrets[key.Name]
	switch into := into.(type) {
	case *metav1.PartialObjectMetadata:
		s.metadata++
		if found != nil {
			into.ObjectMeta = found.ObjectMeta
		}
	case *corev1.Secret:
		s.whole++
		if found != nil {
			*into = *found
		}
	}
	if found == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	}
	return nil
}

func secretOf(name string, labels map[string]string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: labels},
		Data:       map[string][]byte{"key": []byte("content")},
	}
}

// A Secret that is not offered is never read, only its metadata, and seldom.
func TestHiddenSecretsAreNotRead(t *testing.T) {
	now := time.Unix(1000, 0)
	live := &store{secrets: map[string]*corev1.Secret{"hidden": secretOf("hidden", nil)}}
	o := newOfferedSecrets(&store{}, live)
	o.now = func() time.Time { return now }
	for range 100 {
		hidden, err := o.get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "hidden"})
		if err != nil || hidden == nil || len(hidden.Data) != 0 {
			t.Fatalf("got %+v, %v; want metadata alone", hidden, err)
		}
		missing, err := o.get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "missing"})
		if err != nil || missing != nil {
			t.Fatalf("got %+v, %v; want nothing", missing, err)
		}
	}
	if live.whole != 0 || live.metadata != 2 {
		t.Errorf("read %d Secrets and %d times metadata, want 0 and 2", live.whole, live.metadata)
	}
	now = now.Add(absenceKept + time.Second)
	if _, err := o.get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "missing"}); err != nil || live.metadata != 3 {
		t.Errorf("metadata read %d times, want once more", live.metadata)
	}
	if len(o.absent) != 1 {
		t.Errorf("%d absences are remembered, want the outdated one dropped", len(o.absent))
	}
}

// A Secret that was just offered counts, though the cache is behind.
func TestOfferedSecretIsReadBehindTheCache(t *testing.T) {
	live := &store{secrets: map[string]*corev1.Secret{"new": secretOf("new", map[string]string{v1alpha1.LabelAllow: "true"})}}
	got, err := newOfferedSecrets(&store{}, live).get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "new"})
	if err != nil || string(got.Data["key"]) != "content" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestHeldBy(t *testing.T) {
	pusher := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge", UID: "now"}}
	ref := objectRef{"Service", types.NamespacedName{Namespace: "shop", Name: "edge-clients"}}
	owned := func(kind, name string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, UID: uid, Controller: new(true)}}
	}
	ours := map[string]string{v1alpha1.LabelPusher: "edge"}
	for name, tt := range map[string]struct {
		meta    metav1.ObjectMeta
		want    string
		leaving bool
	}{
		"ours":           {metav1.ObjectMeta{OwnerReferences: owned("Pusher", "edge", "now")}, "", false},
		"our orphan":     {metav1.ObjectMeta{Labels: ours}, "", false},
		"nobody's":       {metav1.ObjectMeta{}, "Service edge-clients exists and is controlled by somebody else: delete or rename it", false},
		"another's":      {metav1.ObjectMeta{Labels: ours, OwnerReferences: owned("Ingress", "web", "x")}, "Service edge-clients exists and is controlled by Ingress web: delete or rename it", false},
		"our forerunner": {metav1.ObjectMeta{Labels: ours, OwnerReferences: owned("Pusher", "edge", "then")}, "Service edge-clients of a deleted Pusher edge is not gone yet", true},
	} {
		t.Run(name, func(t *testing.T) {
			held := heldBy(&corev1.Service{ObjectMeta: tt.meta}, pusher, ref)
			switch {
			case tt.want == "" && held != nil:
				t.Errorf("held: %v", held)
			case tt.want != "" && (held == nil || held.Error() != tt.want || held.leaving != tt.leaving):
				t.Errorf("got %v, want %q, leaving %v", held, tt.want, tt.leaving)
			}
		})
	}
}
