// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// problem is a problem detail (RFC 9457). Its type is about:blank: code tells
// problems of one status apart, and is stable.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	// Index is the place, from 0, of the array's element that is wrong.
	Index *int `json:"index,omitempty"`
	// Line is the number, from 1, of the stream's line that is wrong.
	Line int `json:"line,omitempty"`
	// Oldest is the earliest offset that can be asked for.
	Oldest string `json:"oldest,omitempty"`

	retryAfter string // seconds; empty: see write
}

func newProblem(status int, code, format string, args ...any) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// The codes of problems, besides those that an Authorizer gives.
const (
	codeNotFound       = "not_found"
	codeMethod         = "method_not_allowed"
	codeUnknownChannel = "unknown_channel"
	codeUnknownSession = "unknown_session"
	codeMediaType      = "unsupported_media_type"
	codeMalformed      = "malformed"
	codeInvalidEvent   = "invalid_event"
	codeInvalidQuery   = "invalid_query"
	codeEventTooLarge  = "event_too_large"
	codeBodyTooLarge   = "body_too_large"
	codeTooManyEvents  = "too_many_events"
	codeTimeout        = "timeout"
	codeUnavailable    = "unavailable"
	codeNotAllowed     = "not_allowed"
	codeRate           = "rate_limited"
)

var (
	errNotFound       = newProblem(http.StatusNotFound, codeNotFound, "there is nothing at this path: there are events, sessions, users, presence and client-events of /v1/channels/{channel}")
	errMethod         = newProblem(http.StatusMethodNotAllowed, codeMethod, "this path takes another method: see Allow")
	errUnknownChannel = newProblem(http.StatusNotFound, codeUnknownChannel, "there is no such channel")
	errMediaType      = newProblem(http.StatusUnsupportedMediaType, codeMediaType, "send application/json (one event or an array), application/x-ndjson (a stream), application/cloudevents+json, application/cloudevents-batch+json or a CloudEvent in headers (ce-specversion, ce-id, ce-source, ce-type), in UTF-8 and not encoded")
	errNotUTF8        = newProblem(http.StatusBadRequest, codeMalformed, "the body is not UTF-8")
	errOnlyPublishes  = newProblem(http.StatusForbidden, codeNotAllowed, "this publisher may publish and do nothing else: its entry in spec.publishers is narrowed, or it shows no token")
	errTimeout        = newProblem(http.StatusRequestTimeout, codeTimeout, "the body did not arrive in time")
	errTruncated      = newProblem(http.StatusBadRequest, codeMalformed, "the body ended early")
	errBodyTooLarge   = newProblem(http.StatusRequestEntityTooLarge, codeBodyTooLarge, "the body is larger than %d bytes: send fewer events at a time, or an NDJSON stream", maxArrayBytes)
	errTooManyEvents  = newProblem(http.StatusRequestEntityTooLarge, codeTooManyEvents, "the array has more than %d events: send fewer at a time, or an NDJSON stream", maxArrayEvents)
)

// statuses of the codes that errors from outside may have.
var statuses = map[string]int{
	"token_missing":    http.StatusUnauthorized,
	"token_invalid":    http.StatusUnauthorized,
	"token_expired":    http.StatusUnauthorized,
	codeNotAllowed:     http.StatusForbidden,
	codeUnknownChannel: http.StatusNotFound,
	codeUnknownSession: http.StatusNotFound,
	"too_many_rooms":   http.StatusConflict,
	"unreachable":      http.StatusServiceUnavailable,
	"presence_off":     http.StatusConflict,
	"no_stream":        http.StatusConflict,
	"broker_refused":   http.StatusInsufficientStorage,
}

// problemOf turns an error of an Authorizer or a Publisher into a problem. The
// text of an error without a known code is not shown.
func problemOf(err error) *problem {
	var coded interface {
		error
		Code() string
	}
	if errors.As(err, &coded) {
		if status, ok := statuses[coded.Code()]; ok {
			return newProblem(status, coded.Code(), "%s", coded.Error())
		}
	}
	return newProblem(http.StatusServiceUnavailable, codeUnavailable,
		"the events could not be stored, or it is not known whether they were: send them again with the same ids")
}

func (p *problem) at(index int) *problem {
	q := *p
	q.Index = &index
	return &q
}

func (p *problem) onLine(line int) *problem {
	q := *p
	q.Line = line
	return &q
}

// json is the problem as one line.
func (p *problem) json() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		panic("events: a problem cannot be marshalled: " + err.Error())
	}
	return b.Bytes()
}

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		challenge := "Bearer"
		if p.Code != "token_missing" {
			challenge = `Bearer error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	case http.StatusTooManyRequests:
		h.Set("Retry-After", p.retryAfter)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "2")
	}
	b := p.json()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b) //nolint:gosec // it is JSON and says so; the caller may be gone, and there is nobody else to tell
}
