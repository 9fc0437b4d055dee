// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/jwks"
	"github.com/klaxon-dev/klaxon/controllers/render"
)

// Options are what the operator can be told.
type Options struct {
	// Image of the push server.
	Image string
	// StatusInterval is how often pods that are up to date are asked for their
	// status. Default: 10s.
	StatusInterval time.Duration
	// Namespaces that are watched; empty: all. The manager's cache must have
	// been made with CacheOptions of the same namespaces.
	Namespaces []string
	// Namespace that the operator is in. Empty: it is not in the cluster.
	Namespace string
	// Keys and Status are who is asked for ServiceAccount keys and for pods'
	// status. Default: the API server, and the pods over HTTP.
	Keys KeySource
	// JWKS says where issuers' keys may be fetched from.
	JWKS   jwks.Options
	Status StatusReader
}

// Names of the cache's indexes.
const (
	indexPusherRef = "spec.pusherRef.name"
	indexSecrets   = "secrets"
)

// CacheOptions are the options of a manager's cache that holds no more than the
// controllers need: of Secrets only those that are offered to Channels, of the
// other objects only the operator's own, and nothing of who set which field.
func CacheOptions(namespaces []string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(render.AllSelector())}
	return cache.Options{
		DefaultNamespaces: namespaceConfigs(namespaces),
		DefaultTransform:  cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}:         {Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelAllow: "true"})},
			&corev1.Pod{}:            ours,
			&corev1.Service{}:        ours,
			&corev1.ServiceAccount{}: ours,
			&appsv1.Deployment{}:     ours,
			&appsv1.StatefulSet{}:    ours,

			&policyv1.PodDisruptionBudget{}: ours,
			&networkingv1.NetworkPolicy{}:   ours,
		},
	}
}

func namespaceConfigs(namespaces []string) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	out := map[string]cache.Config{}
	for _, ns := range namespaces {
		out[ns] = cache.Config{}
	}
	return out
}

// Setup adds the controllers to a manager.
func Setup(ctx context.Context, mgr ctrl.Manager, opts Options) error {
	opts, err := withDefaults(opts, mgr.GetConfig())
	if err != nil {
		return err
	}
	own, err := ownSecrets(mgr, opts.Namespaces)
	if err != nil {
		return err
	}
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	keys := newIdentity(opts.Keys)
	if err := mgr.Add(keys); err != nil {
		return fmt.Errorf("add the reader of ServiceAccount keys: %w", err)
	}
	fetched := jwks.New(opts.JWKS)
	if err := mgr.Add(manager.RunnableFunc(fetched.Start)); err != nil {
		return fmt.Errorf("add the reader of issuers' keys: %w", err)
	}
	found, applier := newBoard(), newApplier(mgr.GetClient(), mgr.GetAPIReader(), own)
	told, paced := transitions{mgr.GetEventRecorder("klaxon")}, newCounts()
	channels := &ChannelReconciler{Client: mgr.GetClient(), applier: applier, board: found, events: told, counts: paced, interval: opts.StatusInterval}
	if err := channels.setup(mgr); err != nil {
		return fmt.Errorf("set up the Channel controller: %w", err)
	}
	pushers := &PusherReconciler{
		Client: mgr.GetClient(), applier: applier, board: found, events: told, counts: paced,
		image: opts.Image, namespace: opts.Namespace, interval: opts.StatusInterval,
		rollouts: newRollouts(mgr.GetClient(), opts.Status),
		brokers:  newBrokers(mgr.GetClient(), opts.Status),
		gatherer: &gatherer{
			client: mgr.GetClient(), live: mgr.GetAPIReader(), own: own, identity: keys, jwks: fetched,
			offered:     newOfferedSecrets(mgr.GetClient(), mgr.GetAPIReader()),
			secretsRead: map[namespacedName]ownSecret{},
		},
	}
	if err := pushers.setup(mgr, own); err != nil {
		return fmt.Errorf("set up the Pusher controller: %w", err)
	}
	return nil
}

func withDefaults(opts Options, config *rest.Config) (Options, error) {
	if opts.StatusInterval <= 0 {
		opts.StatusInterval = 10 * time.Second
	}
	if opts.Status == nil {
		opts.Status = NewStatusReader()
	}
	var err error
	if opts.Keys == nil {
		opts.Keys, err = NewKeySource(config)
	}
	return opts, err
}

// ownSecrets is a second cache, because a cache selects the objects of a kind
// in one way: the metadata of the Secrets that the operator makes. What is in
// them is not kept.
func ownSecrets(mgr ctrl.Manager, namespaces []string) (cache.Cache, error) {
	own, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		DefaultNamespaces:    namespaceConfigs(namespaces),
		DefaultLabelSelector: labels.SelectorFromSet(render.AllSelector()),
		DefaultTransform:     cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, fmt.Errorf("make the cache of own Secrets: %w", err)
	}
	if err := mgr.Add(startedFirst{own}); err != nil {
		return nil, fmt.Errorf("add the cache of own Secrets: %w", err)
	}
	return own, nil
}

// startedFirst makes a manager start a cache with its own, before controllers.
type startedFirst struct{ cache.Cache }

// GetCache is how a manager knows a cache.
func (s startedFirst) GetCache() cache.Cache { return s.Cache }

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.Channel{}, indexPusherRef, func(o client.Object) []string {
		if ref := o.(*v1alpha1.Channel).Spec.PusherRef; ref != nil {
			return []string{string(ref.Name)}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index Channels by Pusher: %w", err)
	}
	err = indexer.IndexField(ctx, &v1alpha1.Channel{}, indexSecrets, func(o client.Object) []string {
		return compile.SecretNames(o.(*v1alpha1.Channel))
	})
	if err != nil {
		return fmt.Errorf("index Channels by Secret: %w", err)
	}
	err = indexer.IndexField(ctx, &v1alpha1.Pusher{}, indexSecrets, func(o client.Object) []string {
		return compile.PusherSecretNames(o.(*v1alpha1.Pusher))
	})
	if err != nil {
		return fmt.Errorf("index Pushers by Secret: %w", err)
	}
	return nil
}
