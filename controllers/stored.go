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

// knownIssuer is how the Pusher's pods verify ServiceAccount tokens: by the
// cluster's keys, or, as long as these cannot be read, by those that are in the
// Pusher's settings already. An operator that starts while the keys cannot be
// read must not take their rights from all publishers. The stored keys count
// for this Pusher alone, because others may write to its namespace.
func (g *gatherer) knownIssuer(ctx context.Context, p *v1alpha1.Pusher) (*settings.ServiceAccountIssuer, error) {
	if issuer, _ := g.identity.current(); issuer != nil {
		return issuer, nil
	}
	var packed bytes.Buffer
	for i := range settings.MaxParts {
		secret := &corev1.Secret{}
		key := types.NamespacedName{Namespace: p.Namespace, Name: render.SettingsSecret(p.Name, i)}
		err := g.live.Get(ctx, key, secret)
		if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(secret, p) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("get Secret %s: %w", key.Name, err)
		}
		packed.Write(secret.Data[settings.PartFile(i)])
	}
	return issuerIn(&packed), nil
}

// issuerIn is the issuer in packed settings, nil when they are not whole.
func issuerIn(packed io.Reader) *settings.ServiceAccountIssuer {
	doc, err := gzip.NewReader(packed)
	if err != nil {
		return nil
	}
	doc.Multistream(false) // behind the document may be parts of an earlier, longer one
	var stored struct {
		Pusher struct {
			ServiceAccounts *settings.ServiceAccountIssuer `json:"serviceAccounts"`
		} `json:"pusher"`
	}
	if err := json.NewDecoder(io.LimitReader(doc, maxStored)).Decode(&stored); err != nil {
		return nil
	}
	return stored.Pusher.ServiceAccounts
}
