// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/render"
)

// fieldOwner owns what the operator applies.
const fieldOwner = client.FieldOwner("klaxon")

// applier applies objects server-side. It never seizes an object that is not
// its owner's, and it remembers what it applied, so that a reconcile with
// nothing to change asks nothing of the API server.
type applier struct {
	// Static.
	client  client.Client
	live    client.Reader // the API server itself
	secrets client.Reader // cached metadata of the operator's own Secrets

	mu sync.Mutex
	// Guarded by mu.
	applied map[objectRef]stamp
}

type objectRef struct {
	kind string
	types.NamespacedName
}

// stamp tells whether an object is still as it was when it was applied.
type stamp struct {
	desired [sha256.Size]byte
	found   fingerprint
}

// fingerprint changes with everything of an object that an apply can set. An
// object without a generation changes its resourceVersion with every write.
type fingerprint struct {
	uid        types.UID
	generation int64
	version    string
	meta       [sha256.Size]byte
}

func newApplier(c client.Client, live, secrets client.Reader) *applier {
	return &applier{client: c, live: live, secrets: secrets, applied: map[objectRef]stamp{}}
}

// heldError says that an object exists and is not its would-be owner's.
type heldError struct {
	kind, name string
	// leaving: it belongs to a former object of the owner's name and is on its way out.
	leaving bool
	holder  string
}

func (e *heldError) Error() string {
	if e.leaving {
		return fmt.Sprintf("%s %s of a deleted %s is not gone yet", e.kind, e.name, e.holder)
	}
	return fmt.Sprintf("%s %s exists and is controlled by %s: delete or rename it", e.kind, e.name, e.holder)
}

// apply makes one object of owner what it should be. It returns a *heldError
// when the object is not owner's, and the API server's error otherwise.
func (a *applier) apply(ctx context.Context, owner client.Object, obj render.Object) error {
	ref := objectRef{*obj.GetKind(), types.NamespacedName{Namespace: *obj.GetNamespace(), Name: *obj.GetName()}}
	desired, err := json.Marshal(obj)
	if err != nil {
		return fmt.Errorf("marshal %s %s: %w", ref.kind, ref.Name, err)
	}
	sum := sha256.Sum256(desired)
	current, err := a.current(ctx, obj, ref)
	if err != nil {
		return err
	}
	if current != nil {
		if held := heldBy(current, owner, ref); held != nil {
			return held
		}
		if a.remembered(ref) == (stamp{sum, fingerprintOf(current)}) {
			return nil
		}
	}
	if err := a.client.Apply(ctx, obj, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %s %s: %w", ref.kind, ref.Name, err)
	}
	after, err := metadataOf(obj)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", ref.kind, ref.Name, err)
	}
	a.remember(ref, stamp{sum, fingerprintOf(after)})
	return nil
}

// current reads an object: from the cache, or, when the cache holds none, live,
// because the caches see only objects that carry our labels. Nil: there is none.
func (a *applier) current(ctx context.Context, obj render.Object, ref objectRef) (client.Object, error) {
	cached, found := a.client.(client.Reader), client.Object(nil)
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(schema.FromAPIVersionAndKind(*obj.GetAPIVersion(), ref.kind))
	switch ref.kind {
	case "Pusher":
		found = &v1alpha1.Pusher{}
	case "Deployment":
		found = &appsv1.Deployment{}
	case "StatefulSet":
		found = &appsv1.StatefulSet{}
	case "Secret":
		cached, found = a.secrets, meta
	default:
		found = meta
	}
	err := cached.Get(ctx, ref.NamespacedName, found)
	if apierrors.IsNotFound(err) {
		found = meta
		err = a.live.Get(ctx, ref.NamespacedName, found)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", ref.kind, ref.Name, err)
	}
	return found, nil
}

// heldBy says who holds an object that owner may not touch; nil when it may:
// the object is owner's, or an orphan that still carries the operator's labels.
func heldBy(current, owner client.Object, ref objectRef) *heldError {
	controller := metav1.GetControllerOf(current)
	switch {
	case controller != nil && controller.UID == owner.GetUID():
		return nil
	case controller == nil && current.GetLabels()[v1alpha1.LabelPusher] == render.Labels(owner.GetName())[v1alpha1.LabelPusher]:
		return nil
	case controller == nil:
		return &heldError{kind: ref.kind, name: ref.Name, holder: "somebody else"}
	}
	kind := "Pusher"
	if ref.kind == "Pusher" {
		kind = "Channel"
	}
	return &heldError{
		kind: ref.kind, name: ref.Name, holder: controller.Kind + " " + controller.Name,
		leaving: controller.Kind == kind && controller.Name == owner.GetName(),
	}
}

// forget drops what is remembered of a Pusher's objects.
func (a *applier) forget(refs ...objectRef) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ref := range refs {
		delete(a.applied, ref)
	}
}

// generation is that of an object as it was last applied; 0 if it never was.
func (a *applier) generation(ref objectRef) int64 {
	return a.remembered(ref).found.generation
}

func (a *applier) remembered(ref objectRef) stamp {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied[ref]
}

func (a *applier) remember(ref objectRef, s stamp) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.applied[ref] = s
}

func fingerprintOf(o client.Object) fingerprint {
	f := fingerprint{uid: o.GetUID(), generation: o.GetGeneration()}
	if f.generation == 0 {
		f.version = o.GetResourceVersion()
	}
	b, err := json.Marshal([]any{o.GetLabels(), o.GetOwnerReferences()})
	if err != nil {
		panic(fmt.Sprintf("controllers: labels and owners cannot be marshalled: %v", err))
	}
	f.meta = sha256.Sum256(b)
	return f
}

// metadataOf reads the metadata of an apply configuration, which an apply fills
// with what the API server answered.
func metadataOf(obj render.Object) (client.Object, error) {
	b, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	meta := &metav1.PartialObjectMetadata{}
	return meta, json.Unmarshal(b, meta)
}
