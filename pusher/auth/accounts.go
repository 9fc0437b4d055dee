// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

const (
	// maxAccountLifetime is the longest that a ServiceAccount token may live:
	// an offline check cannot see that one was revoked.
	maxAccountLifetime = 24 * time.Hour
	maxUnknownKeyIDs   = 8
	maxKeyIDBytes      = 128
	accountPrefix      = "system:serviceaccount:"
)

// accountAlgorithms are all asymmetric: a public key can never serve as the key
// of an HMAC.
var accountAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// accountIssuer verifies the ServiceAccount tokens of one cluster.
type accountIssuer struct {
	issuer string
	keys   map[string]jose.JSONWebKey
}

// newAccountIssuer reads the key set. Keys that are for something else than
// signatures, or of a kind that is not known, are passed over.
func newAccountIssuer(s *settings.ServiceAccountIssuer) (*accountIssuer, error) {
	if s.Issuer == "" {
		return nil, errors.New("issuer: is missing")
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(s.JWKS, &set); err != nil {
		return nil, fmt.Errorf("jwks: is not a JSON Web Key Set: %w", err)
	}
	a := &accountIssuer{issuer: s.Issuer, keys: map[string]jose.JSONWebKey{}}
	for i, raw := range set.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err != nil || k.KeyID == "" || k.Use != "" && k.Use != "sig" {
			continue
		}
		if !k.IsPublic() {
			return nil, fmt.Errorf("jwks: keys[%d] is not a public key", i)
		}
		if _, ok := a.keys[k.KeyID]; ok {
			return nil, fmt.Errorf("jwks: keys[%d] has a key id (kid) that another key has", i)
		}
		a.keys[k.KeyID] = k
	}
	if len(a.keys) == 0 {
		return nil, errors.New("jwks: holds no key that can verify a signature")
	}
	return a, nil
}

// account verifies a ServiceAccount's token and says whose it is.
func (v *Verifier) account(token string) (settings.ServiceAccount, error) {
	var none settings.ServiceAccount
	if v.accounts == nil {
		return none, invalid("ServiceAccount tokens cannot be verified here, and the token is not a static one of this channel")
	}
	cached := cacheKey("", token)
	if sa, ok := v.accountTokens.get(cached, v.clock()); ok {
		return sa, nil
	}
	if strings.IndexByte(token, '.') > maxTokenHeader {
		return none, errHeaderTooLarge
	}
	tok, err := jwt.ParseSigned(token, accountAlgorithms)
	if err != nil {
		return none, invalid("the token is neither a static one of this channel nor a ServiceAccount's")
	}
	var claims jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return none, invalid("the token's claims cannot be read")
	}
	// The claims are checked before the signature, so that only what looks like
	// a token of our issuer can make it look for new keys.
	sa, failure := v.checkAccount(&claims)
	if failure != nil && failure.code != CodeTokenExpired {
		return none, failure
	}
	head := tok.Headers[0]
	key, ok := v.accounts.keys[head.KeyID]
	if !ok {
		if failure == nil {
			v.unknown.add(head.KeyID)
		}
		return none, invalid("the token is signed with a key that is not known here; if the issuer's keys are new, try again in a minute")
	}
	if key.Algorithm != "" && key.Algorithm != head.Algorithm {
		return none, invalid("the token's algorithm is not its key's")
	}
	if err := tok.Claims(key.Key, &jwt.Claims{}); err != nil {
		return none, invalid("the token's signature is wrong")
	}
	if failure != nil {
		return none, failure
	}
	v.accountTokens.add(cached, sa, claims.Expiry.Time().Add(Skew))
	return sa, nil
}

// checkAccount checks all but the signature.
func (v *Verifier) checkAccount(c *jwt.Claims) (settings.ServiceAccount, *Error) {
	var none settings.ServiceAccount
	if c.Issuer != v.accounts.issuer {
		return none, invalid("the token's issuer (iss) is not this cluster")
	}
	namespace, name, ok := strings.Cut(strings.TrimPrefix(c.Subject, accountPrefix), ":")
	if !strings.HasPrefix(c.Subject, accountPrefix) || !ok || namespace == "" || name == "" || strings.Contains(name, ":") {
		return none, invalid("the token's subject (sub) is not a ServiceAccount")
	}
	audiences := []string{v.audience}
	if namespace == v.namespace {
		audiences = append(audiences, settings.Audience)
	}
	// Lifetime comes first: it is wrong for good, expiry is not.
	if c.Expiry != nil && c.IssuedAt == nil {
		return none, invalid("the token does not say when it was issued (iat)")
	}
	if c.Expiry != nil && c.Expiry.Time().Sub(c.IssuedAt.Time()) > maxAccountLifetime {
		return none, invalid("the token lives longer than 24 h: ask for one with an expirationSeconds of at most 86400")
	}
	if err := v.checkTimes(c, jwt.Expected{AnyAudience: audiences}); err != nil {
		return none, err
	}
	return settings.ServiceAccount{Namespace: namespace, Name: name}, nil
}

// UnknownKeyIDs lists, sorted, at most 8 key ids of tokens that look like the
// issuer's own and that no known key has. Anybody can make one up, so it is a
// hint to look for new keys and no more.
func (v *Verifier) UnknownKeyIDs() []string { return v.unknown.list() }

// unknownKeys is a small set that keeps what came first.
type unknownKeys struct {
	mu  sync.Mutex
	ids []string
}

func (u *unknownKeys) add(id string) {
	if id == "" || len(id) > maxKeyIDBytes {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.ids) < maxUnknownKeyIDs && !slices.Contains(u.ids, id) {
		u.ids = append(u.ids, id)
	}
}

func (u *unknownKeys) list() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Sorted(slices.Values(u.ids))
}
