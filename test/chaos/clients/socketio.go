// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/test/chaos/account"
	"github.com/klaxon-dev/klaxon/test/chaos/publish"
)

// engine is a connection of Engine.IO: packets as text, the type first.
type engine interface {
	// receive returns the next packet, and fails when the server is silent for
	// longer than it says it may be.
	receive() (string, error)
	send(packet string) error
}

// opening is the first packet of a server.
type opening struct {
	SID          string
	PingInterval int64
	PingTimeout  int64
}

// silence is how long the server may be silent, as Engine.IO's client reckons it.
func (o opening) silence() time.Duration {
	return time.Duration(o.PingInterval+o.PingTimeout) * time.Millisecond
}

func readOpening(packet string) (o opening, err error) {
	if !strings.HasPrefix(packet, "0") {
		return o, fmt.Errorf("%q opens nothing", packet)
	}
	return o, json.Unmarshal([]byte(packet[1:]), &o)
}

// socket is a client of Socket.IO that recovers as version 4.8 of socket.io-client
// does.
type socket struct {
	*Client
	pid, offset string
	out         engine
	named       bool // this CONNECT has named the room
	joined      bool // it is in its room, or was when it was last connected
	// waiting is what was told about what was missed, until the server says the
	// place from which it goes on.
	waiting *account.Moment
}

func (s *socket) live(ctx context.Context) error {
	var e engine
	var end func()
	var err error
	if s.config.Kind == SocketIOP {
		e, end, err = poll(ctx, s.config.Addr)
	} else {
		e, end, err = engineSocket(ctx, s.config.Addr)
	}
	if err != nil {
		return err
	}
	defer end()
	s.out = e
	if err := e.send("40/" + s.config.Channel + "," + s.auth()); err != nil {
		return err
	}
	welcome := time.AfterFunc(welcomeTimeout, end)
	defer welcome.Stop()
	for {
		packet, err := e.receive()
		if err != nil {
			return err
		}
		switch {
		case packet == "2":
			err = e.send("3")
		case packet == "1":
			return errors.New("closed")
		case packet == "6":
		case strings.HasPrefix(packet, "40"):
			welcome.Stop()
			err = s.welcome(packet)
		case strings.HasPrefix(packet, "43"):
			err = s.acknowledged(packet)
		case strings.HasPrefix(packet, "42"):
			err = s.event(packet)
		default:
			s.wronged("got %s", packet)
			return errors.New("sent away")
		}
		if err != nil {
			return err
		}
	}
}

// auth is what a CONNECT says.
func (s *socket) auth() string {
	auth := map[string]any{}
	if s.pid != "" {
		auth["pid"] = s.pid
	}
	if s.offset != "" {
		auth["offset"] = s.offset
	}
	if s.named = s.config.Always || s.pid == ""; s.named {
		auth["rooms"] = []string{s.config.Room}
	}
	b, err := json.Marshal(auth)
	if err != nil {
		panic("clients: strings cannot be marshalled: " + err.Error())
	}
	return string(b)
}

// body is a packet's JSON.
func body(packet string) string {
	_, text, _ := strings.Cut(packet, ",")
	return text
}

// welcome takes the answer to a CONNECT. Where the client goes on from is said
// after it, unless it is recovered.
func (s *socket) welcome(packet string) error {
	var ids struct{ SID, PID string }
	if err := json.Unmarshal([]byte(body(packet)), &ids); err != nil || ids.PID == "" {
		s.wronged("got %s (%v)", packet, err)
		return errors.New("not the protocol")
	}
	recovered := ids.PID == s.pid
	s.pid = ids.PID
	switch {
	case recovered:
		s.waiting = nil // if it was, the connection ended before it knew
		s.welcomed(account.Moment{Kind: account.Back, Position: s.place(s.offset)})
		return s.join()
	case !s.started:
		s.waiting = &account.Moment{}
	case s.waiting == nil: // else it was told so before
		s.waiting = &account.Moment{Kind: account.Forgotten, Since: s.place(s.offset)}
	}
	return nil
}

// event takes an event.
func (s *socket) event(packet string) error {
	var args []json.RawMessage
	var name, offset string
	if err := json.Unmarshal([]byte(body(packet)), &args); err != nil || len(args) < 2 || json.Unmarshal(args[0], &name) != nil {
		s.wronged("got %s (%v)", packet, err)
		return errors.New("not the protocol")
	}
	if json.Unmarshal(args[len(args)-1], &offset) == nil {
		s.offset = offset
	}
	switch name {
	case "n":
		var d publish.Data
		if err := json.Unmarshal(args[1], &d); err != nil || s.waiting != nil {
			s.wronged("got %s, before its place is known: %t (%v)", packet, s.waiting != nil, err)
			return errors.New("not the protocol")
		}
		s.received(offset, d)
	case "klaxon.offset":
		return s.placed(offset)
	case "klaxon.lost":
		s.lost(args[1])
	case "klaxon.gap":
		var m message
		_ = json.Unmarshal(args[1], &m) // then no gap is told
		s.tell(account.Moment{Kind: account.Gap, Dropped: m.Dropped})
	default:
		s.wronged("got %s", packet)
	}
	return nil
}

// placed takes the word where the client is.
func (s *socket) placed(offset string) error {
	if s.waiting == nil {
		return nil
	}
	s.waiting.Position = s.place(offset)
	s.welcomed(*s.waiting)
	s.waiting, s.joined = nil, s.named
	return s.join()
}

// join has it join its room, as applications do that were not recovered.
func (s *socket) join() error {
	if s.joined {
		return nil
	}
	return s.out.send("42/" + s.config.Channel + `,1["join","` + s.config.Room + `"]`)
}

// acknowledged takes the answer to join.
func (s *socket) acknowledged(packet string) error {
	var args []struct {
		Rooms  []string
		Offset string
	}
	if err := json.Unmarshal([]byte(body(packet)[1:]), &args); err != nil || len(args) != 1 || !slices.Contains(args[0].Rooms, s.config.Room) {
		s.wronged("got %s (%v)", packet, err)
		return errors.New("not in its room")
	}
	s.joined = true
	s.tell(account.Moment{Kind: account.Joined, Position: s.place(args[0].Offset)})
	return nil
}

// lost takes the word that what was missed cannot be made up for. If it says that
// it could have been, the session was forgotten.
func (s *socket) lost(arg json.RawMessage) {
	var m message
	oldest, err := wire.Position{}, json.Unmarshal(arg, &m)
	if err == nil {
		oldest, err = wire.ParsePosition(m.Oldest)
	}
	if err != nil || s.waiting == nil {
		s.wronged("got klaxon.lost %s", arg)
		return
	}
	if since := s.waiting.Since; s.started && (since.Epoch != oldest.Epoch || since.Seq < oldest.Seq) {
		s.waiting.Kind, s.waiting.Oldest = account.Lost, m.Oldest
	}
}
