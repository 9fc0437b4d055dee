// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/jwks"
	"github.com/klaxon-dev/klaxon/controllers/keys"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// gathered is all that one round reads before it decides anything.
type gathered struct {
	pusher     *v1alpha1.Pusher
	channels   []v1alpha1.Channel
	secrets    compile.Secrets
	keySet     func(url string) (json.RawMessage, error)
	issuer     *settings.ServiceAccountIssuer
	adminToken string
	seed       []byte
	deployment *appsv1.Deployment  // nil when there is none
	pods       []corev1.Pod        // those that are not ending
	brokerSet  *appsv1.StatefulSet // nil when there is none
	brokerPods []corev1.Pod        // those that are ending, too
	now        time.Time
}

// gatherer reads what a Pusher's round needs.
type gatherer struct {
	// Static.
	client   client.Client
	live     client.Reader // the API server itself
	own      client.Reader // cached metadata of the operator's own Secrets
	offered  *offeredSecrets
	identity *identity
	jwks     *jwks.Source

	mu sync.Mutex
	// Guarded by mu.
	secretsRead map[types.NamespacedName]ownSecret
}

// ownSecret is a value as a version of its Secret held it.
type ownSecret struct {
	version string
	value   []byte
}

func (g *gatherer) identityKnown() bool {
	_, settled := g.identity.current()
	return settled
}

func (g *gatherer) gather(ctx context.Context, p *v1alpha1.Pusher) (*gathered, error) {
	out := &gathered{pusher: p, now: time.Now()}
	var err error
	if out.issuer, err = g.knownIssuer(ctx, p); err != nil {
		return nil, err
	}
	out.keySet = g.keySets(ctx, p)
	if out.channels, err = g.channels(ctx, p); err != nil {
		return nil, err
	}
	if out.secrets, err = g.offered.lookup(ctx, p, out.channels); err != nil {
		return nil, err
	}
	token, err := g.secret(ctx, p, render.AdminSecret(p.Name), render.AdminTokenKey)
	if err != nil {
		return nil, err
	}
	if out.adminToken = string(token); token == nil {
		out.adminToken = base64.RawURLEncoding.EncodeToString(keys.NewSeed())
	}
	if out.seed, err = g.secret(ctx, p, render.KeysSecret(p.Name), render.SeedKey); err != nil {
		return nil, err
	}
	if out.seed == nil {
		out.seed = keys.NewSeed()
	}
	if out.deployment, err = owned(ctx, g.client, p, render.DeploymentName(p.Name), &appsv1.Deployment{}); err != nil {
		return nil, err
	}
	if out.brokerSet, err = owned(ctx, g.client, p, render.BrokerName(p.Name), &appsv1.StatefulSet{}); err != nil {
		return nil, err
	}
	if out.brokerPods, err = g.pods(ctx, p, render.BrokerSelector(p.Name)); err != nil {
		return nil, err
	}
	all, err := g.pods(ctx, p, render.Selector(p.Name))
	for i := range all {
		if pod := &all[i]; pod.DeletionTimestamp.IsZero() && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
			out.pods = append(out.pods, *pod)
		}
	}
	return out, err
}

// channels returns the Channels that p serves: its owner, or those that name it.
func (g *gatherer) channels(ctx context.Context, p *v1alpha1.Pusher) ([]v1alpha1.Channel, error) {
	if owner := ownerChannel(p); owner != nil {
		ch := &v1alpha1.Channel{}
		err := g.client.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: owner.Name}, ch)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("get Channel %s: %w", owner.Name, err)
		}
		if ch.UID != owner.UID || ch.Spec.PusherRef != nil || !ch.DeletionTimestamp.IsZero() {
			return nil, nil
		}
		return []v1alpha1.Channel{*ch}, nil
	}
	list := &v1alpha1.ChannelList{}
	if err := g.client.List(ctx, list, client.InNamespace(p.Namespace), client.MatchingFields{indexPusherRef: p.Name}); err != nil {
		return nil, fmt.Errorf("list Channels of Pusher %s: %w", p.Name, err)
	}
	staying := list.Items[:0]
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp.IsZero() {
			staying = append(staying, list.Items[i])
		}
	}
	return staying, nil
}

// ownerChannel is the Channel that a Pusher was made for, nil when there is
// none: who else controls a Pusher made it for whichever Channels name it.
func ownerChannel(p *v1alpha1.Pusher) *metav1.OwnerReference {
	owner := metav1.GetControllerOf(p)
	if owner == nil || owner.Kind != "Channel" {
		return nil
	}
	if gv, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || gv.Group != v1alpha1.GroupVersion.Group {
		return nil
	}
	return owner
}

// secret returns a value that the operator keeps in a Secret of the Pusher's, nil
// when that does not hold any. A Secret of somebody else is never read.
func (g *gatherer) secret(ctx context.Context, p *v1alpha1.Pusher, name, at string) ([]byte, error) {
	key := types.NamespacedName{Namespace: p.Namespace, Name: name}
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := g.own.Get(ctx, key, meta)
	if err == nil {
		if known, ok := g.known(key); ok && known.version == meta.ResourceVersion {
			return known.value, nil
		}
	} else if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("get Secret %s: %w", key.Name, err)
	}
	secret := &corev1.Secret{}
	err = g.live.Get(ctx, key, secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("get Secret %s: %w", key.Name, err)
	}
	if err == nil && heldBy(secret, p, objectRef{"Secret", key}) == nil {
		if value := secret.Data[at]; len(value) >= settings.MinSecretBytes {
			g.know(key, ownSecret{secret.ResourceVersion, value})
			return value, nil
		}
	}
	return nil, nil
}

func (g *gatherer) known(key types.NamespacedName) (ownSecret, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := g.secretsRead[key]
	return c, ok
}

func (g *gatherer) know(key types.NamespacedName, c ownSecret) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secretsRead[key] = c
}

func (g *gatherer) forget(pusher types.NamespacedName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range []string{render.AdminSecret(pusher.Name), render.KeysSecret(pusher.Name)} {
		delete(g.secretsRead, types.NamespacedName{Namespace: pusher.Namespace, Name: name})
	}
}

// owned returns an object of the Pusher's, nil when there is none.
func owned[T client.Object](ctx context.Context, from client.Client, p *v1alpha1.Pusher, name string, object T) (none T, err error) {
	err = from.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("get %T %s: %w", object, name, err)
	}
	if !metav1.IsControlledBy(object, p) {
		return none, nil
	}
	return object, nil
}

func (g *gatherer) pods(ctx context.Context, p *v1alpha1.Pusher, selector labels.Set) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := g.client.List(ctx, list, client.InNamespace(p.Namespace), client.MatchingLabels(selector)); err != nil {
		return nil, fmt.Errorf("list pods of Pusher %s: %w", p.Name, err)
	}
	// The cache lists in any order; what is said of the first must not change with it.
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// tokenSHA256 is what the settings say of the admin credential.
func tokenSHA256(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
