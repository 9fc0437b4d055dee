// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// adminTokenBytes of randomness make the admin credential.
const adminTokenBytes = 32

// gathered is all that one round reads before it decides anything.
type gathered struct {
	pusher     *v1alpha1.Pusher
	channels   []v1alpha1.Channel
	secrets    compile.Secrets
	issuer     *settings.ServiceAccountIssuer
	adminToken string
	deployment *appsv1.Deployment // nil when there is none
	pods       []corev1.Pod       // those that are not ending
}

// gatherer reads what a Pusher's round needs.
type gatherer struct {
	// Static.
	client   client.Client
	live     client.Reader // the API server itself
	own      client.Reader // cached metadata of the operator's own Secrets
	offered  *offeredSecrets
	identity *identity

	mu sync.Mutex
	// Guarded by mu.
	credentials map[types.NamespacedName]credential
}

// credential is an admin credential as a version of its Secret held it.
type credential struct {
	version string
	token   string
}

func (g *gatherer) identityKnown() bool {
	_, settled := g.identity.current()
	return settled
}

func (g *gatherer) gather(ctx context.Context, p *v1alpha1.Pusher) (*gathered, error) {
	out := &gathered{pusher: p}
	var err error
	if out.issuer, err = g.knownIssuer(ctx, p); err != nil {
		return nil, err
	}
	if out.channels, err = g.channels(ctx, p); err != nil {
		return nil, err
	}
	if out.secrets, err = g.offered.lookup(ctx, p, out.channels); err != nil {
		return nil, err
	}
	if out.adminToken, err = g.credential(ctx, p); err != nil {
		return nil, err
	}
	if out.deployment, err = g.deployment(ctx, p); err != nil {
		return nil, err
	}
	out.pods, err = g.pods(ctx, p)
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

// credential returns the Pusher's admin credential, or a new one when its
// Secret does not hold any. A Secret of somebody else is never read.
func (g *gatherer) credential(ctx context.Context, p *v1alpha1.Pusher) (string, error) {
	key := types.NamespacedName{Namespace: p.Namespace, Name: render.AdminSecret(p.Name)}
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := g.own.Get(ctx, key, meta)
	if err == nil {
		if known, ok := g.known(key); ok && known.version == meta.ResourceVersion {
			return known.token, nil
		}
	} else if !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("get Secret %s: %w", key.Name, err)
	}
	secret := &corev1.Secret{}
	err = g.live.Get(ctx, key, secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("get Secret %s: %w", key.Name, err)
	}
	if err == nil && heldBy(secret, p, objectRef{"Secret", key}) == nil {
		if token := secret.Data[render.AdminTokenKey]; len(token) >= settings.MinSecretBytes {
			g.know(key, credential{secret.ResourceVersion, string(token)})
			return string(token), nil
		}
	}
	random := make([]byte, adminTokenBytes)
	rand.Read(random)
	return base64.RawURLEncoding.EncodeToString(random), nil
}

func (g *gatherer) known(key types.NamespacedName) (credential, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := g.credentials[key]
	return c, ok
}

func (g *gatherer) know(key types.NamespacedName, c credential) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.credentials[key] = c
}

func (g *gatherer) forget(pusher types.NamespacedName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.credentials, types.NamespacedName{Namespace: pusher.Namespace, Name: render.AdminSecret(pusher.Name)})
}

func (g *gatherer) deployment(ctx context.Context, p *v1alpha1.Pusher) (*appsv1.Deployment, error) {
	d := &appsv1.Deployment{}
	err := g.client.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: render.DeploymentName(p.Name)}, d)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get Deployment %s: %w", render.DeploymentName(p.Name), err)
	}
	if !metav1.IsControlledBy(d, p) {
		return nil, nil
	}
	return d, nil
}

func (g *gatherer) pods(ctx context.Context, p *v1alpha1.Pusher) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := g.client.List(ctx, list, client.InNamespace(p.Namespace), client.MatchingLabels(render.Selector(p.Name))); err != nil {
		return nil, fmt.Errorf("list pods of Pusher %s: %w", p.Name, err)
	}
	alive := list.Items[:0]
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.DeletionTimestamp.IsZero() && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
			alive = append(alive, *pod)
		}
	}
	// The cache lists in any order; what is said of the first must not change with it.
	slices.SortFunc(alive, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return alive, nil
}

// tokenSHA256 is what the settings say of the admin credential.
func tokenSHA256(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// sessionKey follows from the admin credential, which the replicas do not know and
// which stays the same.
func sessionKey(token string) []byte {
	key, err := hkdf.Key(sha256.New, []byte(token), nil, "klaxon session key", settings.SessionKeyBytes)
	if err != nil {
		panic("controllers: " + err.Error()) // only for lengths that are too large
	}
	return key
}
