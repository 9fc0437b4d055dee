// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/settings/keyset"
)

// SecretNames returns the names of the Secrets that a Channel refers to, each
// once and sorted. They are all in the Channel's namespace.
func SecretNames(ch *v1alpha1.Channel) []string {
	var names []string
	add := func(refs ...*v1alpha1.SecretKeyRef) {
		for _, ref := range refs {
			if ref != nil {
				names = append(names, ref.Name)
			}
		}
	}
	if c := ch.Spec.Clients; c != nil {
		for _, j := range c.JWT {
			add(j.HMACSecretRef, j.JWKSSecretRef)
		}
	}
	for _, p := range ch.Spec.Publishers {
		add(p.TokenSecretRef)
		if p.JWT != nil {
			add(p.JWT.HMACSecretRef, p.JWT.JWKSSecretRef)
		}
	}
	for i := range ch.Spec.Handlers {
		for _, ref := range ch.Spec.Handlers[i].SigningSecretRefs {
			names = append(names, ref.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// PusherSecretNames returns the names of the Secrets that a Pusher refers to, each
// once and sorted. They are all in its namespace.
func PusherSecretNames(p *v1alpha1.Pusher) []string {
	b := p.Spec.Broker
	if b == nil || b.NATS == nil {
		return nil
	}
	var names []string
	for _, ref := range []*v1alpha1.SecretRef{b.NATS.CredentialsSecretRef, b.NATS.CertificateSecretRef} {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	if ref := b.NATS.CASecretRef; ref != nil {
		names = append(names, ref.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// secretReader reads values of Secrets, and explains without quoting them.
type secretReader struct {
	namespace string
	secrets   Secrets
}

// hmacKey returns the bytes of a key as they are.
func (r secretReader) hmacKey(ref v1alpha1.SecretKeyRef) ([]byte, *Refusal) {
	value, refusal := r.value(ref)
	if refusal != nil {
		return nil, refusal
	}
	return value, checkLength(ref, value)
}

// jwks returns a key set in compact form.
func (r secretReader) jwks(ref v1alpha1.SecretKeyRef) (json.RawMessage, *Refusal) {
	value, refusal := r.small(ref)
	if refusal != nil {
		return nil, refusal
	}
	var compact bytes.Buffer
	_, err := keyset.Parse(value)
	if err == nil {
		err = json.Compact(&compact, value)
	}
	if err != nil {
		return nil, &Refusal{v1alpha1.ReasonSecretInvalid, fmt.Sprintf("Key %s of Secret %s %s", ref.Key, ref.Name, oneLine(err))}
	}
	return compact.Bytes(), nil
}

// token returns a token without white space around it, which no bearer token
// can have but many an editor adds.
func (r secretReader) token(ref v1alpha1.SecretKeyRef) (string, *Refusal) {
	value, refusal := r.value(ref)
	if refusal != nil {
		return "", refusal
	}
	value = bytes.TrimSpace(value)
	if refusal := checkLength(ref, value); refusal != nil {
		return "", refusal
	}
	if bytes.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", &Refusal{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"Key %s of Secret %s cannot be a token: use only visible ASCII characters without spaces", ref.Key, ref.Name)}
	}
	return string(value), nil
}

// small returns a value that is there and not too large for the settings.
func (r secretReader) small(ref v1alpha1.SecretKeyRef) ([]byte, *Refusal) {
	value, refusal := r.value(ref)
	if refusal == nil && (len(value) == 0 || len(value) > maxCertificateBytes) {
		refusal = &Refusal{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"Key %s of Secret %s must hold from 1 to %d bytes", ref.Key, ref.Name, maxCertificateBytes)}
	}
	return value, refusal
}

func (r secretReader) value(ref v1alpha1.SecretKeyRef) ([]byte, *Refusal) {
	s := r.secrets(r.namespace, ref.Name)
	if s == nil {
		return nil, &Refusal{v1alpha1.ReasonSecretNotFound, fmt.Sprintf(
			"Secret %s does not exist: create it with the key %s and the label %s: \"true\"", ref.Name, ref.Key, v1alpha1.LabelAllow)}
	}
	if s.Labels[v1alpha1.LabelAllow] != "true" {
		return nil, &Refusal{v1alpha1.ReasonSecretNotAllowed, fmt.Sprintf(
			"Secret %s does not carry the label %s: \"true\", by which its owner offers it to Channels", ref.Name, v1alpha1.LabelAllow)}
	}
	if v, ok := s.StringData[ref.Key]; ok { // only manifests on disk still have it
		return []byte(v), nil
	}
	if v, ok := s.Data[ref.Key]; ok {
		return v, nil
	}
	return nil, &Refusal{v1alpha1.ReasonSecretInvalid, fmt.Sprintf("Secret %s has no key %s", ref.Name, ref.Key)}
}

func checkLength(ref v1alpha1.SecretKeyRef, value []byte) *Refusal {
	if len(value) >= settings.MinSecretBytes && len(value) <= maxSecretBytes {
		return nil
	}
	return &Refusal{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
		"Key %s of Secret %s must hold from %d to %d bytes", ref.Key, ref.Name, settings.MinSecretBytes, maxSecretBytes)}
}
