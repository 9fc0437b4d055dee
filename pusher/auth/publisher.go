// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// publishers are who may publish to one channel.
type publishers struct {
	anyIn    string
	accounts map[settings.ServiceAccount]bool
	tokens   [][sha256.Size]byte // of static tokens, those of entries behind the others
	wide     int                 // how many of tokens are not of entries
	entries  []publisherEntry

	anonymous bool
}

// publisherEntry is a settings.PublisherEntry.
type publisherEntry struct {
	settings.PublisherEntry
	issuer *issuer // of JWT
}

func newPublishers(s *settings.Publishers) (p publishers, err error) {
	p = publishers{anyIn: s.AnyInNamespace, accounts: map[settings.ServiceAccount]bool{}, anonymous: s.Anonymous}
	for _, sa := range s.ServiceAccounts {
		p.accounts[sa] = true
	}
	for i, h := range s.TokenSHA256 {
		if err := p.addToken(h); err != nil {
			return p, fmt.Errorf("tokenSHA256[%d]: %w", i, err)
		}
	}
	p.wide = len(p.tokens)
	for i, e := range s.Entries {
		entry := publisherEntry{PublisherEntry: e}
		if e.JWT != nil {
			if entry.issuer, err = newIssuer(&e.JWT.JWTIssuer); err != nil {
				return p, fmt.Errorf("entries[%d].jwt.%w", i, err)
			}
		}
		if e.TokenSHA256 != "" {
			if err := p.addToken(e.TokenSHA256); err != nil {
				return p, fmt.Errorf("entries[%d].tokenSHA256: %w", i, err)
			}
		}
		p.entries = append(p.entries, entry)
	}
	return p, nil
}

func (p *publishers) addToken(sum string) error {
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) != sha256.Size {
		return errNotSHA256
	}
	p.tokens = append(p.tokens, [sha256.Size]byte(b))
	return nil
}

// everything is what those may publish who are not narrowed.
var everything = []settings.Scope{{}}

// scopes collects those of entries that fit.
func (p *publishers) scopes(fits func(e *publisherEntry) bool) (out []settings.Scope) {
	for i := range p.entries {
		if e := &p.entries[i]; fits(e) {
			out = append(out, e.Scope)
		}
	}
	return out
}

// Anonymous returns what those may publish to the channel who show no token. They
// may do nothing else that publishers may.
func (v *Verifier) Anonymous(channelName string) (settings.Grant, bool) {
	ch := v.channels[channelName]
	if ch == nil {
		return settings.Grant{}, false
	}
	g := settings.Grant{Identity: "anonymous", Scopes: everything}
	if !ch.publishers.anonymous {
		g.Scopes = ch.publishers.scopes(func(e *publisherEntry) bool { return e.Anonymous })
	}
	return g, len(g.Scopes) > 0
}

// Publisher says who holds the token and what they may publish to the channel.
//
// Whether a channel exists is only told to ServiceAccounts of the Pusher's own
// namespace; all others get the answer that they would get if it existed and
// did not allow them. The error is always an *Error.
func (v *Verifier) Publisher(channelName, token string) (settings.Grant, error) {
	var none settings.Grant
	if token == "" {
		return none, &Error{CodeTokenMissing, "publishing needs a token: Authorization: Bearer <token>"}
	}
	if len(token) > MaxTokenBytes {
		return none, errTokenTooLarge
	}
	ch := v.channels[channelName]
	if ch != nil {
		if g, ok := ch.publishers.holds(token); ok {
			return g, nil
		}
		if g, ours, err := v.external(channelName, ch, token); ours {
			return g, err
		}
	}
	sa, err := v.account(token)
	if err != nil {
		return none, err
	}
	if ch != nil {
		g := settings.Grant{Identity: accountPrefix + sa.Namespace + ":" + sa.Name, Scopes: everything}
		if p := &ch.publishers; p.anyIn != sa.Namespace && !p.accounts[sa] {
			g.Scopes = p.scopes(func(e *publisherEntry) bool { return e.ServiceAccount != nil && *e.ServiceAccount == sa })
		}
		if len(g.Scopes) > 0 {
			return g, nil
		}
	}
	if ch == nil && sa.Namespace == v.namespace {
		return none, errUnknownChannel
	}
	return none, &Error{CodeNotAllowed, "this ServiceAccount may not publish to the channel, or there is no such channel"}
}

// holds compares with every hash, in a time that depends on their number alone.
func (p *publishers) holds(token string) (settings.Grant, bool) {
	sum := sha256.Sum256([]byte(token))
	at := -1
	for i := range p.tokens {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], p.tokens[i][:]), i, at)
	}
	if at < 0 {
		return settings.Grant{}, false
	}
	hash := hex.EncodeToString(sum[:])
	g := settings.Grant{Identity: "token:" + hash[:8], Scopes: everything}
	if !slices.Contains(p.tokens[:p.wide], sum) {
		g.Scopes = p.scopes(func(e *publisherEntry) bool { return strings.EqualFold(e.TokenSHA256, hash) })
	}
	return g, true
}

// external says what the holder of a token may publish that is of an issuer of the
// channel's entries. It reports whether the token says that it is.
func (v *Verifier) external(channelName string, ch *channel, token string) (g settings.Grant, ours bool, err error) {
	if ch.publisherAlgorithms == nil {
		return g, false, nil
	}
	key := cacheKey(channelName+"\x00publishers", token)
	if g, ok := v.externals.get(key, v.clock()); ok {
		return g, true, nil
	}
	tok, named := unverified(token, ch.publisherAlgorithms)
	if tok == nil {
		return g, false, nil
	}
	var until time.Time
	refusal := errSubject
	for i := range ch.publishers.entries {
		e := &ch.publishers.entries[i]
		if e.JWT == nil || e.JWT.Issuer != named.Issuer {
			continue
		}
		ours = true
		claims := &clientClaims{}
		_, failure := v.verifyBy(e.issuer, tok, claims)
		switch {
		case failure != nil:
			refusal = failure
		case e.JWT.Covers(claims.Subject):
			g.Scopes = append(g.Scopes, e.Scope)
			g.Identity = "jwt:" + named.Issuer + ":" + claims.Subject
			until = claims.Expiry.Time().Add(e.issuer.skew())
		}
	}
	if len(g.Scopes) == 0 {
		return g, ours, refusal
	}
	v.externals.add(key, g, until)
	return g, true, nil
}

var (
	errNotSHA256 = errors.New("is not a SHA-256 in hex")
	errSubject   = &Error{CodeNotAllowed, "the token's subject (sub) may not publish to this channel"}
)

// unverified reads what a token says of itself. Nil: it is none.
func unverified(token string, algorithms []jose.SignatureAlgorithm) (*jwt.JSONWebToken, *jwt.Claims) {
	if strings.IndexByte(token, '.') > maxTokenHeader {
		return nil, nil
	}
	tok, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, nil
	}
	named := &jwt.Claims{}
	if tok.UnsafeClaimsWithoutVerification(named) != nil {
		return nil, nil
	}
	return tok, named
}
