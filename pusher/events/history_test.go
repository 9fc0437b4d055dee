// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// kept is a history of events 1 to n, of which the last size are kept. Every third
// is in room r.
type kept struct {
	n, size uint64
	err     error
}

func (k kept) Read(_ context.Context, _ string, r wire.Range) (wire.Page, error) {
	at := func(seq uint64) wire.Position { return wire.Position{Epoch: "e", Seq: seq} }
	before := k.n - k.size
	if k.err != nil {
		return wire.Page{}, k.err
	}
	if r.After == (wire.Position{}) {
		r.After = at(before)
	}
	if r.After.Epoch != "e" || r.After.Seq < before || r.After.Seq > k.n {
		return wire.Page{}, &wire.LostError{Oldest: at(before)}
	}
	p := wire.Page{Oldest: at(before)}
	seq := r.After.Seq
	for ; seq < k.n && len(p.Events) < r.Limit; seq++ {
		ev := &wire.Event{ID: fmt.Sprint(seq + 1), Name: "n", Data: json.RawMessage(`"<x>"`)}
		if (seq+1)%3 == 0 {
			ev.Rooms = []string{"r"}
		}
		if (seq+1)%5 == 0 {
			ev.Data, ev.Binary = nil, []byte{}
		}
		p.Events = append(p.Events, wire.Stored{Position: at(seq + 1), Event: ev, Published: time.Unix(1000, 0)})
	}
	p.Through, p.More = at(seq), seq < k.n
	return p, nil
}

func listed(t *testing.T, h History, query string) eventList {
	t.Helper()
	r := newRig()
	r.History = h
	w := r.do(request1(http.MethodGet, eventsPath+query, ""))
	var list eventList
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil || w.Code != http.StatusOK || list.Events == nil {
		t.Fatalf("%s: status %d, %+v, %v", query, w.Code, list, err)
	}
	return list
}

func TestEventsAreRead(t *testing.T) {
	for _, tc := range []struct {
		query       string
		first, last string // offsets
		n           int
		next        string
		more        bool
	}{
		{"", "e.401", "e.500", 100, "e.500", true},
		{"?since=e.400&limit=1000", "e.401", "e.1000", 600, "e.1000", false},
		{"?since=e.990", "e.991", "e.1000", 10, "e.1000", false},
		{"?since=e.990&limit=10", "e.991", "e.1000", 10, "e.1000", false},
		{"?since=e.990&limit=9", "e.991", "e.999", 9, "e.999", true},
		{"?since=e.1000", "", "", 0, "e.1000", false},
		{"?room=r&limit=2", "e.402", "e.405", 2, "e.405", true},
		{"?room=r&room=other&limit=1000", "e.402", "e.999", 200, "e.1000", false},
		{"?room=other", "", "", 0, "e.1000", false},
	} {
		list := listed(t, kept{n: 1000, size: 600}, tc.query)
		first, last := "", ""
		if n := len(list.Events); n > 0 {
			first, last = list.Events[0].Offset, list.Events[n-1].Offset
		}
		if first != tc.first || last != tc.last || len(list.Events) != tc.n || list.Next != tc.next || list.More != tc.more || list.Oldest != "e.400" {
			t.Errorf("%q: %d events from %s to %s, next %s, more %v, oldest %s", tc.query, len(list.Events), first, last, list.Next, list.More, list.Oldest)
		}
	}
}

func TestAnEventAsItIsShown(t *testing.T) {
	r := newRig()
	r.History = kept{n: 15, size: 15}
	w := r.do(request1(http.MethodGet, eventsPath+"?since=e.11", ""))
	const want = `{"events":[` +
		`{"id":"12","event":"n","offset":"e.12","publishedAt":"1970-01-01T00:16:40Z","rooms":["r"],"data":"<x>"},` +
		`{"id":"13","event":"n","offset":"e.13","publishedAt":"1970-01-01T00:16:40Z","data":"<x>"},` +
		`{"id":"14","event":"n","offset":"e.14","publishedAt":"1970-01-01T00:16:40Z","data":"<x>"},` +
		`{"id":"15","event":"n","offset":"e.15","publishedAt":"1970-01-01T00:16:40Z","rooms":["r"],"dataBase64":""}` +
		`],"next":"e.15","more":false,"oldest":"e.0"}` + "\n"
	if got := w.Body.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestAnAnswerIsBounded: rare rooms and large events end an answer early, and the
// next question goes on from there.
func TestAnAnswerIsBounded(t *testing.T) {
	list := listed(t, kept{n: 50_000, size: 50_000}, "?room=other")
	if !list.More || list.Next != fmt.Sprintf("e.%d", maxScanned) {
		t.Errorf("looked through %s, more %v", list.Next, list.More)
	}
	list = listed(t, large{}, "?limit=1000")
	if n := len(list.Events); n != maxAnswerBytes>>20 || !list.More || list.Next != fmt.Sprintf("e.%d", n) {
		t.Errorf("%d events of a mebibyte each, next %s, more %v", n, list.Next, list.More)
	}
}

// large has events of a mebibyte without an end.
type large struct{}

func (large) Read(_ context.Context, _ string, r wire.Range) (wire.Page, error) {
	data := json.RawMessage(`"` + strings.Repeat("x", 1<<20-2) + `"`)
	p := wire.Page{More: true}
	for i := range uint64(8) {
		p.Through = wire.Position{Epoch: "e", Seq: r.After.Seq + i + 1}
		p.Events = append(p.Events, wire.Stored{Position: p.Through, Event: &wire.Event{Data: data}})
	}
	return p, nil
}

func TestWhatCannotBeRead(t *testing.T) {
	for _, tc := range []struct {
		query  string
		err    error
		status int
		code   string
	}{
		{"?since=e.399", nil, http.StatusGone, "history_lost"},
		{"?since=e.1001", nil, http.StatusGone, "history_lost"},
		{"?since=other.500", nil, http.StatusGone, "history_lost"},
		{"?since=x", nil, http.StatusBadRequest, codeInvalidQuery},
		{"?since=e.1&since=e.2", nil, http.StatusBadRequest, codeInvalidQuery},
		{"?limit=0", nil, http.StatusBadRequest, codeInvalidQuery},
		{"?limit=1001", nil, http.StatusBadRequest, codeInvalidQuery},
		{"?room=", nil, http.StatusBadRequest, codeInvalidQuery},
		{"?user=ann", nil, http.StatusBadRequest, codeInvalidQuery},
		{"", errors.New("secret"), http.StatusServiceUnavailable, codeUnavailable},
		{"", coded(codeUnknownChannel), http.StatusNotFound, codeUnknownChannel},
	} {
		r := newRig()
		r.History = kept{n: 1000, size: 600, err: tc.err}
		p := wantProblem(t, r.do(request1(http.MethodGet, eventsPath+tc.query, "")), tc.status, tc.code)
		if want := map[bool]string{true: "e.400"}[tc.status == http.StatusGone]; p.Oldest != want || strings.Contains(p.Detail, "secret") {
			t.Errorf("%s: %+v", tc.query, p)
		}
	}
}
