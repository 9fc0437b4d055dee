// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package engineio

import (
	"bytes"
	"encoding/base64"
	"errors"
	"iter"
	"unicode/utf8"
)

// Version is the protocol's version, as clients name it in the query's EIO.
const Version = 4

// Type is a packet's type: the digit that it begins with.
type Type byte

// The types of packets.
const (
	Open    Type = '0' // the handshake's answer
	Close   Type = '1' // the session ends
	Ping    Type = '2' // the server's heartbeat, and the client's first word on a probe
	Pong    Type = '3' // the answer to a ping
	Message Type = '4' // what the session is for
	Upgrade Type = '5' // the client changes over to the probe
	Noop    Type = '6' // ends a poll that has nothing to say
)

const (
	// separator stands between the packets of a polling payload.
	separator = 0x1e
	// base64Mark begins a binary message that is written as text.
	base64Mark = 'b'
)

// Packet is one packet.
type Packet struct {
	Type Type
	// Data is what follows the type, or the bytes of a binary message.
	Data []byte
	// Binary is true for a Message whose Data are bytes, not text.
	Binary bool
}

// What is wrong with packets. The texts may be sent to the client.
var (
	errEmpty  = errors.New("engine.io: empty packet")
	errType   = errors.New("engine.io: unknown packet type")
	errBase64 = errors.New("engine.io: binary message is not base64")
	errUTF8   = errors.New("engine.io: payload is not UTF-8")
)

// Parse reads one packet: a WebSocket's text message, or an entry of a polling
// payload. Data aliases text, unless the packet is binary: clients that are told to
// force base64 write binary messages so by WebSocket too. That text is UTF-8 has
// been checked before.
func Parse(text []byte) (Packet, error) {
	switch {
	case len(text) == 0:
		return Packet{}, errEmpty
	case text[0] == base64Mark:
		return parseBinary(text[1:])
	case text[0] < byte(Open) || text[0] > byte(Noop):
		return Packet{}, errType
	}
	return Packet{Type: Type(text[0]), Data: text[1:]}, nil
}

func parseBinary(text []byte) (Packet, error) {
	if bytes.ContainsAny(text, "\r\n") { // the decoder skips them
		return Packet{}, errBase64
	}
	data, err := base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(text))), text)
	if err != nil {
		return Packet{}, errBase64
	}
	return Packet{Type: Message, Data: data, Binary: true}, nil
}

// Packets reads a polling payload, packet by packet. The first error ends it; the
// packets before it are good. Data of packets that are not binary alias body.
func Packets(body []byte) iter.Seq2[Packet, error] {
	return func(yield func(Packet, error) bool) {
		if !utf8.Valid(body) {
			yield(Packet{}, errUTF8)
			return
		}
		for more := true; more; {
			var text []byte
			text, body, more = bytes.Cut(body, []byte{separator})
			p, err := Parse(text)
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// AppendPacket appends a packet to a polling payload. Data that are not Binary are
// text without the separator, which no JSON has in it.
func AppendPacket(payload []byte, p Packet) []byte {
	if len(payload) > 0 {
		payload = append(payload, separator)
	}
	if p.Binary {
		return base64.StdEncoding.AppendEncode(append(payload, base64Mark), p.Data)
	}
	return append(append(payload, byte(p.Type)), p.Data...)
}
