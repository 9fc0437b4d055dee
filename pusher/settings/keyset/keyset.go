// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package keyset

import (
	"cmp"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

const (
	// MaxKeys is how many keys a set may have.
	MaxKeys = 64
	// minRSABits is the least size of an RSA key (RFC 7518 section 3.3).
	minRSABits = 2048
)

// Algorithms are all that a set's keys can verify. All are asymmetric: a public key can
// never serve as the key of an HMAC.
var Algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Set is an issuer's keys.
type Set struct {
	keys []jose.JSONWebKey
}

// Parse reads a set. Keys that are for something else than signatures, or of a kind that
// is not known, are passed over.
func Parse(b []byte) (*Set, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("is not a JSON Web Key Set: %w", err)
	}
	if len(doc.Keys) > MaxKeys {
		return nil, fmt.Errorf("has more than %d keys", MaxKeys)
	}
	s := &Set{}
	for i, raw := range doc.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err != nil || k.Use != "" && k.Use != "sig" {
			continue
		}
		if !k.IsPublic() {
			return nil, fmt.Errorf("keys[%d] is not a public key", i)
		}
		if public, ok := k.Key.(*rsa.PublicKey); ok && public.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("keys[%d] is an RSA key of fewer than %d bits", i, minRSABits)
		}
		if slices.ContainsFunc(s.keys, func(other jose.JSONWebKey) bool { return other.KeyID == k.KeyID }) {
			return nil, fmt.Errorf("keys[%d] has a key id (kid) that another key has, or neither has one", i)
		}
		s.keys = append(s.keys, k)
	}
	if len(s.keys) == 0 {
		return nil, errors.New("holds no key that can verify a signature")
	}
	return s, nil
}

// Find returns the key of an id that may have signed with an algorithm. A token without an
// id is one of the only key's. Known is false when there is no key of the id.
func (s *Set) Find(id, algorithm string) (key any, known bool) {
	for i := range s.keys {
		k := &s.keys[i]
		if k.KeyID != id && (id != "" || len(s.keys) > 1) {
			continue
		}
		if k.Algorithm != "" && k.Algorithm != algorithm {
			return nil, true
		}
		return k.Key, true
	}
	return nil, false
}

// Compact reads a set and writes what is used of it, sorted by key id: the same keys are
// the same bytes, in whichever order and with whichever certificates they are published.
func Compact(b []byte) (json.RawMessage, error) {
	s, err := Parse(b)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(s.keys, func(a, b jose.JSONWebKey) int { return cmp.Compare(a.KeyID, b.KeyID) })
	bare := jose.JSONWebKeySet{}
	for _, k := range s.keys {
		bare.Keys = append(bare.Keys, jose.JSONWebKey{Key: k.Key, KeyID: k.KeyID, Algorithm: k.Algorithm, Use: k.Use})
	}
	out, err := json.Marshal(bare)
	if err != nil {
		return nil, fmt.Errorf("cannot be written: %w", err)
	}
	return out, nil
}
