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

// publish stores what the body holds, in one of three forms.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request, req *request) *problem {
	switch mediaType(r) {
	case "application/json":
		return h.publishJSON(w, r, req)
	case "application/x-ndjson", "application/ndjson":
		h.stream(w, r, req)
		return nil
	}
	return errMediaType
}

// mediaType returns the body's type, or nothing when it cannot be read.
func mediaType(r *http.Request) string {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return ""
	}
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

func (h *Handler) publishJSON(w http.ResponseWriter, r *http.Request, req *request) *problem {
	b := pool.Get().(*buffers)
	defer b.release()
	if p := b.read(r, maxArrayBytes); p != nil {
		return p
	}
	if p := compact(&b.compact, b.body.Bytes()); p != nil {
		return p
	}
	doc := b.compact.Bytes()
	events, p := decodeBody(doc, req.limits, b.body.Len())
	if p != nil {
		return p
	}
	receipts, err := h.Publisher.Publish(r.Context(), req.channel, events)
	if err != nil {
		return publishProblem(r.Context(), err)
	}
	if doc[0] == '[' {
		b.answer = append(b.answer, `{"results":[`...)
		for i := range receipts {
			if i > 0 {
				b.answer = append(b.answer, ',')
			}
			b.answer = appendReceipt(b.answer, &receipts[i])
		}
		b.answer = append(b.answer, "]}\n"...)
	} else {
		b.answer = append(appendReceipt(b.answer, &receipts[0]), '\n')
	}
	w.Header()["Content-Type"] = typeJSON
	_, _ = w.Write(b.answer) // the caller may be gone; there is nobody else to tell
	return nil
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

// decodeBody reads one event or an array of them from a compact document, that
// was size bytes before.
func decodeBody(doc []byte, l settings.Limits, size int) ([]*wire.Event, *problem) {
	if doc[0] != '[' {
		if limit := maxEventBytes(l); size > limit {
			return nil, newProblem(http.StatusRequestEntityTooLarge, codeEventTooLarge,
				"the body has %d bytes, more than the %d that one event of this channel may need", size, limit)
		}
		ev, p := decodeEvent(doc, l.EventBytes)
		if p != nil {
			return nil, p
		}
		return []*wire.Event{ev}, nil
	}
	var events []*wire.Event
	p := eachElement(doc, func(i int, value []byte) *problem {
		if i >= maxArrayEvents {
			return errTooManyEvents
		}
		ev, p := decodeEvent(value, l.EventBytes)
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
