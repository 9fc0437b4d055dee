// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	defaultRead = 100
	maxRead     = 1000
	// readPage is how many events are read from the broker at a time, and maxScanned
	// how many are looked at for one answer, when few are in the wanted room.
	readPage   = 250
	maxScanned = 10_000
	// maxAnswerBytes ends an answer early: one more event is in it at most.
	maxAnswerBytes = 4 << 20
)

// storedEvent is an event as it is shown to backends.
type storedEvent struct {
	ID          string          `json:"id"`
	Event       string          `json:"event"`
	Offset      string          `json:"offset"`
	PublishedAt time.Time       `json:"publishedAt"`
	Rooms       []string        `json:"rooms,omitempty"`
	Users       []string        `json:"users,omitempty"`
	Sessions    []string        `json:"sessions,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	DataBase64  []byte          `json:"dataBase64,omitzero"`
	Attachments [][]byte        `json:"attachments,omitempty"`
	Except      []string        `json:"except,omitempty"`
}

// eventList is the answer to a question for events.
type eventList struct {
	Events []storedEvent `json:"events"`
	// Next is the since of the next question.
	Next string `json:"next"`
	// More is whether there is something behind Next now.
	More bool `json:"more"`
	// Oldest is the earliest since that can be answered.
	Oldest string `json:"oldest"`
}

// historyQuery is what a backend wants to know.
type historyQuery struct {
	since wire.Position
	rooms []string // empty: all events
	limit int
}

func readHistoryQuery(query url.Values) (q historyQuery, p *problem) {
	q.limit = defaultRead
	for name, values := range query {
		var err error
		switch {
		case name == "room":
			q.rooms = values
			for _, room := range values {
				if err = wire.CheckRoom(room); err != nil {
					return q, newProblem(http.StatusBadRequest, codeInvalidQuery, "room: %s", err)
				}
			}
		case len(values) > 1:
			return q, newProblem(http.StatusBadRequest, codeInvalidQuery, "%s: use it once", name)
		case name == "since":
			if q.since, err = wire.ParsePosition(values[0]); err != nil {
				return q, newProblem(http.StatusBadRequest, codeInvalidQuery, "since: %s", err)
			}
		case name == "limit":
			if q.limit, err = strconv.Atoi(values[0]); err != nil || q.limit < 1 || q.limit > maxRead {
				return q, newProblem(http.StatusBadRequest, codeInvalidQuery, "limit: must be a number from 1 to %d", maxRead)
			}
		default:
			return q, newProblem(http.StatusBadRequest, codeInvalidQuery, "unknown parameter: there are since, room and limit")
		}
	}
	return q, nil
}

// listEvents answers what is kept of a channel.
func (h *Handler) listEvents(w http.ResponseWriter, r *http.Request, req *request) *problem {
	q, p := readHistoryQuery(r.URL.Query())
	if p != nil {
		return p
	}
	list, err := h.collect(r.Context(), req.channel, q)
	if err != nil {
		return readProblem(err)
	}
	w.Header()["Content-Type"] = typeJSON
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(list) // the caller may be gone; there is nobody else to tell
	return nil
}

// collect reads pages until there is enough.
func (h *Handler) collect(ctx context.Context, channel string, q historyQuery) (eventList, error) {
	list := eventList{Events: []storedEvent{}}
	after, bytes := q.since, 0
	for scanned := 0; ; {
		page, err := h.History.Read(ctx, channel, wire.Range{After: after, Limit: readPage})
		if err != nil {
			return list, err
		}
		list.Oldest = page.Oldest.String()
		for _, e := range page.Events {
			after = e.Position
			scanned++
			if len(q.rooms) > 0 && !slices.ContainsFunc(e.Event.Rooms, func(room string) bool { return slices.Contains(q.rooms, room) }) {
				continue
			}
			list.Events = append(list.Events, shown(&e))
			if bytes += e.Event.Size(); len(list.Events) == q.limit || bytes >= maxAnswerBytes {
				list.Next, list.More = after.String(), page.More || after != page.Through
				return list, nil
			}
		}
		after = page.Through
		if !page.More || scanned >= maxScanned {
			list.Next, list.More = after.String(), page.More
			return list, nil
		}
	}
}

func shown(e *wire.Stored) storedEvent {
	return storedEvent{
		ID: e.Event.ID, Event: e.Event.Name, Offset: e.Position.String(), PublishedAt: e.Published.UTC(),
		Rooms: e.Event.Rooms, Users: e.Event.Users, Sessions: e.Event.Sessions, Data: e.Event.Data, DataBase64: e.Event.Binary,
		Attachments: e.Event.Attachments, Except: e.Event.Except,
	}
}

// readProblem says why nothing could be read.
func readProblem(err error) *problem {
	var lost *wire.LostError
	if errors.As(err, &lost) {
		p := newProblem(http.StatusGone, lost.Code(), "%s: ask for what follows oldest, or leave since out", lost)
		p.Oldest = lost.Oldest.String()
		return p
	}
	if p := problemOf(err); p.Code != codeUnavailable {
		return p
	}
	return newProblem(http.StatusServiceUnavailable, codeUnavailable, "the history cannot be read now: try again")
}
