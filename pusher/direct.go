// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"time"

	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
	"github.com/klaxon-dev/klaxon/pusher/wire/sse"
)

// What a handler says to one session alone is outside the channel's order, and is not
// kept.

// sayDirectly sends those of a handler's events that are for the session alone.
func (t *talk) sayDirectly(target *handlers.Target, emits []handlers.Emit) {
	for i := range emits {
		if e := &emits[i]; e.Direct() && t.slot != noSession {
			t.shard.sendDirect(t.slot, e, t.ask(target, e))
		}
	}
}

// ask notes that an acknowledgement is awaited, and returns its number; 0: none is.
func (t *talk) ask(target *handlers.Target, e *handlers.Emit) uint64 {
	if e.Ack == nil {
		return 0
	}
	a := &asked{target: target, ref: e.Ack.Ref}
	switch {
	case t.shard.sessions.At(t.slot).form == hub.EventStream:
		t.acknowledge(a, &wire.Args{}, "unsupported")
		return 0
	case len(t.asked) >= maxAsked:
		t.acknowledge(a, &wire.Args{}, "too_many")
		return 0
	}
	if t.asked == nil {
		t.asked = map[uint64]*asked{}
	}
	t.lastAsk++
	id := t.lastAsk
	t.asked[id] = a
	a.patience = time.AfterFunc(e.Ack.Patience(), func() { t.shard.post(func() { t.answered(id, &wire.Args{}, "timeout") }) })
	return id
}

// answered takes an acknowledgement, or the lack of one. One that nobody waits for is
// ignored, as in Socket.IO.
func (t *talk) answered(id uint64, args *wire.Args, problem string) {
	a := t.asked[id]
	if a == nil || t.slot == noSession {
		return
	}
	a.patience.Stop()
	delete(t.asked, id)
	t.acknowledge(a, args, problem)
}

// acknowledge tells a handler what has become of what it asked.
func (t *talk) acknowledge(a *asked, args *wire.Args, problem string) {
	t.queue = append(t.queue, turn{ // of which there are no more than were asked for
		target: a.target, kind: handlers.TypeAcknowledged, size: args.Size(),
		what: &handlers.Acknowledged{Ref: a.ref, Args: args.Array(), Attachments: cloneAll(args.Attachments), Error: problem},
	})
	t.bytes += args.Size()
	t.next()
}

// acked takes a client's acknowledgement.
func (sh *shard) acked(s uint32, id uint64, args *wire.Args) {
	ses := sh.sessions.At(s)
	if t := ses.talk; t != nil && int64(args.Size()) <= ses.channel.Limits.EventBytes {
		t.answered(id, args, "")
	}
}

// sendDirect sends an event to one session. An ack other than 0 asks for an
// acknowledgement.
func (sh *shard) sendDirect(s uint32, e *handlers.Emit, ack uint64) {
	ses := sh.sessions.At(s)
	args := e.Arguments()
	switch {
	case ses.form == hub.EventStream:
		ev := &wire.Event{Name: e.Event}
		args.Fill(ev)
		sh.send(ses.conn, sse.EncodeDirect(ev))
	case ses.overSocketIO():
		out := &socketio.Emit{Name: e.Event, Args: args, ID: ack}
		if ses.channel.recovers() && ack == 0 {
			out.Offset = sh.offset(s)
		}
		sh.send(ses.conn, socketio.EncodeEmit(ses.channel.SocketIO.Namespace, out))
	default:
		sh.send(ses.conn, plain.EncodeDirect(e.Event, &args, ack))
	}
}
