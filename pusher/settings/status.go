// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package settings

// Status is what a push server answers on /status of its admin listener.
type Status struct {
	// Revision of the settings that are served.
	Revision string `json:"revision"`
	// SettingsError says why newer settings were refused, while the earlier are
	// still served. Empty when what was last read is what is served.
	SettingsError string `json:"settingsError,omitempty"`
	// UnknownKeyIDs are key ids of ServiceAccount tokens that no known key has,
	// seen since the keys last changed; at most 8. The issuer may have rotated.
	UnknownKeyIDs []string `json:"unknownKeyIDs,omitempty"`
	// UnknownKeyURLs are the JWKSURLs of issuers whose clients have shown tokens of keys that
	// are not known, since the settings last changed. These issuers may have rotated.
	UnknownKeyURLs []string `json:"unknownKeyURLs,omitempty"`
	// Connections is the number of client connections.
	Connections int64 `json:"connections"`
	// MemoryPercent is how much of the memory that the process may have is in use. 0:
	// nobody knows how much that is.
	MemoryPercent int32 `json:"memoryPercent,omitempty"`
	// Full says that newcomers had better go elsewhere.
	Full bool `json:"full,omitempty"`
	// Draining is true once the process has been told to end.
	Draining bool `json:"draining,omitempty"`
	// Channels by name.
	Channels map[string]ChannelStatus `json:"channels"`
}

// ChannelStatus is one Channel's part of a Status.
type ChannelStatus struct {
	// Revision of the Channel's settings that are served.
	Revision string `json:"revision"`
	// Connections is the number of its sessions.
	Connections int64 `json:"connections"`
}
