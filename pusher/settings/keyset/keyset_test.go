// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package keyset

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func set(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := jose.JSONWebKey{KeyID: "a", Key: &ec.PublicKey}
	many := make([]jose.JSONWebKey, MaxKeys+1)
	for i := range many {
		many[i] = jose.JSONWebKey{KeyID: strings.Repeat("a", i+1), Key: &ec.PublicKey}
	}
	for name, tc := range map[string]struct {
		doc  []byte
		want string
	}{
		"one":           {set(t, good), ""},
		"most":          {set(t, many[1:]...), ""},
		"unknown kinds": {[]byte(`{"keys":[{"kty":"future"},` + string(set(t, good))[len(`{"keys":[`):]), ""},
		"too many":      {set(t, many...), "more than 64 keys"},
		"none":          {set(t, jose.JSONWebKey{KeyID: "e", Use: "enc", Key: &ec.PublicKey}), "holds no key"},
		"a private key": {set(t, good, jose.JSONWebKey{KeyID: "b", Key: ec}), "keys[1] is not a public key"},
		"a shared key":  {set(t, jose.JSONWebKey{KeyID: "b", Key: []byte("0123456789abcdef")}), "keys[0] is not a public key"},
		"a weak key":    {set(t, jose.JSONWebKey{KeyID: "b", Key: &weak.PublicKey}), "keys[0] is an RSA key of fewer than 2048 bits"},
		"twice":         {set(t, good, good), "keys[1] has a key id (kid) that another key has"},
		"a list":        {[]byte(`[]`), "is not a JSON Web Key Set"},
		"rubbish":       {[]byte(`x`), "is not a JSON Web Key Set"},
	} {
		s, err := Parse(tc.doc)
		if tc.want == "" && (err != nil || s == nil) || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// FuzzParse: whatever is said to be a key set is one of public keys, or an error.
func FuzzParse(f *testing.F) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(set(f, jose.JSONWebKey{KeyID: "a", Key: &ec.PublicKey}))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		for i := range s.keys {
			if !s.keys[i].IsPublic() {
				t.Fatalf("%q has a key that is not public", b)
			}
		}
	})
}
