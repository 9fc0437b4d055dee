// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
)

// absenceKept is how long it is believed that a Secret is missing or not
// offered. The label's arrival is seen at once; only the difference between
// missing and not offered may be that old.
const absenceKept = 10 * time.Second

// offeredSecrets finds the Secrets that Channels refer to. The cache holds only
// those that carry the label push.klaxon.dev/allow; of any other it asks the
// API server for the metadata alone, and seldom.
type offeredSecrets struct {
	// Static.
	cached client.Reader
	live   client.Reader
	now    func() time.Time

	mu sync.Mutex
	// Guarded by mu.
	absent map[types.NamespacedName]absence
}

// absence is a Secret that is not offered, and maybe does not exist.
type absence struct {
	until  time.Time
	secret *corev1.Secret // metadata, or nil: there is none
}

func newOfferedSecrets(cached, live client.Reader) *offeredSecrets {
	return &offeredSecrets{cached: cached, live: live, now: time.Now, absent: map[types.NamespacedName]absence{}}
}

// lookup reads all Secrets that the Pusher and its Channels refer to.
func (o *offeredSecrets) lookup(ctx context.Context, p *v1alpha1.Pusher, channels []v1alpha1.Channel) (compile.Secrets, error) {
	names := compile.PusherSecretNames(p)
	for i := range channels {
		names = append(names, compile.SecretNames(&channels[i])...)
	}
	found := map[types.NamespacedName]*corev1.Secret{}
	for _, name := range names {
		key := types.NamespacedName{Namespace: p.Namespace, Name: name}
		if _, ok := found[key]; ok {
			continue
		}
		secret, err := o.get(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("get Secret %s: %w", name, err)
		}
		found[key] = secret
	}
	return func(namespace, name string) *corev1.Secret {
		return found[types.NamespacedName{Namespace: namespace, Name: name}]
	}, nil
}

func (o *offeredSecrets) get(ctx context.Context, key types.NamespacedName) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := o.cached.Get(ctx, key, secret)
	if err == nil {
		return secret, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, err
	}
	if known, ok := o.known(key); ok {
		return known, nil
	}
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err = o.live.Get(ctx, key, meta)
	switch {
	case apierrors.IsNotFound(err):
		o.believe(key, nil)
		return nil, nil
	case err != nil:
		return nil, err
	case meta.Labels[v1alpha1.LabelAllow] == "true": // the cache is behind
		return secret, client.IgnoreNotFound(o.live.Get(ctx, key, secret))
	}
	hidden := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: meta.Labels}}
	o.believe(key, hidden)
	return hidden, nil
}

func (o *offeredSecrets) known(key types.NamespacedName) (*corev1.Secret, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, ok := o.absent[key]
	return a.secret, ok && o.now().Before(a.until)
}

// believe remembers an absence, and drops those that are out of date.
func (o *offeredSecrets) believe(key types.NamespacedName, secret *corev1.Secret) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	for k, a := range o.absent {
		if now.After(a.until) {
			delete(o.absent, k)
		}
	}
	o.absent[key] = absence{until: now.Add(absenceKept), secret: secret}
}
