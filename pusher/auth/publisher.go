// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// publishers are who may publish to one channel.
type publishers struct {
	anyIn    string
	accounts map[settings.ServiceAccount]bool
	tokens   [][sha256.Size]byte

	anonymous bool
}

// Anonymous reports whether those who show no token may publish to the channel. They
// may do nothing else that publishers may.
func (v *Verifier) Anonymous(channelName string) bool {
	ch := v.channels[channelName]
	return ch != nil && ch.publishers.anonymous
}

// Publisher says who holds the token and may publish to the channel:
// "system:serviceaccount:NAMESPACE:NAME", or "token" for a static one.
//
// Whether a channel exists is only told to ServiceAccounts of the Pusher's own
// namespace; all others get the answer that they would get if it existed and
// did not allow them. The error is always an *Error.
func (v *Verifier) Publisher(channelName, token string) (string, error) {
	if token == "" {
		return "", &Error{CodeTokenMissing, "publishing needs a token: Authorization: Bearer <token>"}
	}
	if len(token) > MaxTokenBytes {
		return "", errTokenTooLarge
	}
	ch := v.channels[channelName]
	if ch != nil && ch.publishers.holds(token) {
		return "token", nil
	}
	sa, err := v.account(token)
	if err != nil {
		return "", err
	}
	if ch != nil && (ch.publishers.anyIn == sa.Namespace || ch.publishers.accounts[sa]) {
		return accountPrefix + sa.Namespace + ":" + sa.Name, nil
	}
	if ch == nil && sa.Namespace == v.namespace {
		return "", errUnknownChannel
	}
	return "", &Error{CodeNotAllowed, "this ServiceAccount may not publish to the channel, or there is no such channel"}
}

// holds compares with every hash, in a time that depends on their number alone.
func (p *publishers) holds(token string) bool {
	sum := sha256.Sum256([]byte(token))
	found := 0
	for i := range p.tokens {
		found |= subtle.ConstantTimeCompare(sum[:], p.tokens[i][:])
	}
	return found == 1
}
