// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	maxArrayEvents = 1000
	maxArrayBytes  = 8 << 20
	// maxPooled is the largest buffer that is kept for the next request.
	maxPooled = 256 << 10
)

// buffers of one request, reused by later ones.
type buffers struct {
	body    bytes.Buffer
	compact bytes.Buffer
	answer  []byte
}

var pool = sync.Pool{New: func() any { return &buffers{} }}

func (b *buffers) release() {
	if b.body.Cap()+b.compact.Cap()+cap(b.answer) > maxPooled {
		return
	}
	b.body.Reset()
	b.compact.Reset()
	b.answer = b.answer[:0]
	pool.Put(b)
}

// Header values that all answers share.
var (
	typeJSON   = []string{"application/json"}
	typeNDJSON = []string{"application/x-ndjson"}
)

// publish stores what the request holds, in one of its forms.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request, req *request) (p *problem) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return errMediaType
	}
	if req.reached, p = readReached(r.URL.RawQuery); p != nil {
		return p
	}
	if isBinaryMode(r.Header) {
		return h.publishBody(w, r, req, binaryMode)
	}
	switch mediaType(r) {
	case "application/json":
		return h.publishBody(w, r, req, ownJSON)
	case "application/cloudevents+json":
		return h.publishBody(w, r, req, structuredMode)
	case "application/cloudevents-batch+json":
		return h.publishBody(w, r, req, batchedMode)
	case "application/x-ndjson", "application/ndjson":
		if req.reached {
			return errReachedOne
		}
		h.stream(w, r, req)
		return nil
	}
	return errMediaType
}

// mediaType returns the body's type, or nothing when it cannot be read.
func mediaType(r *http.Request) string {
	t := r.Header.Get("Content-Type")
	if t == "application/json" {
		return t
	}
	t, params, err := mime.ParseMediaType(t)
	if cs := params["charset"]; err != nil || cs != "" && !strings.EqualFold(cs, "utf-8") {
		return ""
	}
	return t
}

// maxEventBytes is the largest body or line for one event: its data as base64,
// or with spaces, and its targets.
func maxEventBytes(l settings.Limits) int { return int(2*l.EventBytes) + 512<<10 }

// form is how events come that are one request's and are stored together, and how that
// is answered.
type form struct {
	decode func(b *buffers, r *http.Request, req *request) ([]*wire.Event, *problem)
	answer func(w http.ResponseWriter, b *buffers, d done)
}

// done is what became of the events of a request.
type done struct {
	receipts []wire.Receipt
	// reach is set when it was asked for.
	reach *reach
}

var ownJSON = form{decodeJSON, answerJSON}

func (h *Handler) publishBody(w http.ResponseWriter, r *http.Request, req *request, f form) *problem {
	b := pool.Get().(*buffers)
	defer b.release()
	if p := b.read(r, maxArrayBytes); p != nil {
		return p
	}
	events, p := f.decode(b, r, req)
	if p != nil {
		return p
	}
	for i, ev := range events {
		if p := req.permit(ev); p != nil && len(events) > 1 {
			return p.at(i)
		} else if p != nil {
			return p
		}
	}
	if wait := h.rates.take(req, len(events), h.clock()); wait > 0 {
		return tooFast(req, wait)
	}
	trace(events, r, req.settings)
	receipts, err := h.Publisher.Publish(r.Context(), req.channel, events)
	if err != nil {
		return publishProblem(r.Context(), err)
	}
	d := done{receipts: receipts}
	if req.reached {
		d.reach = &reach{}
		d.reach.sessions, d.reach.all = h.Sessions.Reached(r.Context(), req.channel, events[0])
	}
	f.answer(w, b, d)
	return nil
}

func decodeJSON(b *buffers, _ *http.Request, req *request) ([]*wire.Event, *problem) {
	if p := compact(&b.compact, b.body.Bytes()); p != nil {
		return nil, p
	}
	doc := b.compact.Bytes()
	if doc[0] != '[' {
		ev, p := decodeOne(b, req, decodeEvent)
		return []*wire.Event{ev}, p
	}
	return decodeArray(doc, req, decodeEvent)
}

// answerJSON answers an array with an object that has a list, and an event with one of
// its entries.
func answerJSON(w http.ResponseWriter, b *buffers, d done) {
	if b.compact.Bytes()[0] == '[' {
		b.answer = append(b.answer, `{"results":[`...)
		for i := range d.receipts {
			if i > 0 {
				b.answer = append(b.answer, ',')
			}
			b.answer = appendReceipt(b.answer, &d.receipts[i])
		}
		b.answer = append(b.answer, "]}\n"...)
	} else {
		b.answer = appendReceipt(b.answer, &d.receipts[0])
		if d.reach != nil {
			b.answer = d.reach.append(b.answer[:len(b.answer)-1])
		}
		b.answer = append(b.answer, '\n')
	}
	w.Header()["Content-Type"] = typeJSON
	_, _ = w.Write(b.answer) // the caller may be gone; there is nobody else to tell
}

// read reads the whole body.
func (b *buffers) read(r *http.Request, limit int64) *problem {
	if r.ContentLength > limit {
		return errBodyTooLarge
	}
	if r.ContentLength > 0 {
		b.body.Grow(min(int(r.ContentLength)+bytes.MinRead, maxPooled/4))
	}
	n, err := b.body.ReadFrom(io.LimitReader(r.Body, limit+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTimeout
	case err != nil:
		return errTruncated
	case n > limit:
		return errBodyTooLarge
	}
	return nil
}

// decoding reads one event from compact JSON. The event keeps nothing of b.
type decoding func(b []byte, ch *settings.Channel) (*wire.Event, *problem)

// decodeOne reads the one event that a body is.
func decodeOne(b *buffers, req *request, decode decoding) (*wire.Event, *problem) {
	if p := checkBody(b, req); p != nil {
		return nil, p
	}
	return decode(b.compact.Bytes(), req.settings)
}

// checkBody holds the body of one event to what its channel's largest needs.
func checkBody(b *buffers, req *request) *problem {
	limit := maxEventBytes(req.settings.Limits)
	if b.body.Len() <= limit {
		return nil
	}
	return newProblem(http.StatusRequestEntityTooLarge, codeEventTooLarge,
		"the body has %d bytes, more than the %d that one event of this channel may need", b.body.Len(), limit)
}

// decodeArray reads the events of a compact array.
func decodeArray(doc []byte, req *request, decode decoding) (events []*wire.Event, p *problem) {
	if req.reached {
		return nil, errReachedOne
	}
	p = eachElement(doc, func(i int, value []byte) *problem {
		if i >= maxArrayEvents {
			return errTooManyEvents
		}
		ev, p := decode(value, req.settings)
		if p != nil {
			return p.at(i)
		}
		events = append(events, ev)
		return nil
	})
	return events, p
}

// publishProblem says why nothing was stored. When the caller has gone there is
// nobody to tell.
func publishProblem(ctx context.Context, err error) *problem {
	if ctx.Err() != nil {
		return newProblem(http.StatusServiceUnavailable, codeUnavailable, "the request was given up")
	}
	return problemOf(err)
}

// appendReceipt appends {"id":…,"offset":…,"duplicate":…}.
func appendReceipt(b []byte, r *wire.Receipt) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, r.ID)
	b = append(b, `,"offset":`...)
	b = appendString(b, r.Position.String())
	if r.Duplicate {
		return append(b, `,"duplicate":true}`...)
	}
	return append(b, `,"duplicate":false}`...)
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			q, err := json.Marshal(s)
			if err != nil {
				panic("events: a string cannot be marshalled: " + err.Error())
			}
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
