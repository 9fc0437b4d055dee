// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/jwks"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func storedSecrets(t *testing.T, p *v1alpha1.Pusher, issuer *settings.ServiceAccountIssuer) map[string]*corev1.Secret {
	t.Helper()
	packed, err := settings.Pack(compile.Compile(compile.Input{Pusher: p, Issuer: issuer}).Settings)
	if err != nil {
		t.Fatal(err)
	}
	// A part that an earlier, longer document has left.
	out := map[string]*corev1.Secret{render.SettingsSecret(p.Name, 1): {Data: map[string][]byte{settings.PartFile(1): []byte("old")}}}
	out[render.SettingsSecret(p.Name, 0)] = &corev1.Secret{Data: map[string][]byte{settings.PartFile(0): packed.Parts[0]}}
	for _, s := range out {
		s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(p, v1alpha1.GroupVersion.WithKind("Pusher"))}
	}
	return out
}

// TestFetchedKeysOutliveTheOperator: where an issuer is away when the operator starts, the
// Pusher's pods keep what they have, and nobody else gets it.
func TestFetchedKeysOutliveTheOperator(t *testing.T) {
	const url, before = "https://id.invalid/keys", `{"keys":[{"kid":"a"}]}`
	p := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge", UID: types.UID("p")}}
	ch := v1alpha1.Channel{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders"}}
	ch.Spec.Clients = &v1alpha1.ClientsSpec{JWT: []v1alpha1.JWTIssuer{{Issuer: "i", Audiences: []string{"a"}, JWKSURL: url}}}
	packed, err := settings.Pack(compile.Compile(compile.Input{
		Pusher: p, Channels: []v1alpha1.Channel{ch}, KeySet: func(string) (json.RawMessage, error) { return json.RawMessage(before), nil },
	}).Settings)
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{Data: map[string][]byte{settings.PartFile(0): packed.Parts[0]}}
	secret.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(p, v1alpha1.GroupVersion.WithKind("Pusher"))}
	g := &gatherer{live: &store{secrets: map[string]*corev1.Secret{render.SettingsSecret("edge", 0): secret}}, jwks: jwks.New(jwks.Options{})}
	if keys, err := g.keySets(t.Context(), p)(url); err != nil || string(keys) != before {
		t.Errorf("%s, %v", keys, err)
	}
	other := p.DeepCopy()
	other.UID = "other"
	for _, ask := range []func(string) (json.RawMessage, error){g.keySets(t.Context(), other), func(u string) (json.RawMessage, error) { return g.keySets(t.Context(), p)(u + "2") }} {
		if keys, err := ask(url); !errors.Is(err, jwks.ErrPending) {
			t.Errorf("%s, %v", keys, err)
		}
	}
}

// An operator that cannot read the keys keeps those that pods have.
func TestKeysOutliveTheOperator(t *testing.T) {
	p := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge", UID: types.UID("p")}}
	before := &settings.ServiceAccountIssuer{Issuer: "https://kubernetes.default.svc", JWKS: json.RawMessage(`{"keys":[{"kid":"a"}]}`)}
	whole := storedSecrets(t, p, before)
	theirs := storedSecrets(t, p, before)
	theirs["edge-settings-0"].OwnerReferences = nil
	damaged := storedSecrets(t, p, before)
	damaged["edge-settings-0"].Data[settings.PartFile(0)] = []byte("?")
	for name, tt := range map[string]struct {
		secrets map[string]*corev1.Secret
		known   *settings.ServiceAccountIssuer
		want    string
	}{
		"stored":           {whole, nil, before.Issuer},
		"known":            {whole, &settings.ServiceAccountIssuer{Issuer: "now"}, "now"},
		"none stored":      {storedSecrets(t, p, nil), nil, ""},
		"nothing stored":   {nil, nil, ""},
		"somebody else's":  {theirs, nil, ""},
		"damaged settings": {damaged, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gatherer{live: &store{secrets: tt.secrets}, identity: &identity{issuer: tt.known}}
			got, err := g.knownIssuer(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if got == nil {
				got = &settings.ServiceAccountIssuer{}
			}
			if got.Issuer != tt.want {
				t.Errorf("issuer %q, want %q", got.Issuer, tt.want)
			}
		})
	}
}
