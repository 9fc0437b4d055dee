// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

const (
	identityRefresh  = 10 * time.Minute // between two regular reads of the keys
	identityRetry    = 5 * time.Second  // after a failed read while no keys are known
	identityGap      = 10 * time.Second // least time between reads that pods ask for
	identityPatience = time.Minute      // how long settings wait for the first keys
	identityTimeout  = 10 * time.Second // of one read
	maxIdentity      = 1 << 20          // bytes of one answer
)

// KeySource reads how the cluster's ServiceAccount tokens are verified.
type KeySource interface {
	// ServiceAccountIssuer returns the issuer with its current keys.
	ServiceAccountIssuer(ctx context.Context) (*settings.ServiceAccountIssuer, error)
}

// identity knows the cluster's ServiceAccount issuer. It reads the keys
// regularly, and at once, within a bound, when a pod has met an unknown one. A
// failed read keeps what was known; see gatherer.knownIssuer for a first one.
type identity struct {
	// Static.
	source KeySource
	wake   chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	issuer   *settings.ServiceAccountIssuer
	settled  bool // the first keys are known, or were waited for long enough
	onChange func()
}

func newIdentity(source KeySource) *identity {
	return &identity{source: source, wake: make(chan struct{}, 1)}
}

// current returns the issuer, nil when none is known; false while it is worth waiting.
func (i *identity) current() (*settings.ServiceAccountIssuer, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.issuer, i.settled
}

// refresh asks for the keys to be read soon.
func (i *identity) refresh() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// subscribe sets what is called after a change.
func (i *identity) subscribe(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.onChange = f
}

// Start reads the keys until ctx ends. It is the manager's to call.
func (i *identity) Start(ctx context.Context) error {
	log := logf.FromContext(ctx).WithName("identity")
	started, failing := time.Now(), false
	for {
		err := i.read(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end was asked for
		case err != nil && !failing:
			log.Error(err, "Cannot read the cluster's ServiceAccount keys; what was known stays in use")
		case err == nil && failing:
			log.Info("The cluster's ServiceAccount keys can be read again")
		}
		failing = err != nil
		wait, known := identityRefresh, i.settle(time.Since(started) > identityPatience)
		if !known {
			wait = identityRetry
		}
		if !i.sleep(ctx, wait) {
			return nil
		}
	}
}

// sleep waits for the regular time, or for a wish, but never less than the gap.
func (i *identity) sleep(ctx context.Context, regular time.Duration) bool {
	gap, timer := time.After(min(identityGap, regular)), time.NewTimer(regular)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-i.wake:
	}
	select {
	case <-ctx.Done():
		return false
	case <-gap:
		return true
	}
}

func (i *identity) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	issuer, err := i.source.ServiceAccountIssuer(ctx)
	if err != nil {
		return err
	}
	i.mu.Lock()
	changed := i.issuer == nil || i.issuer.Issuer != issuer.Issuer || string(i.issuer.JWKS) != string(issuer.JWKS)
	i.issuer, i.settled = issuer, true
	notify := i.onChange
	i.mu.Unlock()
	if changed && notify != nil {
		notify()
	}
	return nil
}

// settle gives up waiting for the first keys if it is time. It returns whether keys are known.
func (i *identity) settle(waitedEnough bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.settled = i.settled || waitedEnough
	return i.issuer != nil
}

// apiServerKeys reads the issuer's discovery documents from the API server
// (OpenID Connect Discovery 1.0 section 4; RFC 7517). Every ServiceAccount may,
// by the ClusterRole system:service-account-issuer-discovery.
type apiServerKeys struct {
	client *http.Client
	host   *url.URL
}

// NewKeySource returns a KeySource that asks the API server of config.
func NewKeySource(config *rest.Config) (KeySource, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client for ServiceAccount keys: %w", err)
	}
	host, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("client for ServiceAccount keys: %w", err)
	}
	return &apiServerKeys{client: client, host: host}, nil
}

func (k *apiServerKeys) ServiceAccountIssuer(ctx context.Context) (*settings.ServiceAccountIssuer, error) {
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := k.get(ctx, "/.well-known/openid-configuration", &discovery); err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := k.get(ctx, "/openid/v1/jwks", &set); err != nil {
		return nil, err
	}
	if discovery.Issuer == "" || len(set.Keys) == 0 {
		return nil, errors.New("read ServiceAccount keys: the API server names no issuer or no keys")
	}
	// Several API servers may list the same keys in different orders.
	slices.SortFunc(set.Keys, func(a, b json.RawMessage) int { return cmp.Compare(string(a), string(b)) })
	jwks, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("read ServiceAccount keys: %w", err)
	}
	return &settings.ServiceAccountIssuer{Issuer: discovery.Issuer, JWKS: jwks}, nil
}

func (k *apiServerKeys) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.host.JoinPath(path).String(), nil)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("read %s: the API server answers %s", path, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxIdentity)).Decode(into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
