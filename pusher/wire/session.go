// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "encoding/base32"

// SessionID names a session. Most of it is random, so that it cannot be guessed.
type SessionID [16]byte

var sessionIDs = base32.StdEncoding.WithPadding(base32.NoPadding)

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
