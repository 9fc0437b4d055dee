// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

// PresenceUser is a user who is in a channel or room.
type PresenceUser struct {
	User     string `json:"user"`
	Sessions int    `json:"sessions"`
}

// PresenceTotals are how many are in a channel or room, named or not.
type PresenceTotals struct {
	// Users that are there. Sessions without a user are none.
	Users int `json:"userCount"`
	// Sessions, also those without a user.
	Sessions int `json:"sessionCount"`
}

// Presence is who is in a channel or, if Room is not empty, in a room.
type Presence struct {
	Room string `json:"room,omitempty"`
	// Users by name. There may be more than are listed.
	Users []PresenceUser `json:"users"`
	PresenceTotals
}

// PresenceChange is what has become different since the Presence or PresenceChange
// before.
type PresenceChange struct {
	Room   string   `json:"room,omitempty"`
	Joined []string `json:"joined,omitempty"`
	Left   []string `json:"left,omitempty"`
	PresenceTotals
}
