// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"slices"
	"strings"
)

// Publishers says who may publish.
type Publishers struct {
	// AnyInNamespace is a namespace all of whose ServiceAccounts may publish.
	AnyInNamespace string `json:"anyInNamespace,omitempty"`
	// ServiceAccounts that may publish.
	ServiceAccounts []ServiceAccount `json:"serviceAccounts,omitempty"`
	// TokenSHA256 are the hex SHA-256 of static tokens that may publish.
	TokenSHA256 []string `json:"tokenSHA256,omitempty"`
	// Anonymous lets those publish who show no token, and do nothing else.
	Anonymous bool `json:"anonymous,omitempty"`
	// Entries are publishers that are narrowed, or of other issuers than the cluster's.
	Entries []PublisherEntry `json:"entries,omitempty"`
}

// Scope narrows what a publisher may publish. The zero Scope narrows nothing.
type Scope struct {
	// Events by name or "prefix*". Empty: all.
	Events []string `json:"events,omitempty"`
	// Rooms by name or "prefix*": events must be for such rooms, and for nobody else. Empty:
	// events may be for anybody.
	Rooms []string `json:"rooms,omitempty"`
}

// narrow reports whether the scope narrows anything.
func (s *Scope) narrow() bool { return len(s.Events)+len(s.Rooms) > 0 }

// Grant is what the holder of a token may do on the events listener, for one channel.
type Grant struct {
	// Identity tells publishers apart: "system:serviceaccount:NAMESPACE:NAME", "token:…" for
	// a static one, "jwt:ISSUER:SUBJECT", "anonymous".
	Identity string
	// Scopes of which one must fit what is published.
	Scopes []Scope
}

// Everything reports whether the holder may do all that publishers may: publish anything,
// read, and manage sessions. Others may only publish.
func (g *Grant) Everything() bool {
	return slices.ContainsFunc(g.Scopes, func(s Scope) bool { return !s.narrow() })
}

// Allows reports whether an event may be published: its name, the rooms that it is for, and
// whether it is for anybody else: users, sessions, or all of the channel.
func (g *Grant) Allows(event string, rooms []string, others bool) bool {
	return slices.ContainsFunc(g.Scopes, func(s Scope) bool {
		if len(s.Events) > 0 && !fits(s.Events, event) {
			return false
		}
		return len(s.Rooms) == 0 || !others && !slices.ContainsFunc(rooms, func(room string) bool { return !fits(s.Rooms, room) })
	})
}

// fits reports whether one of the patterns is the name, or stands for it.
func fits(patterns []string, name string) bool {
	for _, p := range patterns {
		if prefix, all := strings.CutSuffix(p, "*"); p == name || all && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// PublisherEntry is one publisher that is narrowed, or is of an issuer that is not the
// cluster's: exactly one of ServiceAccount, TokenSHA256, Anonymous and JWT is set.
type PublisherEntry struct {
	ServiceAccount *ServiceAccount `json:"serviceAccount,omitempty"`
	TokenSHA256    string          `json:"tokenSHA256,omitempty"`
	Anonymous      bool            `json:"anonymous,omitempty"`
	JWT            *PublisherJWT   `json:"jwt,omitempty"`
	Scope
}

// PublisherJWT trusts tokens of an issuer, if they are of certain subjects.
type PublisherJWT struct {
	JWTIssuer
	// Subjects by name or "prefix*".
	Subjects []string `json:"subjects"`
}

// Covers reports whether a token's subject is among them.
func (j *PublisherJWT) Covers(subject string) bool { return fits(j.Subjects, subject) }
