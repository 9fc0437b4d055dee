// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/test/chaos/account"
	"github.com/klaxon-dev/klaxon/test/chaos/publish"
)

// transport has a connection for each request, as a proxy might.
func transport() *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: handshakeTimeout}).DialContext, ResponseHeaderTimeout: 0,
	}
}

// stream is an EventSource.
type stream struct {
	*Client
	last string // event id
}

func (s *stream) live(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(welcomeTimeout, func() { cancel(errSilent) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.config.Addr+"/sse/"+s.config.Channel+"?room="+url.QueryEscape(s.config.Room), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if s.last != "" {
		req.Header.Set("Last-Event-ID", s.last)
	}
	resp, err := transport().RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.wronged("answered %s: an EventSource does not come back after that", resp.Status)
		return nil
	}
	return s.read(resp, func() { watch.Reset(s.config.Silence) })
}

// block is what has been read of an event.
type block struct {
	id, event string
	named     bool // has an id
	data      []string
}

// read reads blocks. What comes is said to alive.
func (s *stream) read(resp *http.Response, alive func()) error {
	var b block
	s.after = 0
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxFrame)
	for lines.Scan() {
		alive()
		line := lines.Text()
		if line == "" {
			s.dispatch(&b)
			b = block{}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			b.id, b.named = value, true
		case "event":
			b.event = value
		case "data":
			b.data = append(b.data, value)
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil {
				s.after = time.Duration(ms) * time.Millisecond
			}
		}
	}
	return lines.Err()
}

// dispatch takes a whole block.
func (s *stream) dispatch(b *block) {
	was := s.last
	if b.named {
		s.last = b.id
	}
	data := []byte(strings.Join(b.data, "\n"))
	if len(data) == 0 {
		return
	}
	var err error
	switch b.event {
	case "klaxon.welcome":
		var m message
		if err = json.Unmarshal(data, &m); err == nil {
			s.welcome(was, &m)
		}
	case "klaxon.gap":
		var m message
		if err = json.Unmarshal(data, &m); err == nil {
			s.tell(account.Moment{Kind: account.Gap, Dropped: m.Dropped})
		}
	case "n":
		var d publish.Data
		if err = json.Unmarshal(data, &d); err == nil {
			s.received(b.id, d)
		}
	default:
		s.wronged("got %s %s", b.event, data)
	}
	if err != nil {
		s.wronged("got %s %s: %v", b.event, data, err)
	}
}

func (s *stream) welcome(was string, m *message) {
	at := s.place(m.Offset)
	switch {
	case !s.started:
		s.welcomed(account.Moment{Position: at})
	case m.Recovered == nil:
		s.wronged("a welcome does not say whether the client is recovered")
	case *m.Recovered:
		if m.Offset != was {
			s.wronged("recovered at %s, was at %s", m.Offset, was)
		}
		s.welcomed(account.Moment{Kind: account.Back, Position: at})
	default:
		s.welcomed(account.Moment{Kind: account.Lost, Position: at, Since: s.place(was), Oldest: m.Oldest})
	}
}
