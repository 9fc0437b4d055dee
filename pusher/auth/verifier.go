// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/settings/keyset"
	"github.com/klaxon-dev/klaxon/pusher/settings/rules"
)

const (
	// MaxTokenBytes is the largest token that is looked at.
	MaxTokenBytes = 16 << 10
	// maxTokenHeader is the largest header (RFC 7515 section 4), in base64: what is in
	// it is read before the signature says who wrote it, and costs milliseconds.
	maxTokenHeader = 1 << 10
	// Skew is how far an issuer's clock may differ from ours, unless its settings say
	// otherwise: a token is taken this much before its "nbf" and after its "exp".
	Skew = 30 * time.Second
)

// Verifier answers by one snapshot of the settings.
type Verifier struct {
	// Static.
	clock     func() time.Time
	namespace string
	audience  string
	accounts  *accountIssuer // nil: ServiceAccount tokens are refused
	channels  map[string]*channel
	origins   origins // of all channels

	// Undecided is told of rules that could not be evaluated, which allows nothing. Nil:
	// nobody is. It is set before the Verifier is used.
	Undecided func(channelName string, kind rules.Kind, why error)

	unknown       unknownKeys
	unknownURLs   unknownKeys
	clients       cache[Client]
	accountTokens cache[settings.ServiceAccount]
}

// channel is what one Channel's settings come to.
type channel struct {
	anonymous  bool
	origins    origins
	issuers    []issuer
	algorithms []jose.SignatureAlgorithm // that the issuers' keys are for
	publishers publishers
	rules      *channelRules
}

// issuer is one whose clients' tokens are trusted: by an HMAC's key or, if that is nil, by
// public ones. Of which kind it is decides which algorithms its tokens may have.
type issuer struct {
	settings.JWTIssuer
	keys *keyset.Set
}

// New builds a Verifier; a nil clock is time.Now. The error holds all that is
// wrong with s, each with its path.
func New(s *settings.Settings, clock func() time.Time) (*Verifier, error) {
	if clock == nil {
		clock = time.Now
	}
	v := &Verifier{
		clock:     clock,
		namespace: s.Pusher.Namespace,
		audience:  s.Pusher.Audience(),
		channels:  make(map[string]*channel, len(s.Channels)),
	}
	var errs []error
	if sa := s.Pusher.ServiceAccounts; sa != nil {
		var err error
		if v.accounts, err = newAccountIssuer(sa); err != nil {
			errs = append(errs, fmt.Errorf("pusher.serviceAccounts.%w", err))
		}
	}
	for i := range s.Channels {
		c, err := newChannel(&s.Channels[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v.channels[s.Channels[i].Name] = c
		v.origins.include(c.origins)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return v, nil
}

func newChannel(s *settings.Channel) (*channel, error) {
	path := fmt.Sprintf("channels[%s]", s.Name)
	c := &channel{anonymous: s.Clients.Anonymous}
	c.origins.own = len(s.Clients.AllowedOrigins) == 0
	var errs []error
	for i, o := range s.Clients.AllowedOrigins {
		p, err := parseOriginPattern(o)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.clients.allowedOrigins[%d]: %w", path, i, err))
		}
		c.origins.add(p)
	}
	var err error
	if c.rules, err = newRules(s.Clients.Rules); err != nil {
		errs = append(errs, fmt.Errorf("%s.clients.%w", path, err))
	}
	for i := range s.Clients.JWT {
		if err := c.trust(&s.Clients.JWT[i]); err != nil {
			errs = append(errs, fmt.Errorf("%s.clients.jwt[%d].%w", path, i, err))
		}
	}
	c.publishers = publishers{anyIn: s.Publishers.AnyInNamespace, accounts: map[settings.ServiceAccount]bool{}, anonymous: s.Publishers.Anonymous}
	for _, sa := range s.Publishers.ServiceAccounts {
		c.publishers.accounts[sa] = true
	}
	for i, h := range s.Publishers.TokenSHA256 {
		sum, err := hex.DecodeString(h)
		if err != nil || len(sum) != sha256.Size {
			errs = append(errs, fmt.Errorf("%s.publishers.tokenSHA256[%d]: is not a SHA-256 in hex", path, i))
			continue
		}
		c.publishers.tokens = append(c.publishers.tokens, [sha256.Size]byte(sum))
	}
	return c, errors.Join(errs...)
}

// trust adds an issuer of clients' tokens.
func (c *channel) trust(j *settings.JWTIssuer) error {
	i := issuer{JWTIssuer: *j}
	algorithms := hmacAlgorithms
	switch {
	case j.Issuer == "":
		return errors.New("issuer: is missing")
	case len(j.Audiences) == 0:
		return errors.New("audiences: is empty")
	case len(j.JWKS) > 0 && len(j.HMACKey) > 0:
		return errors.New("jwks: is there beside hmacKey")
	case len(j.JWKS) > 0:
		var err error
		if i.keys, err = keyset.Parse(j.JWKS); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
		algorithms = keyset.Algorithms
	case len(j.HMACKey) < settings.MinSecretBytes:
		return fmt.Errorf("hmacKey: is shorter than %d bytes", settings.MinSecretBytes)
	}
	if !slices.Contains(c.algorithms, algorithms[0]) {
		c.algorithms = slices.Concat(c.algorithms, algorithms)
	}
	c.issuers = append(c.issuers, i)
	return nil
}
