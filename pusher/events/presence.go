// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"net/http"

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
	limit, p := readListQuery(query, "room", "after")
	if p == nil && query.Has("room") {
		if err := wire.CheckRoom(query.Get("room")); err != nil {
			p = newProblem(http.StatusBadRequest, codeInvalidQuery, "room: %s", err)
		}
	}
	if p != nil {
		return p
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
