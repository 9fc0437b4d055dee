// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings/rules"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/socketio"
)

// publication is an event that a client has for others, without a handler in between.
type publication struct {
	Event string          `json:"event"`
	Rooms []string        `json:"rooms"`
	Data  json.RawMessage `json:"data"`
}

// letsPublish reports whether clients of the channel may publish at all.
func (c *channel) letsPublish() bool { return c.Clients.Rules[string(rules.Publish)] != "" }

// publish stores a client's event for others, if the channel's rule lets it. What it has
// emitted and published before comes first. The reply has the event's id and offset.
func (sh *shard) publish(s uint32, p *publication, reply func(*wire.Args, *failure)) {
	ev, no := sh.published(s, p)
	if no != nil {
		reply(nil, no)
		return
	}
	n := turn{event: ev, size: ev.Size(), reply: reply, due: time.Now().Add(publishTimeout)}
	if !sh.talkOf(s).add(n) {
		reply(nil, &failure{Code: plain.CodeBusy, Message: "too many of your events wait to be published: publish fewer at a time"})
	}
}

// published is the event of a publication, or why the client may not.
func (sh *shard) published(s uint32, p *publication) (*wire.Event, *failure) {
	ses := sh.sessions.At(s)
	ch, verifier := ses.channel, sh.server.current.Load().verifier
	if !ch.letsPublish() {
		return nil, &failure{Code: plain.CodeForbidden, Message: "clients of this channel do not publish: it has no rule that lets them"}
	}
	if err := errors.Join(wire.CheckEventName(p.Event), checkRooms(p.Rooms)); err != nil {
		return nil, &failure{Code: plain.CodeBadMessage, Message: err.Error()}
	}
	to := p.Rooms
	if len(to) == 0 {
		to = []string{""} // the channel
	}
	if no := sh.tooFast(s, len(to)); no != nil {
		return nil, no
	}
	in := sh.table.Rooms(s)
	for _, room := range to {
		if !verifier.MayPublish(ch.Name, &ses.client, rules.Publication{Event: p.Event, Room: room, Rooms: in}) {
			ch.counters.refuse(refusedPublish)
			return nil, &failure{Code: plain.CodeForbidden, Message: fmt.Sprintf("this channel's rules do not let you publish %.64q there", p.Event), Rooms: p.Rooms}
		}
	}
	id := sh.table.ID(s)
	ev := &wire.Event{Name: p.Event, Rooms: slices.Clone(p.Rooms), Data: attributed(ses.client.User(), p.Data), Except: []string{id.String()}}
	if n := ev.Size(); int64(n) > ch.Limits.EventBytes {
		return nil, &failure{Code: plain.CodeTooLarge, Message: fmt.Sprintf("the event has %d bytes with your name, more than the %d that this channel takes", n, ch.Limits.EventBytes)}
	}
	return ev, nil
}

// attributed is the data of a client's event. It names the user, so that nobody has to believe
// what clients say of themselves, and nobody takes the event for a backend's.
func attributed(user string, data json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(struct {
		User string          `json:"user,omitempty"`
		Data json.RawMessage `json:"data,omitempty"`
	}{user, data}); err != nil {
		panic("pusher: JSON that was read cannot be written: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// store publishes the event of a turn.
func (t *talk) store(n *turn, ch *channel) {
	srv := t.shard.server
	defer srv.talks.Add(-1)
	ctx, cancel := context.WithTimeout(srv.replays.ctx, publishTimeout)
	defer cancel()
	var args wire.Args
	var f *failure
	receipts, err := publisher{srv}.Publish(ctx, ch.Name, []*wire.Event{n.event})
	if err == nil {
		b, _ := json.Marshal(map[string]string{"id": receipts[0].ID, "offset": receipts[0].Position.String()}) // two strings
		args = wire.One(b)
	} else {
		if unsaid, ok := srv.complaints.may(time.Now()); ok && !srv.ending() {
			srv.log.Warn("a client's event could not be published", "channel", ch.Name, "error", err, "unsaid", unsaid)
		}
		f = &failure{Code: plain.CodeAway, Message: "the event could not be published: try again later"}
	}
	t.shard.do(func() {
		t.under = false
		if t.slot != noSession {
			n.reply(&args, f)
		}
		t.next()
	})
}

// publishSocketIO takes emit("publish", {event, rooms, data}).
func (sh *shard) publishSocketIO(s uint32, p *socketio.Packet) {
	reply := sh.emitReply(s, p)
	_, args := p.Event()
	var pub publication
	if len(p.Attachments) > 0 || len(args) != 1 || json.Unmarshal(args[0], &pub) != nil {
		reply(nil, &failure{Code: plain.CodeBadMessage, Message: `publish takes {"event":"typing","rooms":["order:42"],"data":true}, without bytes`})
		return
	}
	sh.publish(s, &pub, reply)
}
