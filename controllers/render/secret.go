// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	corev1 "k8s.io/api/core/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func adminSecret(p *v1alpha1.Pusher, token string) Object {
	return corev1ac.Secret(AdminSecret(p.Name), p.Namespace).
		WithLabels(Labels(p.Name)).
		WithOwnerReferences(owner(p)).
		WithType(corev1.SecretTypeOpaque).
		WithData(map[string][]byte{AdminTokenKey: []byte(token)})
}

func keysSecret(p *v1alpha1.Pusher, seed []byte) Object {
	return corev1ac.Secret(KeysSecret(p.Name), p.Namespace).
		WithLabels(Labels(p.Name)).
		WithOwnerReferences(owner(p)).
		WithType(corev1.SecretTypeOpaque).
		WithData(map[string][]byte{SeedKey: seed})
}

// settingsSecret holds part i of the settings; the first one the index as well.
func settingsSecret(p *v1alpha1.Pusher, packed *settings.Packed, i int) Object {
	data := map[string][]byte{settings.PartFile(i): packed.Parts[i]}
	if i == 0 {
		data[settings.IndexFile] = packed.Index
	}
	return corev1ac.Secret(SettingsSecret(p.Name, i), p.Namespace).
		WithLabels(Labels(p.Name)).
		WithOwnerReferences(owner(p)).
		WithType(corev1.SecretTypeOpaque).
		WithData(data)
}

// serviceAccount is an identity without rights and without a token.
func serviceAccount(p *v1alpha1.Pusher, name string, labels map[string]string) Object {
	return corev1ac.ServiceAccount(name, p.Namespace).
		WithLabels(labels).
		WithOwnerReferences(owner(p)).
		WithAutomountServiceAccountToken(false)
}
