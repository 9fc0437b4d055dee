// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package socketio

import "bytes"

// Decoder joins the messages of one client to packets. Its zero value is ready; it
// is small while no binary packet is under way. After an error it is as new, but
// the client is not to be listened to any more.
type Decoder struct {
	pending *pending // nil: no binary packet is under way
}

// pending is a packet whose attachments are due.
type pending struct {
	packet Packet
	due    int // attachments still to come
	size   int // bytes so far
}

// Text takes the data of an Engine.IO message that is text. It reports whether p is
// a whole packet; otherwise binary messages are to follow. A packet and its
// attachments have at most maxBytes. The packet may alias b.
func (d *Decoder) Text(b []byte, maxBytes int) (p Packet, done bool, err error) {
	if d.pending != nil {
		d.pending = nil
		return Packet{}, false, errText
	}
	if len(b) > maxBytes {
		return Packet{}, false, errSize
	}
	p, n, err := parse(b)
	if err != nil {
		return Packet{}, false, err
	}
	if n == 0 {
		return p, true, nil
	}
	p.Data = bytes.Clone(p.Data)
	p.Attachments = make([][]byte, 0, n)
	d.pending = &pending{packet: p, due: n, size: len(b)}
	return Packet{}, false, nil
}

// Binary takes an Engine.IO message that is binary: an attachment. It reports
// whether p is whole now. The packet may alias b.
func (d *Decoder) Binary(b []byte, maxBytes int) (p Packet, done bool, err error) {
	w := d.pending
	if w == nil {
		return Packet{}, false, errBinary
	}
	if w.size += len(b); w.size > maxBytes {
		d.pending = nil
		return Packet{}, false, errSize
	}
	if w.due--; w.due > 0 {
		w.packet.Attachments = append(w.packet.Attachments, bytes.Clone(b))
		return Packet{}, false, nil
	}
	d.pending = nil
	w.packet.Attachments = append(w.packet.Attachments, b)
	return w.packet, true, nil
}
