// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func clientToken() claims {
	return claims{
		"iss": "https://id.example.com", "aud": "shop-web", "sub": "u1",
		"exp": now.Add(time.Hour).Unix(), "iat": now.Unix(),
	}
}

func TestClient(t *testing.T) {
	good := clientToken()
	hs := func(p any) string { return sign(t, jose.HS256, hmacKey, p) }
	signed := hs(good)
	head, rest, _ := strings.Cut(signed, ".")
	payload, sig, _ := strings.Cut(rest, ".")
	publicPEM := []byte(fmt.Sprintf("%x", keys.rsa.N))
	for name, tc := range map[string]struct {
		token, code string
	}{
		"HS256":                     {signed, ""},
		"HS384":                     {sign(t, jose.HS384, hmacKey, good), ""},
		"HS512":                     {sign(t, jose.HS512, hmacKey, good), ""},
		"second key of the issuer":  {sign(t, jose.HS256, otherKey, good), ""},
		"audience in a list":        {hs(good.with("aud", []string{"x", "shop-app"})), ""},
		"expired within skew":       {hs(good.with("exp", now.Add(-29*time.Second).Unix())), ""},
		"not yet within skew":       {hs(good.with("nbf", now.Add(29*time.Second).Unix())), ""},
		"no token":                  {"", CodeTokenMissing},
		"rubbish":                   {"rubbish", CodeTokenInvalid},
		"two dots":                  {"..", CodeTokenInvalid},
		"expired":                   {hs(good.with("exp", now.Add(-31*time.Second).Unix())), CodeTokenExpired},
		"expired, wrong key":        {sign(t, jose.HS256, publicPEM, good.with("exp", 1)), CodeTokenInvalid},
		"expired, other key":        {sign(t, jose.HS256, otherKey, good.with("exp", 1)), CodeTokenExpired},
		"not yet":                   {hs(good.with("nbf", now.Add(31*time.Second).Unix())), CodeTokenInvalid},
		"issued in the future":      {hs(good.with("iat", now.Add(time.Minute).Unix())), CodeTokenInvalid},
		"no expiry":                 {hs(good.with("exp", nil)), CodeTokenInvalid},
		"expiry is a string":        {hs(good.with("exp", "tomorrow")), CodeTokenInvalid},
		"expiry overflows":          {hs(good.with("exp", json.Number("1e300"))), CodeTokenInvalid},
		"no subject":                {hs(good.with("sub", nil)), CodeTokenInvalid},
		"empty subject":             {hs(good.with("sub", "")), CodeTokenInvalid},
		"long subject":              {hs(good.with("sub", strings.Repeat("u", 257))), CodeTokenInvalid},
		"wrong audience":            {hs(good.with("aud", "shop")), CodeTokenInvalid},
		"no audience":               {hs(good.with("aud", nil)), CodeTokenInvalid},
		"audience of the other key": {sign(t, jose.HS256, otherKey, good.with("aud", "shop-app")), CodeTokenInvalid},
		"wrong issuer":              {hs(good.with("iss", "https://evil")), CodeTokenInvalid},
		"issuer of another key":     {hs(good.with("iss", "short")), CodeTokenInvalid},
		"no issuer":                 {hs(good.with("iss", nil)), CodeTokenInvalid},
		"key too short for HS512":   {sign(t, jose.HS512, append(shortKey, shortKey...), good.with("iss", "short")), CodeTokenInvalid},
		"rooms is no list":          {hs(good.with("rooms", "a")), CodeTokenInvalid},
		"claims are no object":      {hs([]byte(`[]`)), CodeTokenInvalid},
		"claims are no JSON":        {hs([]byte(`x`)), CodeTokenInvalid},
		"claim twice":               {hs([]byte(`{"iss":"https://id.example.com","iss":"https://id.example.com","aud":"shop-web","sub":"u","exp":1900000000}`)), CodeTokenInvalid},
		"alg none":                  {forge(`{"alg":"none"}`, good, ""), CodeTokenInvalid},
		"alg None":                  {forge(`{"alg":"None"}`, good, ""), CodeTokenInvalid},
		"alg missing":               {forge(`{}`, good, ""), CodeTokenInvalid},
		"alg RS256":                 {sign(t, jose.RS256, keys.rsa, good), CodeTokenInvalid},
		"alg ES256":                 {sign(t, jose.ES256, keys.ec, good), CodeTokenInvalid},
		"empty signature":           {head + "." + payload + ".", CodeTokenInvalid},
		"no signature":              {head + "." + payload, CodeTokenInvalid},
		"another's payload":         {head + "." + strings.Split(hs(good.with("sub", "root")), ".")[1] + "." + sig, CodeTokenInvalid},
		"space around":              {" " + signed, CodeTokenInvalid},
		"JSON serialization":        {fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, head, payload, sig), CodeTokenInvalid},
		"huge":                      {signed + strings.Repeat("A", MaxTokenBytes), CodeTokenInvalid},
		"huge but good":             {hs(good.with("x", strings.Repeat("A", MaxTokenBytes))), CodeTokenInvalid},
		"key in the header":         {forgeWithKey(t, good), CodeTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, nil)
			c, err := v.Client("orders", tc.token)
			wantCode(t, err, tc.code, tc.token)
			if tc.code == "" && (c.User() != "u1" || c.Anonymous()) {
				t.Fatalf("client is %+v", c)
			}
			if tc.token == "" {
				return
			}
			_, err = v.Client("news", tc.token) // anonymous, and just as strict
			wantCode(t, err, tc.code, tc.token)
		})
	}
}

// forgeWithKey signs with a key that the header offers along.
func forgeWithKey(t *testing.T, payload any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: keys.stranger}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	return must(must(s.Sign(must(json.Marshal(payload)))).CompactSerialize())
}

// TestLargeHeadersAreRefusedUnread: the tokens are good but for their headers' size.
func TestLargeHeadersAreRefusedUnread(t *testing.T) {
	v := newVerifier(t, nil)
	options := (&jose.SignerOptions{}).WithHeader("x", strings.Repeat("y", maxTokenHeader))
	good := func(key jose.SigningKey, payload any) string {
		s := must(jose.NewSigner(key, options))
		return must(must(s.Sign(must(json.Marshal(payload)))).CompactSerialize())
	}
	for _, verify := range []func() error{
		func() error {
			_, err := v.Client("orders", good(jose.SigningKey{Algorithm: jose.HS256, Key: hmacKey}, clientToken()))
			return err
		},
		func() error {
			key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: keys.ec, KeyID: "ec"}}
			_, err := v.Publisher("orders", good(key, accountToken("shop", "checkout")))
			return err
		},
	} {
		if err := verify(); err == nil || !strings.Contains(err.Error(), "header is larger than 1 KiB") {
			t.Errorf("got %v", err)
		}
	}
}

func TestClientTampered(t *testing.T) {
	v := newVerifier(t, nil)
	token := sign(t, jose.HS256, hmacKey, clientToken())
	for i := range token {
		if i == len(token)-1 || token[i+1] == '.' {
			continue // the last character of a part has bits that belong to no byte
		}
		for _, bit := range []byte{1, 2, 32} {
			b := []byte(token)
			b[i] ^= bit
			if c, err := v.Client("orders", string(b)); err == nil {
				t.Fatalf("byte %d of %s changed to %q is taken as %+v", i, token, b[i], c)
			}
		}
	}
	for n := range token {
		if n == 0 {
			continue
		}
		if _, err := v.Client("orders", token[:n]); err == nil {
			t.Fatalf("the first %d bytes are taken", n)
		}
	}
}

func TestClientExpires(t *testing.T) {
	v := newVerifier(t, nil)
	c, err := v.Client("orders", sign(t, jose.HS256, hmacKey, clientToken()))
	if want := now.Add(time.Hour + Skew); err != nil || !c.Expires().Equal(want) {
		t.Fatalf("expires %v (%v), want %v", c.Expires(), err, want)
	}
	c, err = v.Client("news", "")
	if err != nil || !c.Expires().IsZero() || !c.Anonymous() || c.User() != "" {
		t.Fatalf("anonymous client is %+v (%v)", c, err)
	}
}

func TestClientUnknownChannel(t *testing.T) {
	v := newVerifier(t, nil)
	for _, token := range []string{"", "x", sign(t, jose.HS256, hmacKey, clientToken())} {
		_, err := v.Client("nosuch", token)
		wantCode(t, err, CodeUnknownChannel, token)
	}
}

func TestMayJoin(t *testing.T) {
	v := newVerifier(t, nil)
	for name, tc := range map[string]struct {
		channel string
		rooms   any // nil: no claim; "anonymous": no token
		yes, no []string
	}{
		"no claim":              {"orders", nil, nil, []string{"", "a", "*"}},
		"names":                 {"orders", []string{"a", "b:1"}, []string{"a", "b:1"}, []string{"", "b", "b:12", "A", "*"}},
		"prefix":                {"orders", []string{"order:*"}, []string{"order:", "order:1", "order:*"}, []string{"order", "x:order:1", ""}},
		"all":                   {"orders", []string{"*"}, []string{"", "a", "*"}, nil},
		"star inside":           {"orders", []string{"a*b"}, []string{"a*b"}, []string{"axb", "a"}},
		"empty list":            {"orders", []string{}, nil, []string{"", "a"}},
		"anonymous":             {"news", "anonymous", []string{"a", "b"}, nil},
		"token, open channel":   {"news", nil, []string{"a", "b"}, nil},
		"claim on open channel": {"news", []string{"a"}, []string{"a"}, []string{"b"}},
	} {
		t.Run(name, func(t *testing.T) {
			token := ""
			if tc.rooms != "anonymous" {
				token = sign(t, jose.HS256, hmacKey, clientToken().with("rooms", tc.rooms))
			}
			c, err := v.Client(tc.channel, token)
			wantCode(t, err, "", token)
			for _, r := range tc.yes {
				if !v.MayJoin(tc.channel, &c, r) {
					t.Errorf("may not join %q", r)
				}
			}
			for _, r := range tc.no {
				if v.MayJoin(tc.channel, &c, r) {
					t.Errorf("may join %q", r)
				}
			}
		})
	}
}

func FuzzClient(f *testing.F) {
	good := sign(f, jose.HS256, hmacKey, clientToken())
	for _, s := range []string{
		"", ".", "..", good, good + ".", "a.b.c", forge(`{"alg":"none"}`, clientToken(), ""),
		forge(`{"alg":"HS256","crit":["x"]}`, clientToken(), "x"), sign(f, jose.RS256, keys.rsa, clientToken()),
	} {
		f.Add(s)
	}
	v := newVerifier(f, nil)
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Client("news", token)
		if token != "" && err == nil && token != good && c.User() != "u1" {
			t.Fatalf("%q is taken as %+v", token, c)
		}
		if g, err := v.Publisher("orders", token); err == nil {
			t.Fatalf("%q may publish as %+v", token, g)
		}
		if n := len(v.UnknownKeyIDs()); n > maxUnknownKeyIDs {
			t.Fatalf("%d key ids are kept", n)
		}
	})
}

func TestRevoked(t *testing.T) {
	v := newVerifier(t, func(s *settings.Settings) {
		s.Channels[1].Clients.Revoked = settings.Revoked{Users: []string{"mallory"}, TokenIDs: []string{"leaked"}}
	})
	for name, tc := range map[string]struct {
		claims  claims
		channel string
		revoked bool
	}{
		"good":             {clientToken().with("jti", "good"), "orders", false},
		"no id":            {clientToken(), "orders", false},
		"the token":        {clientToken().with("jti", "leaked"), "orders", true},
		"the user":         {clientToken().with("sub", "mallory").with("jti", "good"), "orders", true},
		"the user, no id":  {clientToken().with("sub", "mallory"), "orders", true},
		"on other channel": {clientToken().with("sub", "mallory").with("jti", "leaked"), "news", false},
	} {
		token := sign(t, jose.HS256, hmacKey, tc.claims.with("rooms", []string{"a"}))
		_, err := v.Client(tc.channel, token)
		wantCode(t, err, map[bool]string{true: CodeTokenInvalid}[tc.revoked], token)
		connected, err := newVerifier(t, nil).Client(tc.channel, token)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Revoked(tc.channel, connected.User(), &connected); got != tc.revoked {
			t.Errorf("%s: one that is connected is revoked: %v", name, got)
		}
		if named := connected.As("other"); v.Revoked(tc.channel, connected.User(), &named) != tc.revoked {
			t.Errorf("%s: by another name it is not the same", name)
		}
		if rooms := strings.Join(collect(connected.rooms), " "); rooms != "a" {
			t.Errorf("%s: rooms are %q", name, rooms)
		}
	}
	if v.Revoked("orders", "", &anonymous) {
		t.Error("nobody is revoked")
	}
}
