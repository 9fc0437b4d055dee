// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	defaultListed = 1000
	maxListed     = 10000
)

// sessionList is the answer to a question for sessions.
type sessionList struct {
	Sessions []wire.Session `json:"sessions"`
	// Total counts all that match, listed or not.
	Total int `json:"total"`
}

// listSessions answers who is connected.
func (h *Handler) listSessions(w http.ResponseWriter, r *http.Request, req *request) *problem {
	query := r.URL.Query()
	limit := defaultListed
	for name, values := range query {
		var err error
		switch {
		case len(values) > 1:
			return newProblem(http.StatusBadRequest, codeInvalidQuery, "%s: use it once", name)
		case name == "user" || name == "room":
		case name == "limit":
			if limit, err = strconv.Atoi(values[0]); err != nil || limit < 1 || limit > maxListed {
				return newProblem(http.StatusBadRequest, codeInvalidQuery, "limit: must be a number from 1 to %d", maxListed)
			}
		default:
			return newProblem(http.StatusBadRequest, codeInvalidQuery, "unknown parameter: there are user, room and limit")
		}
	}
	list := sessionList{Sessions: []wire.Session{}}
	for _, s := range h.Sessions.List(req.channel) {
		if query.Has("user") && s.User != query.Get("user") || query.Has("room") && !slices.Contains(s.Rooms, query.Get("room")) {
			continue
		}
		if list.Total++; list.Total <= limit {
			list.Sessions = append(list.Sessions, s)
		}
	}
	w.Header()["Content-Type"] = typeJSON
	_ = json.NewEncoder(w).Encode(list) // the caller may be gone; there is nobody else to tell
	return nil
}

// disconnect ends a session.
func (h *Handler) disconnect(w http.ResponseWriter, _ *http.Request, req *request) *problem {
	if !h.Sessions.Disconnect(req.channel, req.session) {
		return errUnknownSession
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
