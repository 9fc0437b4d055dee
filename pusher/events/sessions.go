// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

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
	// Partial is set when not all replicas could be asked.
	Partial bool `json:"partial,omitempty"`
}

// readListQuery checks that a query has no other parameters than a limit and those
// that are known, each once, and returns the limit.
func readListQuery(query url.Values, known ...string) (limit int, p *problem) {
	limit = defaultListed
	for name, values := range query {
		var err error
		switch {
		case len(values) > 1:
			return 0, newProblem(http.StatusBadRequest, codeInvalidQuery, "%s: use it once", name)
		case name == "limit":
			if limit, err = strconv.Atoi(values[0]); err != nil || limit < 1 || limit > maxListed {
				return 0, newProblem(http.StatusBadRequest, codeInvalidQuery, "limit: must be a number from 1 to %d", maxListed)
			}
		case !slices.Contains(known, name):
			return 0, newProblem(http.StatusBadRequest, codeInvalidQuery, "unknown parameter: there are %s and limit", strings.Join(known, ", "))
		}
	}
	return limit, nil
}

// listSessions answers who is connected.
func (h *Handler) listSessions(w http.ResponseWriter, r *http.Request, req *request) *problem {
	query := r.URL.Query()
	limit, p := readListQuery(query, "user", "room")
	if p != nil {
		return p
	}
	sessions, all := h.Sessions.List(r.Context(), req.channel)
	list := sessionList{Sessions: []wire.Session{}, Partial: !all}
	for _, s := range sessions {
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
func (h *Handler) disconnect(w http.ResponseWriter, r *http.Request, req *request) *problem {
	if err := h.Sessions.Disconnect(r.Context(), req.channel, req.session); err != nil {
		return problemOf(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// disconnected is the answer to the end of a user's sessions.
type disconnected struct {
	Sessions int `json:"sessions"`
	// Partial is set when not all replicas could be asked.
	Partial bool `json:"partial,omitempty"`
}

// disconnectUser ends all sessions of a user.
func (h *Handler) disconnectUser(w http.ResponseWriter, r *http.Request, req *request) *problem {
	n, all := h.Sessions.DisconnectUser(r.Context(), req.channel, req.session)
	w.Header()["Content-Type"] = typeJSON
	_ = json.NewEncoder(w).Encode(disconnected{n, !all}) // the caller may be gone; there is nobody else to tell
	return nil
}

// maxRoomsBody bounds a body of changeRooms: all rooms that a session can be in, out
// of one and into the other, with names that are escaped.
const maxRoomsBody = 2 * wire.MaxRooms * (6*wire.MaxRoomName + 8)

// roomsRequest is the body of changeRooms.
type roomsRequest struct {
	Join  []string `json:"join"`
	Leave []string `json:"leave"`
}

func (q *roomsRequest) check() error {
	if len(q.Join)+len(q.Leave) == 0 {
		return errors.New(`say which rooms, for example {"join":["order:42"],"leave":["order:41"]}`)
	}
	if len(q.Join) > wire.MaxRooms || len(q.Leave) > wire.MaxRooms {
		return fmt.Errorf("a session is in at most %d rooms", wire.MaxRooms)
	}
	for _, room := range slices.Concat(q.Join, q.Leave) {
		if err := wire.CheckRoom(room); err != nil {
			return err
		}
	}
	return nil
}

// changeRooms has a session join and leave rooms.
func (h *Handler) changeRooms(w http.ResponseWriter, r *http.Request, req *request) *problem {
	var q roomsRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRoomsBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		return newProblem(http.StatusBadRequest, codeMalformed, `the body is no {"join":["order:42"],"leave":["order:41"]}`)
	}
	if err := q.check(); err != nil {
		return newProblem(http.StatusBadRequest, codeMalformed, "%s", err)
	}
	rooms, offset, err := h.Sessions.ChangeRooms(r.Context(), req.channel, req.session, q.Join, q.Leave)
	if err != nil {
		return readProblem(err)
	}
	w.Header()["Content-Type"] = typeJSON
	_ = json.NewEncoder(w).Encode(map[string]any{"rooms": rooms, "offset": offset}) // the caller may be gone
	return nil
}
