// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

const (
	// maxTurns is how many events of one client may wait for its channel's handler, and
	// maxTurnBytes what they may have in all.
	maxTurns     = 64
	maxTurnBytes = 1 << 20
	// maxAsked is how many acknowledgements of one client may be awaited.
	maxAsked = 100
)

// talk is what a session and its channel's handlers have to say to each other: one thing
// at a time, in order. It goes on after the session has ended until all is said. Sessions
// that have said nothing have none.
type talk struct {
	// Static.
	shard *shard

	// Owned by the loop.
	slot    uint32   // noSession once the session has ended
	channel *channel // as it was last
	about   handlers.Call
	begun   string // tells the calls of this session from those of others of its id
	data    json.RawMessage
	subject string // of the token, when a handler has given the user another name
	named   bool
	queue   []turn
	bytes   int
	under   bool // a turn is under way
	calls   uint64
	asked   map[uint64]*asked
	lastAsk uint64
	emitted bucket
}

// turn is one thing to tell.
type turn struct {
	target *handlers.Target // nil: there are only streams
	stream bool
	kind   string // the call's type
	what   any
	size   int
	reply  func(*wire.Args, *failure) // nil: nobody waits
	event  *wire.Event                // to publish; there is nobody to tell then
	last   bool                       // see farewell
	due    time.Time                  // when the client has waited long enough; zero: it does not

	departure *departure // nil: nothing is kept of the session
}

// asked is an acknowledgement that a handler waits for.
type asked struct {
	target   *handlers.Target
	ref      string
	patience *time.Timer
}

// handler returns who is to be asked about an event, or a client that comes or goes; nil:
// nobody.
func (c *channel) handler(event string) *handlers.Target {
	for _, t := range c.targets {
		if t != nil && t.Wants(event) {
			return t
		}
	}
	return nil
}

// streams reports whether backends read an event, or that a client comes or goes.
func (c *channel) streams(event string) bool {
	return slices.ContainsFunc(c.Handlers, func(h settings.Handler) bool { return h.URL == "" && h.Wants(event) })
}

// takesOver reports whether a handler wants an event that push servers answer themselves
// otherwise: it must say so by the very name.
func (c *channel) takesOver(event string) bool {
	return slices.ContainsFunc(c.Handlers, func(h settings.Handler) bool { return h.Names(event) })
}

// talkOf returns a session's talk, and begins it if need be.
func (sh *shard) talkOf(s uint32) *talk {
	ses := sh.sessions.At(s)
	if ses.talk == nil {
		ses.talk = &talk{shard: sh, slot: s}
	}
	return ses.talk
}

// look notes what calls say of the session.
func (t *talk) look() {
	if t.slot == noSession {
		return
	}
	sh := t.shard
	ses := sh.sessions.At(t.slot)
	id := sh.table.ID(t.slot)
	t.channel, t.begun = ses.channel, ses.begun()
	t.about = sh.server.about(ses.channel, id, ses.client.User())
	t.about.Rooms = sh.rooms(t.slot)
}

// begun tells a session from earlier ones of the same id.
func (ses *session) begun() string {
	return strconv.FormatUint(uint64(ses.connected), 36) + "-" + strconv.FormatUint(uint64(ses.serial), 36)
}

// about is what all calls say.
func (srv *Server) about(ch *channel, id wire.SessionID, user string) handlers.Call {
	return handlers.Call{
		Source:  "/namespaces/" + srv.current.Load().settings.Pusher.Namespace + "/channels/" + ch.Name,
		Channel: ch.Name, Session: id.String(), User: user, Rooms: []string{},
	}
}

// call makes the next call.
func (t *talk) call(n *turn) *handlers.Call {
	t.look()
	t.calls++
	c := t.about
	c.ID = c.Session + "." + t.begun + "." + strconv.FormatUint(t.calls, 36)
	c.Type, c.Time, c.Data, c.What = n.kind, time.Now(), t.data, n.what
	return &c
}

// emission is an event that a client has emitted.
type emission struct {
	name  string
	args  wire.Args
	waits bool // for an acknowledgement
	// reply is called once, on the loop, unless the session ends before.
	reply func(*wire.Args, *failure)
}

// emit tells handlers of an event that a client has emitted.
func (sh *shard) emit(s uint32, e *emission) {
	ch := sh.sessions.At(s).channel
	n := turn{target: ch.handler(e.name), stream: ch.streams(e.name), kind: handlers.TypeEvent, size: e.args.Size(), reply: e.reply}
	if no := sh.tooFast(s, 1); no != nil {
		e.reply(nil, no)
		return
	}
	switch {
	case n.target == nil && !n.stream:
		ch.counters.refuse(refusedNotHandled)
		e.reply(nil, &failure{Code: plain.CodeNotHandled, Message: fmt.Sprintf("nobody handles %.64q here: name it in one of the Channel's handlers", e.name)})
		return
	case !sh.server.current.Load().verifier.MayEmit(ch.Name, &sh.sessions.At(s).client, e.name):
		ch.counters.refuse(refusedEmit)
		e.reply(nil, &failure{Code: plain.CodeForbidden, Message: fmt.Sprintf("this channel's rules do not let you emit %.64q", e.name)})
		return
	case int64(n.size) > ch.Limits.EventBytes:
		e.reply(nil, &failure{Code: plain.CodeTooLarge, Message: fmt.Sprintf("the event has %d bytes, more than the %d that this channel takes", n.size, ch.Limits.EventBytes)})
		return
	}
	if n.target != nil {
		n.due = time.Now().Add(n.target.Timeout.Std())
	}
	n.what = &handlers.Event{Name: e.name, Args: e.args.Array(), Attachments: cloneAll(e.args.Attachments), Ack: e.waits}
	if !sh.talkOf(s).add(n) {
		e.reply(nil, &failure{Code: plain.CodeBusy, Message: "too many events wait for the backend: emit fewer at a time"})
	}
}

// cloneAll copies attachments, which may be a part of what a loop reads into.
func cloneAll(all [][]byte) [][]byte {
	out := slices.Clone(all)
	for i := range out {
		out[i] = slices.Clone(out[i])
	}
	return out
}

// add has something told when everything before has been. It reports false when too much
// waits already.
func (t *talk) add(n turn) bool {
	if !n.last && (len(t.queue) >= maxTurns || t.bytes+n.size > maxTurnBytes) {
		return false
	}
	t.queue = append(t.queue, n)
	t.bytes += n.size
	t.next()
	return true
}

// next begins the next turn, if none is under way. What has waited for longer than its
// handler may take is not told any more: its client has given up, or should.
func (t *talk) next() {
	for !t.under && len(t.queue) > 0 {
		n := t.queue[0]
		t.queue[0] = turn{}
		t.queue = t.queue[1:]
		t.bytes -= n.size
		if len(t.queue) == 0 {
			t.queue = nil
		}
		if !n.due.IsZero() && time.Now().After(n.due) {
			if t.slot != noSession {
				n.reply(nil, errAway)
			}
			continue
		}
		t.begin(&n)
	}
}

// begin begins a turn.
func (t *talk) begin(n *turn) {
	if n.event != nil {
		t.look()
		t.under = true
		t.shard.server.talks.Add(1)
		go t.store(n, t.channel)
		return
	}
	c := t.call(n)
	if n.last {
		t.shard.server.sayFarewell(t, n, c)
		return
	}
	t.under = true
	t.shard.server.talks.Add(1)
	go t.take(n, c, t.channel) // as many as targets let wait
}

// take takes a turn.
func (t *talk) take(n *turn, c *handlers.Call, ch *channel) {
	srv := t.shard.server
	defer srv.talks.Add(-1)
	answer, f := &handlers.Answer{}, (*failure)(nil)
	if n.stream {
		f = srv.stream(ch, c)
	}
	if f == nil && n.target != nil {
		var err error
		if answer, err = srv.caller.Do(srv.replays.ctx, n.target, c); err != nil {
			answer, f = &handlers.Answer{}, failed(err)
		}
	}
	if f == nil {
		f = t.carryOut(ch, c.Session, answer)
	}
	t.shard.do(func() { t.settle(n, answer, f) })
}

// failed is what a client is told of a handler's failure.
func failed(err error) *failure {
	var f *handlers.Failure
	ok := errors.As(err, &f)
	switch {
	case ok && f.Reason == handlers.Busy:
		return &failure{Code: plain.CodeBusy, Message: "the backend has too much to do: try again later"}
	case ok && !f.Reason.Again():
		return &failure{Code: plain.CodeFailed, Message: "the backend could not handle this"}
	}
	return errAway
}

var errAway = &failure{Code: plain.CodeAway, Message: "the backend is away: try again later"}

// carryOut does what of an answer must be done before the client hears of it.
func (t *talk) carryOut(ch *channel, session string, a *handlers.Answer) (f *failure) {
	srv := t.shard.server
	if len(a.Join)+len(a.Leave) > 0 || a.Data != nil {
		kept := make(chan struct{})
		t.shard.do(func() {
			if f = t.apply(a); t.slot == noSession {
				close(kept)
				return
			}
			t.shard.keep(t.slot, func() { close(kept) })
		})
		select {
		case <-kept:
		case <-time.After(keepWait):
		case <-srv.replays.ctx.Done():
		}
	}
	if f != nil {
		return f
	}
	return srv.publishAll(ch, session, a.Emit)
}

// publishAll publishes those of a handler's events that are not for the sender alone.
func (srv *Server) publishAll(ch *channel, sender string, emits []handlers.Emit) *failure {
	var events []*wire.Event
	for i := range emits {
		if !emits[i].Direct() {
			events = append(events, emits[i].Published(sender))
		}
	}
	if len(events) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(srv.replays.ctx, publishTimeout)
	defer cancel()
	if _, err := (publisher{srv}).Publish(ctx, ch.Name, events); err != nil {
		if !srv.ending() {
			srv.log.Warn("a handler's events could not be published", "channel", ch.Name, "error", err)
		}
		return &failure{Code: plain.CodeAway, Message: "what the backend answered could not be delivered: try again later"}
	}
	return nil
}

// publishTimeout bounds the publishing of a handler's events.
const publishTimeout = 10 * time.Second

// apply changes the session's data and rooms.
func (t *talk) apply(a *handlers.Answer) *failure {
	if a.Data != nil {
		if t.data = a.Data; string(a.Data) == "null" {
			t.data = nil
		}
	}
	if t.slot == noSession || len(a.Join)+len(a.Leave) == 0 {
		return nil
	}
	if t.shard.changeRooms(t.slot, a.Join, a.Leave).Refused {
		return &failure{Code: plain.CodeTooMany, Message: errTooManyRooms.text, Rooms: a.Join}
	}
	return nil
}

// settle ends a turn.
func (t *talk) settle(n *turn, a *handlers.Answer, f *failure) {
	t.under = false
	if t.slot != noSession {
		t.sayDirectly(n.target, a.Emit)
		if n.reply != nil {
			args := &wire.Args{}
			if a.Ack != nil {
				args = &a.Ack.Args
			}
			n.reply(args, f)
		}
		if a.Disconnect && t.slot != noSession {
			t.shard.end(t.slot, wire.CloseByPublisher, "disconnected by a handler")
		}
	}
	t.next()
}
