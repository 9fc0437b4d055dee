// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"net/http"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// The forms of the HTTP Protocol Binding for CloudEvents 1.0.2.
var (
	binaryMode     = form{decodeBinary, answerAccepted}
	structuredMode = form{decodeStructured, answerAccepted}
	batchedMode    = form{decodeBatch, answerAccepted}
)

func decodeBinary(b *buffers, r *http.Request, req *request) ([]*wire.Event, *problem) {
	if p := checkBody(b, req); p != nil {
		return nil, p
	}
	ev, p := decodeHeaders(r.Header, b.body.Bytes(), req.settings)
	return []*wire.Event{ev}, p
}

func decodeStructured(b *buffers, _ *http.Request, req *request) ([]*wire.Event, *problem) {
	if p := compact(&b.compact, b.body.Bytes()); p != nil {
		return nil, p
	}
	ev, p := decodeOne(b, req, decodeCloudEvent)
	return []*wire.Event{ev}, p
}

func decodeBatch(b *buffers, _ *http.Request, req *request) ([]*wire.Event, *problem) {
	if p := compact(&b.compact, b.body.Bytes()); p != nil {
		return nil, p
	}
	doc := b.compact.Bytes()
	if doc[0] != '[' {
		return nil, invalid("a batch is a JSON array of CloudEvents")
	}
	return decodeArray(doc, req, decodeCloudEvent)
}

// answerAccepted answers without a body: what is in one, senders take for a CloudEvent
// that is sent back, or for an error.
func answerAccepted(w http.ResponseWriter, _ *buffers, d done) {
	h := w.Header()
	if n := len(d.receipts); n > 0 {
		h.Set("Klaxon-Offset", d.receipts[n-1].Position.String())
	}
	if d.reach != nil {
		d.reach.header(h)
	}
	w.WriteHeader(http.StatusAccepted)
}
