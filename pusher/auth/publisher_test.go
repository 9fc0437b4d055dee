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
		"static":                      {"news", static, "token:" + sha(static)[:8], ""},
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
			g, err := newVerifier(t, nil).Publisher(tc.channel, tc.token)
			wantCode(t, err, tc.code, tc.token)
			if g.Identity != tc.identity || g.Everything() != (tc.code == "") {
				t.Fatalf("it is %+v, want %q", g, tc.identity)
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
		if g, got := v.Anonymous(channel); got != want || got && !g.Allows("a", nil, true) {
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
	if g, err := v.Publisher("news", static); !g.Everything() {
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

// TestNarrowedPublishers: each entry that fits allows what it says, and nothing more.
func TestNarrowedPublishers(t *testing.T) {
	const other = "another-static-token-of-32-bytes-or-more"
	orders := settings.Scope{Events: []string{"order.*"}, Rooms: []string{"order:*", "all"}}
	v := newVerifier(t, func(s *settings.Settings) {
		s.Channels[1].Publishers = settings.Publishers{
			ServiceAccounts: []settings.ServiceAccount{{Namespace: "shop", Name: "wide"}},
			TokenSHA256:     []string{sha(static)},
			Entries: []settings.PublisherEntry{
				{ServiceAccount: &settings.ServiceAccount{Namespace: "shop", Name: "checkout"}, Scope: orders},
				{ServiceAccount: &settings.ServiceAccount{Namespace: "shop", Name: "checkout"}, Scope: settings.Scope{Events: []string{"ping"}}},
				{ServiceAccount: &settings.ServiceAccount{Namespace: "shop", Name: "wide"}, Scope: orders},
				{TokenSHA256: sha(other), Scope: orders},
				{Anonymous: true, Scope: settings.Scope{Events: []string{"tick"}}},
				{JWT: &settings.PublisherJWT{
					JWTIssuer: settings.JWTIssuer{Issuer: "https://other-cluster", Audiences: []string{"push"}, JWKS: jwks(), JWKSURL: "https://other-cluster/keys"},
					Subjects:  []string{"system:serviceaccount:shop:*"},
				}},
				{JWT: &settings.PublisherJWT{
					JWTIssuer: settings.JWTIssuer{Issuer: "https://other-cluster", Audiences: []string{"push"}, JWKS: jwks()},
					Subjects:  []string{"ci"},
				}, Scope: orders},
			},
		}
	})
	account := func(name string) string { return sign(t, jose.RS256, key("rsa", keys.rsa), accountToken("shop", name)) }
	external := func(kid, sub, aud string) string {
		return sign(t, jose.RS256, key(kid, keys.rsa), clientToken().with("iss", "https://other-cluster").with("aud", aud).with("sub", sub))
	}
	type what struct {
		event  string
		rooms  []string
		others bool
	}
	everything := []what{{"order.paid", []string{"order:1"}, false}, {"order.paid", nil, true}, {"any", []string{"x"}, true}}
	narrow := []what{{"order.paid", []string{"order:1", "all"}, false}}
	beyond := []what{{"order.paid", []string{"order:1", "x"}, false}, {"order.paid", nil, true}, {"order.paid", []string{"all"}, true}, {"orders", []string{"all"}, false}}
	for name, tc := range map[string]struct {
		token, identity, code string
		everything            bool
		yes, no               []what
	}{
		"narrowed account":     {account("checkout"), "system:serviceaccount:shop:checkout", "", false, append(narrow, what{"ping", nil, true}), beyond},
		"wide account":         {account("wide"), "system:serviceaccount:shop:wide", "", true, everything, nil},
		"no account":           {account("stranger"), "", CodeNotAllowed, false, nil, nil},
		"wide static token":    {static, "token:" + sha(static)[:8], "", true, everything, nil},
		"narrowed token":       {other, "token:" + sha(other)[:8], "", false, narrow, append(beyond, what{"ping", nil, true})},
		"other cluster":        {external("rsa", "system:serviceaccount:shop:a", "push"), "jwt:https://other-cluster:system:serviceaccount:shop:a", "", true, everything, nil},
		"narrowed subject":     {external("rsa", "ci", "push"), "jwt:https://other-cluster:ci", "", false, narrow, beyond},
		"another subject":      {external("rsa", "cd", "push"), "", CodeNotAllowed, false, nil, nil},
		"another audience":     {external("rsa", "ci", "pull"), "", CodeTokenInvalid, false, nil, nil},
		"a key it has not":     {external("next", "ci", "push"), "", CodeTokenInvalid, false, nil, nil},
		"signed by another":    {sign(t, jose.RS256, key("rsa", keys.stranger), clientToken().with("iss", "https://other-cluster").with("aud", "push").with("sub", "ci")), "", CodeTokenInvalid, false, nil, nil},
		"a client's":           {sign(t, jose.HS256, hmacKey, clientToken()), "", CodeTokenInvalid, false, nil, nil},
		"this cluster, theirs": {sign(t, jose.RS256, key("rsa", keys.rsa), clientToken().with("iss", "https://cluster").with("aud", "push").with("sub", "ci")), "", CodeTokenInvalid, false, nil, nil},
	} {
		for range 2 { // the second is remembered
			g, err := v.Publisher("orders", tc.token)
			wantCode(t, err, tc.code, tc.token)
			if g.Identity != tc.identity || g.Everything() != tc.everything {
				t.Errorf("%s: %+v", name, g)
			}
			for _, w := range tc.yes {
				if !g.Allows(w.event, w.rooms, w.others) {
					t.Errorf("%s: may not publish %+v", name, w)
				}
			}
			for _, w := range tc.no {
				if g.Allows(w.event, w.rooms, w.others) {
					t.Errorf("%s: may publish %+v", name, w)
				}
			}
		}
		if _, err := v.Publisher("plain", tc.token); err == nil {
			t.Errorf("%s: may publish to another channel", name)
		}
	}
	if urls := v.UnknownKeyURLs(); len(urls) != 1 {
		t.Errorf("unknown keys of %v", urls)
	}
	g, ok := v.Anonymous("orders")
	if !ok || !g.Allows("tick", nil, true) || g.Allows("tock", nil, true) {
		t.Errorf("anonymous: %+v, %v", g, ok)
	}
}
