// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"net/http"
	"net/url"
	"strconv"
)

// reach is how many sessions an event was addressed to when it was published.
type reach struct {
	sessions int
	all      bool // all replicas have been asked
}

var errReachedOne = newProblem(http.StatusBadRequest, codeInvalidQuery,
	"reached: is answered for one event at a time, not for an array, a batch or a stream")

// readReached reads whether a publisher asks how many sessions its event is for.
func readReached(rawQuery string) (bool, *problem) {
	if rawQuery == "" {
		return false, nil
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil || !query.Has("reached") {
		return false, nil
	}
	asked, err := strconv.ParseBool(query.Get("reached"))
	if err != nil {
		return false, newProblem(http.StatusBadRequest, codeInvalidQuery, "reached: is true or false")
	}
	return asked, nil
}

// append completes an object without its closing brace.
func (r *reach) append(b []byte) []byte {
	b = strconv.AppendInt(append(b, `,"reached":`...), int64(r.sessions), 10)
	if !r.all {
		b = append(b, `,"partial":true`...)
	}
	return append(b, '}')
}

// header says it to senders of CloudEvents, whose answers have no body.
func (r *reach) header(h http.Header) {
	h.Set("Klaxon-Reached", strconv.Itoa(r.sessions))
	if !r.all {
		h.Set("Klaxon-Partial", "true")
	}
}
