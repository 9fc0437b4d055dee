// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/rand"
	"encoding/base32"
)

// SessionID names a session. It cannot be guessed: 128 random bits.
type SessionID [16]byte

var sessionIDs = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewSessionID makes an id up.
func NewSessionID() (id SessionID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// String is the id as clients and publishers see it: 26 letters and digits.
func (id SessionID) String() string { return sessionIDs.EncodeToString(id[:]) }

// ParseSessionID reads what String writes. It reports false for anything else,
// which then is the id of no session.
func ParseSessionID(s string) (id SessionID, ok bool) {
	if len(s) != sessionIDs.EncodedLen(len(id)) {
		return SessionID{}, false
	}
	var b [17]byte // what 26 letters may decode to
	n, err := sessionIDs.Decode(b[:], []byte(s))
	if err != nil || n != len(id) {
		return SessionID{}, false
	}
	copy(id[:], b[:])
	return id, id.String() == s // the last letter has bits to spare
}
