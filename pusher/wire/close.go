// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

// CloseCode is a WebSocket close code (RFC 6455 section 7.4). Codes from 4000
// on are Klaxon's own; docs/protocol.md has the same table for clients.
type CloseCode uint16

// The close codes that a push server sends.
const (
	CloseNormal       CloseCode = 1000 // in answer to the client's close
	CloseProtocol     CloseCode = 1002 // the client broke RFC 6455
	CloseUnsupported  CloseCode = 1003 // a binary message where text is spoken
	CloseNoStatus     CloseCode = 1005 // never sent: the peer's close frame had no code
	CloseAbnormal     CloseCode = 1006 // never sent: the connection ended without a close frame
	CloseInvalidText  CloseCode = 1007 // a text message that is no UTF-8
	CloseTooBig       CloseCode = 1009 // a message over the limit
	CloseRestart      CloseCode = 1012 // this push server ends
	CloseTryLater     CloseCode = 1013 // no room for another connection now
	CloseUnauthorized CloseCode = 4001 // the session's token expired or is not good any more
	CloseForbidden    CloseCode = 4003 // this client may not connect
	CloseChannelGone  CloseCode = 4004 // the Channel was deleted or moved
	CloseSlow         CloseCode = 4008 // the client read slower than its buffer allows
	CloseHeartbeat    CloseCode = 4009 // no answer to a ping
	CloseByPublisher  CloseCode = 4010 // a publisher ended the session
)

// Advice tells a client what to do after a close.
type Advice string

// What a client may do after a close.
const (
	Reconnect Advice = "reconnect"        // with backoff and jitter
	NewToken  Advice = "get a new token"  // then reconnect
	StayAway  Advice = "do not reconnect" // until a person or program changes something
)

// CloseInfo describes a close code: its reason as sent, and what the client should do.
type CloseInfo struct {
	Code   CloseCode
	Reason string
	Advice Advice
}

// CloseTable lists every code that a push server sends.
var CloseTable = []CloseInfo{
	{CloseNormal, "", StayAway},
	{CloseProtocol, "protocol error", StayAway},
	{CloseUnsupported, "send text, not binary", StayAway},
	{CloseInvalidText, "text is not UTF-8", StayAway},
	{CloseTooBig, "message too big", StayAway},
	{CloseRestart, "server restarts", Reconnect},
	{CloseTryLater, "full, try again later", Reconnect},
	{CloseUnauthorized, "token expired or not valid any more", NewToken},
	{CloseForbidden, "not allowed", StayAway},
	{CloseChannelGone, "channel is gone", StayAway},
	{CloseSlow, "too slow", Reconnect},
	{CloseHeartbeat, "no answer to ping", Reconnect},
	{CloseByPublisher, "disconnected by a publisher", StayAway},
}

// Reason is the text that goes with a code that needs no other.
func (c CloseCode) Reason() string { return c.info().Reason }

// Advice is what the client should do.
func (c CloseCode) Advice() Advice { return c.info().Advice }

func (c CloseCode) info() CloseInfo {
	for _, i := range CloseTable {
		if i.Code == c {
			return i
		}
	}
	return CloseInfo{}
}
