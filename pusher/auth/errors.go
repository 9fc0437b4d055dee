// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

// The codes of an Error. They are stable: programs may depend on them.
const (
	// CodeUnknownChannel: there is no such channel.
	CodeUnknownChannel = "unknown_channel"
	// CodeTokenMissing: a token is needed and none was sent.
	CodeTokenMissing = "token_missing"
	// CodeTokenInvalid: the token is malformed, not signed by a trusted key, or
	// not meant for this channel.
	CodeTokenInvalid = "token_invalid"
	// CodeTokenExpired: the token was good and has expired.
	CodeTokenExpired = "token_expired"
	// CodeNotAllowed: the token is good, and its holder may not do this.
	CodeNotAllowed = "not_allowed"
	// CodeOriginRefused: pages of this origin may not connect.
	CodeOriginRefused = "origin_refused"
)

// Error is a refusal.
type Error struct {
	code    string
	message string
}

// Code is one of the constants above.
func (e *Error) Code() string { return e.code }

// Error says why in a sentence that is safe to show to whoever was refused.
func (e *Error) Error() string { return e.message }

func invalid(message string) *Error { return &Error{CodeTokenInvalid, message} }

var (
	errUnknownChannel = &Error{CodeUnknownChannel, "there is no such channel"}
	errTokenTooLarge  = invalid("the token is larger than 16 KiB")
	errHeaderTooLarge = invalid("the token's header is larger than 1 KiB")
	errUnknownKey     = invalid("the token is signed with a key that is not known here; if the issuer's keys are new, try again in a minute")
	errOtherAlgorithm = invalid("the token's algorithm is not its key's")
	errRevoked        = invalid("the token, or its user, has been revoked")
	errTokenExpired   = &Error{CodeTokenExpired, "the token has expired: get a new one"}
)
