// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// ClientEvents are what clients do, as logs that backends read.
type ClientEvents interface {
	// Open begins to follow a channel's log until close is called. Errors have the code
	// no_stream.
	Open(ctx context.Context, channel string) (closeLog func(), err error)
	// Position is where an open log is.
	Position(channel string) (wire.Position, bool)
	// Read returns a part of a log, as History's does.
	Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error)
	// Changed is closed when there is more in an open log than there is now.
	Changed(channel string) <-chan struct{}
}

const (
	// clientPage is how many client events are read at a time.
	clientPage = 100
	// clientBeat is how often a silent stream says something, and its reader's token is
	// looked at again.
	clientBeat = 15 * time.Second
	// clientPatience is how long a reader may take over what it is sent.
	clientPatience = 30 * time.Second
	// clientRetry is the wait after the log could not be read.
	clientRetry = time.Second
)

// follower is who reads a channel's log.
type follower struct {
	handler *Handler
	w       http.ResponseWriter
	control *http.ResponseController
	r       *http.Request
	req     *request
	sse     bool
	at      wire.Position
	changed <-chan struct{}
}

// listClientEvents answers what clients do, as long as the reader stays.
func (h *Handler) listClientEvents(w http.ResponseWriter, r *http.Request, req *request) *problem {
	f := &follower{handler: h, w: w, control: http.NewResponseController(w), r: r, req: req}
	f.sse = strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	since, p := readCursor(r)
	if p != nil {
		return p
	}
	closeLog, err := h.Clients.Open(r.Context(), req.channel)
	if err != nil {
		return problemOf(err)
	}
	defer closeLog()
	f.changed = h.Clients.Changed(req.channel)
	if f.at = since; since == (wire.Position{}) {
		f.at, _ = h.Clients.Position(req.channel)
	}
	page, err := f.read()
	if err != nil {
		return readProblem(err)
	}
	if f.control.SetReadDeadline(time.Time{}) != nil {
		return errTimeout
	}
	w.Header()["Content-Type"] = typeNDJSON
	if f.sse {
		w.Header().Set("Content-Type", "text/event-stream")
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	f.follow(page)
	return nil
}

// readCursor reads where a reader was; the zero Position: it does not say.
func readCursor(r *http.Request) (since wire.Position, p *problem) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return since, newProblem(http.StatusBadRequest, codeInvalidQuery, "the query cannot be read")
	}
	said := r.Header.Get("Last-Event-Id")
	for name, values := range query {
		if name != "since" || len(values) > 1 {
			return since, newProblem(http.StatusBadRequest, codeInvalidQuery, "there is one parameter: since, once")
		}
		said = values[0]
	}
	if said == "" {
		return since, nil
	}
	if since, err = wire.ParsePosition(said); err != nil {
		return since, newProblem(http.StatusBadRequest, codeInvalidQuery, "since: %s", err)
	}
	return since, nil
}

func (f *follower) read() (wire.Page, error) {
	return f.handler.Clients.Read(f.r.Context(), f.req.channel, wire.Range{After: f.at, Limit: clientPage})
}

// follow writes a page, and then what comes, until the reader leaves, may not read any
// more or has missed something.
func (f *follower) follow(page wire.Page) {
	beat := time.NewTicker(clientBeat)
	defer beat.Stop()
	for f.write(page) {
		for !page.More {
			select {
			case <-f.r.Context().Done():
				return
			case <-beat.C:
				if !f.beat() {
					return
				}
				continue
			case <-f.changed:
			}
			break
		}
		f.changed = f.handler.Clients.Changed(f.req.channel)
		next, err := f.read()
		var lost *wire.LostError
		switch {
		case errors.As(err, &lost):
			return // it asks again, and is told what there is
		case err != nil:
			select {
			case <-time.After(clientRetry):
			case <-f.r.Context().Done():
				return
			}
			next = wire.Page{Through: f.at, More: true}
		}
		page = next
	}
}

// beat says that the stream lives. It reports whether it goes on.
func (f *follower) beat() bool {
	if f.handler.authorize(f.r, f.req) != nil {
		return false // the token has expired meanwhile
	}
	if f.sse {
		return f.send([]byte(":\n\n"))
	}
	return f.send([]byte("\n"))
}

// write writes a page. It reports whether the reader is still there.
func (f *follower) write(page wire.Page) bool {
	var b []byte
	for i := range page.Events {
		e := &page.Events[i]
		if f.sse {
			b = append(b, "id: "+e.Position.String()+"\nevent: "+e.Event.Name+"\ndata: "...)
		}
		b = append(append(b, `{"offset":`...), `"`+e.Position.String()+`",`...)
		b = append(b, e.Event.Data[1:]...)
		if b = append(b, '\n'); f.sse {
			b = append(b, '\n')
		}
		f.at = e.Position
	}
	if f.at.Epoch == page.Through.Epoch {
		f.at.Seq = max(f.at.Seq, page.Through.Seq)
	}
	return f.send(b)
}

func (f *follower) send(b []byte) bool {
	if f.control.SetWriteDeadline(time.Now().Add(clientPatience)) != nil {
		return false
	}
	_, err := f.w.Write(b)
	return err == nil && f.control.Flush() == nil
}
