// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// maxStored bounds what stored settings are unpacked to.
const maxStored = 64 << 20

// stored is what pods that run verify tokens by.
type stored struct {
	accounts *settings.ServiceAccountIssuer // nil: not known
	keySets  map[string]json.RawMessage     // by URL
}

func (s *stored) note(j *settings.JWTIssuer) {
	if j.JWKSURL != "" {
		s.keySets[j.JWKSURL] = j.JWKS
	}
}

// knownIssuer is how the Pusher's pods verify ServiceAccount tokens: by the
// cluster's keys, or, as long as these cannot be read, by those that are in the
// Pusher's settings already. An operator that starts while the keys cannot be
// read must not take their rights from all publishers.
func (g *gatherer) knownIssuer(ctx context.Context, p *v1alpha1.Pusher) (*settings.ServiceAccountIssuer, error) {
	if issuer, _ := g.identity.current(); issuer != nil {
		return issuer, nil
	}
	s, err := g.stored(ctx, p)
	return s.accounts, err
}

// keySets is how the Pusher's pods verify clients' tokens of issuers that publish keys at
// a URL: by these, or, as long as they could not be fetched since the operator has started,
// by those that are in the Pusher's settings already.
func (g *gatherer) keySets(ctx context.Context, p *v1alpha1.Pusher) func(url string) (json.RawMessage, error) {
	read := sync.OnceValues(func() (stored, error) { return g.stored(ctx, p) })
	return func(url string) (json.RawMessage, error) {
		keys, err := g.jwks.Keys(url)
		if err == nil {
			return keys, nil
		}
		if s, failed := read(); failed == nil && s.keySets[url] != nil {
			return s.keySets[url], nil
		}
		return nil, err //nolint:wrapcheck // said to the Channel's author
	}
}

// stored reads the Pusher's settings. What they say counts for this Pusher alone,
// because others may write to its namespace.
func (g *gatherer) stored(ctx context.Context, p *v1alpha1.Pusher) (stored, error) {
	var packed bytes.Buffer
	for i := range settings.MaxParts {
		secret := &corev1.Secret{}
		key := types.NamespacedName{Namespace: p.Namespace, Name: render.SettingsSecret(p.Name, i)}
		err := g.live.Get(ctx, key, secret)
		if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(secret, p) {
			break
		}
		if err != nil {
			return stored{}, fmt.Errorf("get Secret %s: %w", key.Name, err)
		}
		packed.Write(secret.Data[settings.PartFile(i)])
	}
	return storedIn(&packed), nil
}

// storedIn reads packed settings. When they are not whole, nothing is known.
func storedIn(packed io.Reader) (out stored) {
	doc, err := gzip.NewReader(packed)
	if err != nil {
		return out
	}
	doc.Multistream(false) // behind the document may be parts of an earlier, longer one
	var s settings.Settings
	if err := json.NewDecoder(io.LimitReader(doc, maxStored)).Decode(&s); err != nil {
		return out
	}
	out = stored{accounts: s.Pusher.ServiceAccounts, keySets: map[string]json.RawMessage{}}
	for i := range s.Channels {
		for _, j := range s.Channels[i].Clients.JWT {
			out.note(&j)
		}
		for _, p := range s.Channels[i].Publishers.Entries {
			if p.JWT != nil {
				out.note(&p.JWT.JWTIssuer)
			}
		}
	}
	return out
}
