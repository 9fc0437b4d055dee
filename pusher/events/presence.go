// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// presenceList is the answer to a question for who is there.
type presenceList struct {
	wire.Presence
	// Next is the after of the next question; empty: these were the last.
	Next string `json:"next,omitempty"`
	// Partial is set when not all replicas could be asked.
	Partial bool `json:"partial,omitempty"`
}

// listPresence answers who is there.
func (h *Handler) listPresence(w http.ResponseWriter, r *http.Request, req *request) *problem {
	query := r.URL.Query()
	limit := defaultListed
	for name, values := range query {
		var err error
		switch {
		case len(values) > 1:
			return newProblem(http.StatusBadRequest, codeInvalidQuery, "%s: use it once", name)
		case name == "room":
			if err = wire.CheckRoom(values[0]); err != nil {
				return newProblem(http.StatusBadRequest, codeInvalidQuery, "room: %s", err)
			}
		case name == "after":
		case name == "limit":
			if limit, err = strconv.Atoi(values[0]); err != nil || limit < 1 || limit > maxListed {
				return newProblem(http.StatusBadRequest, codeInvalidQuery, "limit: must be a number from 1 to %d", maxListed)
			}
		default:
			return newProblem(http.StatusBadRequest, codeInvalidQuery, "unknown parameter: there are room, after and limit")
		}
	}
	who, all, err := h.Presence.Who(r.Context(), req.channel, query.Get("room"))
	if err != nil {
		return problemOf(err)
	}
	list := presenceList{Presence: who, Partial: !all}
	for after := query.Get("after"); len(list.Users) > 0 && list.Users[0].User <= after; {
		list.Users = list.Users[1:]
	}
	if len(list.Users) > limit {
		list.Users = list.Users[:limit]
		list.Next = list.Users[limit-1].User
	}
	w.Header()["Content-Type"] = typeJSON
	_ = json.NewEncoder(w).Encode(list) // the caller may be gone; there is nobody else to tell
	return nil
}
