// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package engineio

import "encoding/json"

// Handshake is the data of the Open packet.
type Handshake struct {
	// SID is the session's id: secret, to be sent with all later requests.
	SID string `json:"sid"`
	// Upgrades are the transports that the client may change over to.
	Upgrades []string `json:"upgrades"`
	// PingInterval is the time between pings, PingTimeout the time for a pong, both
	// in milliseconds.
	PingInterval int64 `json:"pingInterval"`
	PingTimeout  int64 `json:"pingTimeout"`
	// MaxPayload is the most that the client may send at a time, in bytes.
	MaxPayload int64 `json:"maxPayload"`
}

// EncodeOpen returns the text of the Open packet.
func EncodeOpen(h Handshake) []byte {
	if h.Upgrades == nil {
		h.Upgrades = []string{} // clients read a list, never null
	}
	return append([]byte{byte(Open)}, encode(h)...)
}

// Code says why a request was refused.
type Code int

// The codes of refusals.
const (
	UnknownTransport Code = iota
	UnknownSession
	BadHandshakeMethod
	BadRequest
	Forbidden
	UnsupportedVersion
)

var messages = [...]string{
	UnknownTransport:   "Transport unknown",
	UnknownSession:     "Session ID unknown",
	BadHandshakeMethod: "Bad handshake method",
	BadRequest:         "Bad request",
	Forbidden:          "Forbidden",
	UnsupportedVersion: "Unsupported protocol version",
}

// Status is the HTTP status to answer with.
func (c Code) Status() int {
	if c == Forbidden {
		return 403
	}
	return 400
}

// JSON is the body to answer with, application/json.
func (c Code) JSON() []byte {
	return encode(struct {
		Code    Code   `json:"code"`
		Message string `json:"message"`
	}{c, messages[c]})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("engineio: a packet of ours cannot be marshalled: " + err.Error())
	}
	return b
}
