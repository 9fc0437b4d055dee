// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klaxon-dev/klaxon/pusher/settings"
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
	externals     cache[settings.Grant]
}

// channel is what one Channel's settings come to.
type channel struct {
	anonymous  bool
	origins    origins
	issuers    []*issuer
	algorithms []jose.SignatureAlgorithm // that the issuers' keys are for
	rules      *channelRules

	revokedUsers, revokedTokens map[string]bool // tokens by hashTokenID

	publishers publishers

	publisherAlgorithms []jose.SignatureAlgorithm // as algorithms, of publishers' issuers
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
	c.revokedUsers, c.revokedTokens = map[string]bool{}, map[string]bool{}
	for _, user := range s.Clients.Revoked.Users {
		c.revokedUsers[user] = true
	}
	for _, id := range s.Clients.Revoked.TokenIDs {
		c.revokedTokens[hashTokenID(id)] = true
	}
	for i := range s.Clients.JWT {
		issuer, err := newIssuer(&s.Clients.JWT[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.clients.jwt[%d].%w", path, i, err))
			continue
		}
		c.issuers = append(c.issuers, issuer)
		c.algorithms = issuer.with(c.algorithms)
	}
	if c.publishers, err = newPublishers(&s.Publishers); err != nil {
		errs = append(errs, fmt.Errorf("%s.publishers.%w", path, err))
	}
	for i := range c.publishers.entries {
		if issuer := c.publishers.entries[i].issuer; issuer != nil {
			c.publisherAlgorithms = issuer.with(c.publisherAlgorithms)
		}
	}
	return c, errors.Join(errs...)
}
