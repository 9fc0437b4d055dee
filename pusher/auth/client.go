// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// hmacAlgorithms are all that a client's token may be signed with while issuers
// of clients are HMAC issuers (RFC 7518 section 3.2).
var hmacAlgorithms = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}

// Client is who connects to a channel.
type Client struct {
	// User is the token's "sub"; empty when Anonymous.
	User string
	// Expires is when the session must end: the token's "exp" and the allowed
	// skew. Zero: never.
	Expires time.Time
	// Anonymous is true when no token was sent.
	Anonymous bool

	// everyRoom lifts the question; rooms are the patterns of the token's claim.
	everyRoom bool
	rooms     []string
}

// clientClaims are the claims of a client's token that mean something here.
// anonymous is every client that sent no token.
var anonymous = &Client{Anonymous: true, everyRoom: true}

type clientClaims struct {
	jwt.Claims

	// Rooms lists what the user may join: a name, "prefix*", or "*" for all.
	Rooms *[]string `json:"rooms"`
}

// Client says who holds the token and may connect to the channel. Without a
// token only anonymous channels let one in; a bad token is refused by those
// too. The error is always an *Error.
func (v *Verifier) Client(channelName, token string) (*Client, error) {
	ch := v.channels[channelName]
	if ch == nil {
		return nil, errUnknownChannel
	}
	if token == "" {
		if ch.anonymous {
			return anonymous, nil
		}
		return nil, &Error{CodeTokenMissing, "this channel needs a token"}
	}
	if len(token) > MaxTokenBytes {
		return nil, errTokenTooLarge
	}
	key := cacheKey(channelName, token)
	if c, ok := v.clients.get(key, v.clock()); ok {
		return c, nil
	}
	c, err := v.newClient(ch, token)
	if err != nil {
		return nil, err
	}
	v.clients.add(key, c, c.Expires)
	return c, nil
}

func (v *Verifier) newClient(ch *channel, token string) (*Client, error) {
	tok, err := jwt.ParseSigned(token, hmacAlgorithms)
	if err != nil {
		return nil, invalid("the token is not a JWT signed with HS256, HS384 or HS512")
	}
	claims, err := v.clientClaims(ch, tok)
	if err != nil {
		return nil, err
	}
	c := &Client{User: claims.Subject, Expires: claims.Expiry.Time().Add(Skew)}
	if claims.Rooms == nil {
		c.everyRoom = ch.anonymous
		return c, nil
	}
	// A client stays for as long as its session: one string for all of it.
	all := c.User + strings.Join(*claims.Rooms, "")
	c.User, all = all[:len(c.User)], all[len(c.User):]
	c.rooms = make([]string, len(*claims.Rooms))
	for i, room := range *claims.Rooms {
		c.rooms[i], all = all[:len(room)], all[len(room):]
	}
	return c, nil
}

// clientClaims verifies tok by the channel's issuers of its name. There can be
// several of one name, while a key is replaced.
func (v *Verifier) clientClaims(ch *channel, tok *jwt.JSONWebToken) (*clientClaims, error) {
	var named jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&named); err != nil {
		return nil, invalid("the token's claims cannot be read")
	}
	failure := invalid("the token's issuer (iss) is not one of this channel")
	trusted := false // a key fits: what is wrong then is worth more than "wrong key"
	for i := range ch.issuers {
		j := &ch.issuers[i]
		if j.Issuer != named.Issuer {
			continue
		}
		claims := &clientClaims{}
		if err := tok.Claims(j.HMACKey, claims); err != nil {
			if !trusted {
				failure = signatureError(err)
			}
			continue
		}
		trusted = true
		if failure = v.checkClient(j, claims); failure == nil {
			return claims, nil
		}
	}
	return nil, failure
}

func (v *Verifier) checkClient(j *settings.JWTIssuer, c *clientClaims) *Error {
	if err := v.checkTimes(&c.Claims, jwt.Expected{Issuer: j.Issuer, AnyAudience: j.Audiences}); err != nil {
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

// checkTimes checks the claims that every kind of token has.
func (v *Verifier) checkTimes(c *jwt.Claims, want jwt.Expected) *Error {
	want.Time = v.clock()
	err := c.ValidateWithLeeway(want, Skew)
	switch {
	case errors.Is(err, jwt.ErrInvalidAudience):
		return invalid("the token is meant for another audience (aud)")
	case errors.Is(err, jwt.ErrExpired):
		return errTokenExpired
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return invalid("the token is not valid yet (nbf, iat): compare the clocks")
	case err != nil:
		return invalid("the token's issuer (iss) is not trusted here")
	case c.Expiry == nil:
		return invalid("the token never expires: it needs an expiry (exp)")
	}
	return nil
}

func signatureError(err error) *Error {
	if errors.Is(err, jose.ErrInvalidKeySize) {
		return invalid("the issuer's key is too short for the token's algorithm: use HS256, or a longer key")
	}
	return invalid("the token's signature or claims are wrong")
}

// MayJoin reports whether c may be in the room. A token's claim "rooms" lists
// what its holder may join: names, "prefix*", or "*" for every room; without
// the claim it may join none. On an anonymous channel whoever shows no claim may
// join every room.
func (v *Verifier) MayJoin(c *Client, room string) bool {
	if c.everyRoom {
		return true
	}
	for _, p := range c.rooms {
		if prefix, ok := strings.CutSuffix(p, "*"); ok && strings.HasPrefix(room, prefix) || p == room {
			return true
		}
	}
	return false
}
