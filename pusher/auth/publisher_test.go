// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func accountToken(namespace, name string) claims {
	return claims{
		"iss": "https://cluster", "aud": []string{"push.klaxon.dev/shop/edge"},
		"sub": "system:serviceaccount:" + namespace + ":" + name,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

func key(kid string, k any) jose.JSONWebKey { return jose.JSONWebKey{KeyID: kid, Key: k} }

func TestPublisher(t *testing.T) {
	checkout := accountToken("shop", "checkout")
	ownAudience := checkout.with("aud", "push.klaxon.dev")
	rs := func(p any) string { return sign(t, jose.RS256, key("rsa", keys.rsa), p) }
	publicKeyAsSecret := []byte(fmt.Sprintf("%064x", keys.rsa.N))
	for name, tc := range map[string]struct {
		channel, token, identity, code string
	}{
		"RS256":                       {"orders", rs(checkout), "system:serviceaccount:shop:checkout", ""},
		"ES256":                       {"orders", sign(t, jose.ES256, key("ec", keys.ec), checkout), "system:serviceaccount:shop:checkout", ""},
		"EdDSA":                       {"orders", sign(t, jose.EdDSA, key("ed", keys.ed), checkout), "system:serviceaccount:shop:checkout", ""},
		"PS256, any algorithm":        {"orders", sign(t, jose.PS256, key("anyalg", keys.rsa), checkout), "system:serviceaccount:shop:checkout", ""},
		"own namespace's audience":    {"orders", rs(ownAudience), "system:serviceaccount:shop:checkout", ""},
		"any in namespace":            {"news", rs(accountToken("shop", "any")), "system:serviceaccount:shop:any", ""},
		"other namespace":             {"orders", rs(accountToken("billing", "invoices")), "system:serviceaccount:billing:invoices", ""},
		"24 h":                        {"orders", rs(checkout.with("exp", now.Add(24*time.Hour).Unix())), "system:serviceaccount:shop:checkout", ""},
		"static":                      {"news", static, "token", ""},
		"no token":                    {"orders", "", "", CodeTokenMissing},
		"no token, unknown channel":   {"nosuch", "", "", CodeTokenMissing},
		"rubbish":                     {"orders", "rubbish", "", CodeTokenInvalid},
		"rubbish, unknown channel":    {"nosuch", "rubbish", "", CodeTokenInvalid},
		"static of another channel":   {"orders", static, "", CodeTokenInvalid},
		"hash of a static token":      {"news", sha(static), "", CodeTokenInvalid},
		"not listed":                  {"orders", rs(accountToken("shop", "other")), "", CodeNotAllowed},
		"right name, wrong namespace": {"orders", rs(accountToken("billing", "checkout")), "", CodeNotAllowed},
		"nobody may":                  {"plain", rs(checkout), "", CodeNotAllowed},
		"unknown channel, ours":       {"nosuch", rs(checkout), "", CodeUnknownChannel},
		"unknown channel, theirs":     {"nosuch", rs(accountToken("billing", "invoices")), "", CodeNotAllowed},
		"their ns, our audience":      {"orders", rs(accountToken("billing", "invoices").with("aud", "push.klaxon.dev")), "", CodeTokenInvalid},
		"another pusher's audience":   {"orders", rs(checkout.with("aud", "push.klaxon.dev/shop/other")), "", CodeTokenInvalid},
		"API server's audience":       {"orders", rs(checkout.with("aud", "https://kubernetes.default.svc")), "", CodeTokenInvalid},
		"no audience":                 {"orders", rs(checkout.with("aud", nil)), "", CodeTokenInvalid},
		"wrong issuer":                {"orders", rs(checkout.with("iss", "https://evil")), "", CodeTokenInvalid},
		"a user's token":              {"orders", rs(checkout.with("sub", "kubernetes-admin")), "", CodeTokenInvalid},
		"subject in three parts":      {"orders", rs(checkout.with("sub", "system:serviceaccount:shop:check:out")), "", CodeTokenInvalid},
		"subject without a name":      {"orders", rs(checkout.with("sub", "system:serviceaccount:shop:")), "", CodeTokenInvalid},
		"subject without namespace":   {"orders", rs(checkout.with("sub", "system:serviceaccount::checkout")), "", CodeTokenInvalid},
		"expired":                     {"orders", rs(checkout.with("iat", now.Add(-time.Hour).Unix()).with("exp", now.Add(-time.Minute).Unix())), "", CodeTokenExpired},
		"expired and forged":          {"orders", sign(t, jose.RS256, key("rsa", keys.stranger), checkout.with("exp", now.Add(-time.Minute).Unix())), "", CodeTokenInvalid},
		"not yet":                     {"orders", rs(checkout.with("nbf", now.Add(time.Minute).Unix())), "", CodeTokenInvalid},
		"no expiry":                   {"orders", rs(checkout.with("exp", nil)), "", CodeTokenInvalid},
		"no issue time":               {"orders", rs(checkout.with("iat", nil)), "", CodeTokenInvalid},
		"over 24 h":                   {"orders", rs(checkout.with("exp", now.Add(24*time.Hour+time.Second).Unix())), "", CodeTokenInvalid},
		"another's key":               {"orders", sign(t, jose.RS256, key("rsa", keys.stranger), checkout), "", CodeTokenInvalid},
		"another known key's id":      {"orders", sign(t, jose.ES256, key("rsa", keys.ec), checkout), "", CodeTokenInvalid},
		"not the key's algorithm":     {"orders", sign(t, jose.PS256, key("rsa", keys.rsa), checkout), "", CodeTokenInvalid},
		"encryption key":              {"orders", sign(t, jose.RS256, key("enc", keys.rsa), checkout), "", CodeTokenInvalid},
		"HMAC with the public key":    {"orders", sign(t, jose.HS256, key("rsa", publicKeyAsSecret), checkout), "", CodeTokenInvalid},
		"alg none":                    {"orders", forge(`{"alg":"none","kid":"rsa"}`, checkout, ""), "", CodeTokenInvalid},
		"key in the header":           {"orders", forgeWithKey(t, checkout), "", CodeTokenInvalid},
		"huge":                        {"news", strings.Repeat("x", MaxTokenBytes+1), "", CodeTokenInvalid},
		"a client's token":            {"orders", sign(t, jose.HS256, hmacKey, clientToken()), "", CodeTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := newVerifier(t, nil).Publisher(tc.channel, tc.token)
			wantCode(t, err, tc.code, tc.token)
			if id != tc.identity {
				t.Fatalf("identity is %q, want %q", id, tc.identity)
			}
		})
	}
}

// TestAnonymousPublishers: they are no publishers of the kind that may do everything.
func TestAnonymousPublishers(t *testing.T) {
	v := newVerifier(t, func(s *settings.Settings) {
		for i := range s.Channels {
			s.Channels[i].Publishers.Anonymous = s.Channels[i].Name == "news"
		}
	})
	for channel, want := range map[string]bool{"news": true, "orders": false, "nosuch": false} {
		if got := v.Anonymous(channel); got != want {
			t.Errorf("%s: %v", channel, got)
		}
		_, err := v.Publisher(channel, "")
		wantCode(t, err, CodeTokenMissing, "")
	}
}

func TestPublisherWithoutAccounts(t *testing.T) {
	v := newVerifier(t, func(s *settings.Settings) { s.Pusher.ServiceAccounts = nil })
	token := sign(t, jose.RS256, key("rsa", keys.rsa), accountToken("shop", "checkout"))
	_, err := v.Publisher("orders", token)
	wantCode(t, err, CodeTokenInvalid, token)
	if id, err := v.Publisher("news", static); id != "token" {
		t.Fatalf("the static token is refused: %v", err)
	}
}

func TestUnknownKeyIDs(t *testing.T) {
	v := newVerifier(t, nil)
	publish := func(kid string, c claims) {
		t.Helper()
		token := sign(t, jose.RS256, key(kid, keys.stranger), c)
		_, err := v.Publisher("orders", token)
		wantCode(t, err, CodeTokenInvalid, token)
	}
	good := accountToken("shop", "checkout")
	publish("wrong-issuer", good.with("iss", "x"))
	publish("wrong-audience", good.with("aud", "x"))
	publish("expired", good.with("exp", now.Add(-time.Hour).Unix()))
	publish(strings.Repeat("long", 100), good)
	publish("", good)
	publish("rsa", good) // known, only forged
	if ids := v.UnknownKeyIDs(); len(ids) != 0 {
		t.Fatalf("kept %v", ids)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		token := sign(t, jose.RS256, key(fmt.Sprintf("new-%02d", i%10), keys.stranger), good)
		wg.Go(func() { _, _ = v.Publisher("orders", token) })
	}
	wg.Wait()
	ids := v.UnknownKeyIDs()
	if len(ids) != maxUnknownKeyIDs || !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Fatalf("kept %v", ids)
	}
}

func BenchmarkPublisher(b *testing.B) {
	v := newVerifier(b, nil)
	for name, bc := range map[string]struct{ channel, token string }{
		"static": {"news", static},
		"RS256":  {"orders", sign(b, jose.RS256, key("rsa", keys.rsa), accountToken("shop", "checkout"))},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Publisher(bc.channel, bc.token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
