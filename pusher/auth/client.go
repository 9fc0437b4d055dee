// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// hmacAlgorithms are all that tokens of an issuer with a shared key may be signed with
// (RFC 7518 section 3.2).
var hmacAlgorithms = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}

// Client is who connects to a channel. It is kept for as long as its session, so
// it is small: one string holds all that it says.
type Client struct {
	said      string // the user, then the claims if hasClaims, the hash of the token's id if hasTokenID, and each room; with two bytes before each of these for its length
	userBytes uint16
	flags     clientFlags
	expires   int64 // Unix seconds; 0: never
}

type clientFlags uint8

const (
	isAnonymous clientFlags = 1 << iota
	everyRoom               // lifts the question
	hasClaims               // some rule needs them
	hasTokenID              // the token has one
)

// anonymous is every client that sent no token.
var anonymous = Client{flags: isAnonymous | everyRoom}

// newClient makes a client of a token's claims. The JSON of all of them is kept if it is
// not empty.
func newClient(claims *clientClaims, raw []byte, flags clientFlags) Client {
	c := Client{flags: flags, userBytes: uint16(len(claims.Subject))} //nolint:gosec // wire.MaxUserName
	said := []byte(claims.Subject)
	if len(raw) > 0 {
		c.flags |= hasClaims
		said = appendPart(said, string(raw))
	}
	if claims.ID != "" {
		c.flags |= hasTokenID
		said = appendPart(said, hashTokenID(claims.ID))
	}
	if claims.Rooms != nil {
		for _, room := range *claims.Rooms {
			said = appendPart(said, room)
		}
	}
	c.said = string(said)
	return c
}

func appendPart(said []byte, part string) []byte {
	said = binary.BigEndian.AppendUint16(said, uint16(len(part))) //nolint:gosec // a token is smaller: MaxTokenBytes
	return append(said, part...)
}

// User is the token's "sub"; empty when Anonymous.
func (c *Client) User() string { return c.said[:c.userBytes] }

// As returns the client by another name, with all else that its token says.
func (c *Client) As(user string) Client {
	named := *c
	named.said, named.userBytes = user+c.said[c.userBytes:], uint16(len(user)) //nolint:gosec // wire.MaxUserName
	return named
}

// Expires is when the session must end: the token's "exp" and the allowed skew.
// Zero: never.
func (c *Client) Expires() time.Time {
	if c.expires == 0 {
		return time.Time{}
	}
	return time.Unix(c.expires, 0)
}

// Anonymous is true when no token was sent.
func (c *Client) Anonymous() bool { return c.flags&isAnonymous != 0 }

// Bytes and UnmarshalBinary carry a Client to another replica.
func (c *Client) Bytes() []byte {
	b := append(make([]byte, 0, 11+len(c.said)), byte(c.flags))
	b = binary.BigEndian.AppendUint64(b, uint64(c.expires)) //nolint:gosec // and back
	b = binary.BigEndian.AppendUint16(b, c.userBytes)
	return append(b, c.said...)
}

// UnmarshalBinary is the other half of Bytes.
func (c *Client) UnmarshalBinary(b []byte) error {
	const head = 1 + 8 + 2
	if len(b) < head {
		return errors.New("auth: not a client")
	}
	c.flags = clientFlags(b[0])
	c.expires = int64(binary.BigEndian.Uint64(b[1:])) //nolint:gosec // as above
	c.userBytes = binary.BigEndian.Uint16(b[9:])
	if c.said = string(b[head:]); int(c.userBytes) > len(c.said) {
		return errors.New("auth: not a client")
	}
	parts := c.said[c.userBytes:]
	n := 0
	for ; len(parts) > 0; n++ {
		size := 2
		if len(parts) >= size {
			size += int(parts[0])<<8 + int(parts[1])
		}
		if size > len(parts) {
			return errors.New("auth: not a client")
		}
		parts = parts[size:]
	}
	if n < c.extras() {
		return errors.New("auth: not a client")
	}
	return nil
}

// extras is how many parts there are before the rooms.
func (c *Client) extras() int { return bits.OnesCount8(uint8(c.flags & (hasClaims | hasTokenID))) }

// claims are the JSON of the token's claims; empty where no rule needs them.
func (c *Client) claims() string {
	if c.flags&hasClaims == 0 {
		return ""
	}
	for first := range c.parts {
		return first
	}
	return ""
}

// tokenID is the hash of the token's id; empty: it has none.
func (c *Client) tokenID() string {
	if c.flags&hasTokenID == 0 {
		return ""
	}
	last := c.extras()
	for part := range c.parts {
		if last--; last == 0 {
			return part
		}
	}
	return ""
}

// hashTokenID takes less room than what issuers make up.
func hashTokenID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return string(sum[:8])
}

// forgetClaims lets go of the claims.
func (c *Client) forgetClaims() {
	if c.flags&hasClaims != 0 {
		c.said = c.User() + c.said[int(c.userBytes)+2+len(c.claims()):]
		c.flags &^= hasClaims
	}
}

// rooms are the patterns of the token's claim.
func (c *Client) rooms(yield func(string) bool) {
	extras := c.extras()
	for part := range c.parts {
		if extras--; extras < 0 && !yield(part) {
			return
		}
	}
}

// parts are what follows the user.
func (c *Client) parts(yield func(string) bool) {
	for all := c.said[c.userBytes:]; len(all) > 0; {
		n := 2 + int(all[0])<<8 + int(all[1])
		if !yield(all[2:n]) {
			return
		}
		all = all[n:]
	}
}

// Revoked reports whether a client that is connected may not be any more; subject is
// that of its token, whichever name a handler has given it.
func (v *Verifier) Revoked(channelName, subject string, c *Client) bool {
	ch := v.channels[channelName]
	return ch != nil && !c.Anonymous() && (ch.revokedUsers[subject] || ch.revokedTokens[c.tokenID()])
}

// clientClaims are the claims of a client's token that mean something here.
type clientClaims struct {
	jwt.Claims

	// Rooms lists what the user may join: a name, "prefix*", or "*" for all.
	Rooms *[]string `json:"rooms"`
}

// Client says who holds the token and may connect to the channel. Without a
// token only anonymous channels let one in; a bad token is refused by those
// too. The error is always an *Error.
func (v *Verifier) Client(channelName, token string) (Client, error) {
	ch := v.channels[channelName]
	if ch == nil {
		return Client{}, errUnknownChannel
	}
	if token == "" {
		if ch.anonymous {
			return anonymous, nil
		}
		return Client{}, &Error{CodeTokenMissing, "this channel needs a token"}
	}
	if len(token) > MaxTokenBytes {
		return Client{}, errTokenTooLarge
	}
	key := cacheKey(channelName, token)
	if c, ok := v.clients.get(key, v.clock()); ok {
		return c, nil
	}
	if strings.IndexByte(token, '.') > maxTokenHeader {
		return Client{}, errHeaderTooLarge
	}
	tok, err := jwt.ParseSigned(token, ch.algorithms)
	if err != nil {
		return Client{}, invalid("the token is not a JWT that is signed as those of this channel's issuers are")
	}
	claims, skew, err := v.clientClaims(ch, tok)
	if err != nil {
		return Client{}, err
	}
	if ch.revokedUsers[claims.Subject] || claims.ID != "" && ch.revokedTokens[hashTokenID(claims.ID)] {
		return Client{}, errRevoked
	}
	var flags clientFlags
	if claims.Rooms == nil && ch.anonymous {
		flags = everyRoom
	}
	var raw []byte
	if ch.rules.claimsFirst {
		raw = Claims(token)
	}
	c := newClient(claims, raw, flags)
	c.expires = claims.Expiry.Time().Add(skew).Unix()
	if len(c.said) <= maxCached {
		v.clients.add(key, c, c.Expires())
	}
	return c, nil
}

// clientClaims verifies tok by the channel's issuers of its name. There can be
// several of one name, while a key is replaced.
func (v *Verifier) clientClaims(ch *channel, tok *jwt.JSONWebToken) (*clientClaims, time.Duration, error) {
	var named jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&named); err != nil {
		return nil, 0, invalid("the token's claims cannot be read")
	}
	failure := invalid("the token's issuer (iss) is not one of this channel")
	trusted := false // a key fits: what is wrong then is worth more than "wrong key"
	for _, j := range ch.issuers {
		if j.Issuer != named.Issuer {
			continue
		}
		claims := &clientClaims{}
		fits, err := v.verifyBy(j, tok, claims)
		if err == nil {
			return claims, j.skew(), nil
		}
		if fits || !trusted {
			failure = err
		}
		trusted = trusted || fits
	}
	return nil, 0, failure
}

// checkTimes checks the claims that every kind of token has.
func (v *Verifier) checkTimes(c *jwt.Claims, want jwt.Expected, skew time.Duration) *Error {
	want.Time = v.clock()
	err := c.ValidateWithLeeway(want, skew)
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
