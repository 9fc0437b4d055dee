// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package presence

import (
	"cmp"
	"slices"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Scope is a Channel, or one of its rooms.
type Scope struct {
	Channel string `json:"channel"`
	Room    string `json:"room,omitempty"`
}

// Listed is how many users those who watch are told of at a time at most.
const Listed = 1000

// update is what a replica says of a scope when something has changed.
type update struct {
	Replica uint32 `json:"replica"`
	// Version of what the replica says of the scope, and that before; 0: nothing is
	// there, or has been said.
	Version uint64 `json:"version"`
	Before  uint64 `json:"before"`
	// Sessions of the replica that are there.
	Sessions int `json:"sessions"`
	// Users whose number of sessions has changed, and that number.
	Users map[string]int `json:"users,omitempty"`
}

// Question asks for a scope.
type Question struct {
	Scope
	// Known are the versions that are known, by replica.
	Known map[uint32]uint64 `json:"known,omitempty"`
}

// state is a part of all that a replica has to say of a scope.
type state struct {
	Scope
	Replica  uint32         `json:"replica"`
	Version  uint64         `json:"version"`
	Sessions int            `json:"sessions"`
	Users    map[string]int `json:"users,omitempty"`
	// All is how many users the parts have together.
	All int `json:"all"`
}

// part is what one replica has said of a scope.
type part struct {
	version  uint64
	seen     uint64 // the latest version that is known to be
	sessions int
	users    map[string]int
}

// byName lists users.
func byName(sessions map[string]int) []wire.PresenceUser {
	users := make([]wire.PresenceUser, 0, len(sessions))
	for user, n := range sessions {
		users = append(users, wire.PresenceUser{User: user, Sessions: n})
	}
	slices.SortFunc(users, func(a, b wire.PresenceUser) int { return cmp.Compare(a.User, b.User) })
	return users
}
