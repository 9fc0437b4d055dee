// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/settings/keyset"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// issuer is one whose tokens are trusted: by an HMAC's key or, if that is nil, by
// public ones. Of which kind it is decides which algorithms its tokens may have.
type issuer struct {
	settings.JWTIssuer
	keys *keyset.Set
}

func newIssuer(j *settings.JWTIssuer) (*issuer, error) {
	i := &issuer{JWTIssuer: *j}
	switch {
	case j.Issuer == "":
		return nil, errors.New("issuer: is missing")
	case len(j.Audiences) == 0:
		return nil, errors.New("audiences: is empty")
	case len(j.JWKS) > 0 && len(j.HMACKey) > 0:
		return nil, errors.New("jwks: is there beside hmacKey")
	case len(j.JWKS) > 0:
		var err error
		if i.keys, err = keyset.Parse(j.JWKS); err != nil {
			return nil, fmt.Errorf("jwks: %w", err)
		}
	case len(j.HMACKey) < settings.MinSecretBytes:
		return nil, fmt.Errorf("hmacKey: is shorter than %d bytes", settings.MinSecretBytes)
	}
	return i, nil
}

// with adds the algorithms that the issuer's tokens may have to those of others.
func (i *issuer) with(others []jose.SignatureAlgorithm) []jose.SignatureAlgorithm {
	own := hmacAlgorithms
	if i.keys != nil {
		own = keyset.Algorithms
	}
	if slices.Contains(others, own[0]) {
		return others
	}
	return slices.Concat(others, own)
}

// verifyBy holds a token to an issuer of its name, and reports whether it is signed by
// its key.
func (v *Verifier) verifyBy(i *issuer, tok *jwt.JSONWebToken, claims *clientClaims) (fits bool, failure *Error) {
	if failure = i.verify(tok, claims); failure == nil {
		return true, v.checkClient(i, claims)
	}
	if failure == errUnknownKey && i.JWKSURL != "" {
		var named clientClaims
		if tok.UnsafeClaimsWithoutVerification(&named) == nil && v.checkClient(i, &named) == nil {
			v.unknownURLs.add(i.JWKSURL) // its keys may be new
		}
	}
	return false, failure
}

// skew is how far the issuer's clock may differ from ours.
func (i *issuer) skew() time.Duration { return cmp.Or(i.ClockSkew.Std(), Skew) }

// verify checks a token's signature by the issuer's keys, and reads its claims.
func (i *issuer) verify(tok *jwt.JSONWebToken, claims *clientClaims) *Error {
	head := tok.Headers[0]
	hmac := slices.Contains(hmacAlgorithms, jose.SignatureAlgorithm(head.Algorithm))
	if hmac != (i.keys == nil) {
		return errOtherAlgorithm
	}
	var key any = i.HMACKey
	if i.keys != nil {
		var known bool
		switch key, known = i.keys.Find(head.KeyID, head.Algorithm); {
		case !known:
			return errUnknownKey
		case key == nil:
			return errOtherAlgorithm
		}
	}
	if err := tok.Claims(key, claims); err != nil {
		return signatureError(err)
	}
	return nil
}

// checkClient checks what a token says that is signed by the issuer.
func (v *Verifier) checkClient(j *issuer, c *clientClaims) *Error {
	if err := v.checkTimes(&c.Claims, jwt.Expected{Issuer: j.Issuer, AnyAudience: j.Audiences}, j.skew()); err != nil {
		return err
	}
	switch {
	case c.Subject == "":
		return invalid("the token has no subject (sub)")
	case len(c.Subject) > wire.MaxUserName:
		return invalid("the token's subject (sub) is longer than 256 bytes")
	case !utf8.ValidString(c.Subject):
		return invalid("the token's subject (sub) is not UTF-8")
	}
	return nil
}
