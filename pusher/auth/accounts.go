// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/settings/keyset"
)

const (
	// maxAccountLifetime is the longest that a ServiceAccount token may live:
	// an offline check cannot see that one was revoked.
	maxAccountLifetime = 24 * time.Hour
	maxUnknownKeyIDs   = 8
	maxKeyIDBytes      = 128
	accountPrefix      = "system:serviceaccount:"
)

// accountIssuer verifies the ServiceAccount tokens of one cluster.
type accountIssuer struct {
	issuer string
	keys   *keyset.Set
}

func newAccountIssuer(s *settings.ServiceAccountIssuer) (*accountIssuer, error) {
	if s.Issuer == "" {
		return nil, errors.New("issuer: is missing")
	}
	keys, err := keyset.Parse(s.JWKS)
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	return &accountIssuer{issuer: s.Issuer, keys: keys}, nil
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
	tok, err := jwt.ParseSigned(token, keyset.Algorithms)
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
	key, known := v.accounts.keys.Find(head.KeyID, head.Algorithm)
	switch {
	case !known:
		if failure == nil && head.KeyID != "" && len(head.KeyID) <= maxKeyIDBytes {
			v.unknown.add(head.KeyID)
		}
		return none, errUnknownKey
	case key == nil:
		return none, errOtherAlgorithm
	}
	if err := tok.Claims(key, &jwt.Claims{}); err != nil {
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
	if err := v.checkTimes(c, jwt.Expected{AnyAudience: audiences}, Skew); err != nil {
		return none, err
	}
	return settings.ServiceAccount{Namespace: namespace, Name: name}, nil
}

// UnknownKeyIDs lists, sorted, at most 8 key ids of tokens that look like the
// issuer's own and that no known key has. Anybody can make one up, so it is a
// hint to look for new keys and no more.
func (v *Verifier) UnknownKeyIDs() []string { return v.unknown.list() }

// UnknownKeyURLs are the JWKSURLs of issuers whose tokens, or what looks like them, name
// keys that are not known.
func (v *Verifier) UnknownKeyURLs() []string { return v.unknownURLs.list() }

// unknownKeys is a small set that keeps what came first.
type unknownKeys struct {
	mu  sync.Mutex
	ids []string
}

func (u *unknownKeys) add(id string) {
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
