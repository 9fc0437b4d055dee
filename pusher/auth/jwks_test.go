// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// TestAnUnknownKeyOfAPublishedSetIsSaid, for tokens that would be good otherwise alone.
func TestAnUnknownKeyOfAPublishedSetIsSaid(t *testing.T) {
	v := newVerifier(t, func(s *settings.Settings) {
		keyed(s)
		s.Channels[1].Clients.JWT[0].JWKSURL = "https://login/keys"
	})
	good := clientToken().with("iss", "https://login")
	unknown := func(c claims) {
		t.Helper()
		_, err := v.Client("orders", sign(t, jose.RS256, jose.JSONWebKey{KeyID: "next", Key: keys.rsa}, c))
		wantCode(t, err, CodeTokenInvalid, "")
	}
	unknown(good.with("exp", now.Add(-time.Hour).Unix()))
	unknown(good.with("aud", "others"))
	unknown(good.with("sub", ""))
	if urls := v.UnknownKeyURLs(); len(urls) > 0 {
		t.Errorf("said of tokens that are not good: %v", urls)
	}
	unknown(good)
	unknown(good)
	if urls := v.UnknownKeyURLs(); len(urls) != 1 || urls[0] != "https://login/keys" {
		t.Errorf("said: %v", urls)
	}
}

// keyed is a channel whose tokens are of an issuer with public keys and of one with a
// shared key.
func keyed(s *settings.Settings) {
	s.Channels[1].Clients.JWT = []settings.JWTIssuer{
		{Issuer: "https://login", Audiences: []string{"shop-web"}, JWKS: jwks()},
		{Issuer: "https://shared", Audiences: []string{"shop-web"}, HMACKey: hmacKey},
		{Issuer: "https://single", Audiences: []string{"shop-web"}, JWKS: must(jose.JSONWebKey{Key: keys.ed.Public()}.MarshalJSON())},
	}
	single := s.Channels[1].Clients.JWT[2].JWKS
	s.Channels[1].Clients.JWT[2].JWKS = []byte(`{"keys":[` + string(single) + `]}`)
}

// TestClientsOfIssuersWithPublicKeys: a token is one of a key's only if it says which, is
// signed as that key is for, and by that very key; whatever else may be in it.
func TestClientsOfIssuersWithPublicKeys(t *testing.T) {
	good := clientToken().with("iss", "https://login")
	named := func(kid string, alg jose.SignatureAlgorithm, key any, c claims) string {
		return sign(t, alg, jose.JSONWebKey{KeyID: kid, Key: key}, c)
	}
	publicDER := must(x509.MarshalPKIXPublicKey(&keys.rsa.PublicKey))
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})
	shared := good.with("iss", "https://shared")
	for name, tc := range map[string]struct{ token, code string }{
		"RS256":                           {named("rsa", jose.RS256, keys.rsa, good), ""},
		"ES256":                           {named("ec", jose.ES256, keys.ec, good), ""},
		"EdDSA":                           {named("ed", jose.EdDSA, keys.ed, good), ""},
		"PS512, by a key for any":         {named("anyalg", jose.PS512, keys.rsa, good), ""},
		"the shared key's":                {sign(t, jose.HS256, hmacKey, shared), ""},
		"the only key's, unnamed":         {sign(t, jose.EdDSA, keys.ed, good.with("iss", "https://single")), ""},
		"RS512, by a key for RS256":       {named("rsa", jose.RS512, keys.rsa, good), CodeTokenInvalid},
		"another key of the name":         {named("rsa", jose.RS256, keys.stranger, good), CodeTokenInvalid},
		"another key's name":              {named("ec", jose.RS256, keys.rsa, good), CodeTokenInvalid},
		"a key for encryption":            {named("enc", jose.RS256, keys.rsa, good), CodeTokenInvalid},
		"an unknown name":                 {named("next", jose.RS256, keys.rsa, good), CodeTokenInvalid},
		"no name among several":           {sign(t, jose.RS256, keys.rsa, good), CodeTokenInvalid},
		"an HMAC by the public key":       {named("rsa", jose.HS256, publicPEM, good), CodeTokenInvalid},
		"an HMAC by the public key (DER)": {named("rsa", jose.HS256, publicDER, good), CodeTokenInvalid},
		"an HMAC by the other's key":      {sign(t, jose.HS256, hmacKey, good), CodeTokenInvalid},
		"the shared issuer, public key":   {named("rsa", jose.RS256, keys.rsa, shared), CodeTokenInvalid},
		"none":                            {forge(`{"alg":"none","kid":"rsa"}`, good, ""), CodeTokenInvalid},
		"a key in the header":             {forgeWithKey(t, good), CodeTokenInvalid},
		"expired":                         {named("rsa", jose.RS256, keys.rsa, good.with("exp", now.Add(-time.Hour).Unix())), CodeTokenExpired},
		"another audience":                {named("rsa", jose.RS256, keys.rsa, good.with("aud", "x")), CodeTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, keyed)
			for range 2 { // the second time it may be remembered
				c, err := v.Client("orders", tc.token)
				wantCode(t, err, tc.code, tc.token)
				if err == nil && c.User() != "u1" {
					t.Errorf("the user is %q", c.User())
				}
			}
		})
	}
}

func TestClaims(t *testing.T) {
	token := sign(t, jose.HS256, hmacKey, []byte(`{"sub":"u1","n":1.0}`))
	if got := string(Claims(token)); got != `{"sub":"u1","n":1.0}` {
		t.Errorf("claims are %s", got)
	}
	for _, other := range []string{"", "a.b", "a.!.c", "a." + strings.Repeat("A", 4) + ".c"} {
		if got := Claims(other); got != nil {
			t.Errorf("%q has claims %s", other, got)
		}
	}
}
