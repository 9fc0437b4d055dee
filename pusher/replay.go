// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"bytes"
	"errors"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

const (
	// maxHeld is how many live events wait for the end of a replay. When there are
	// more, the replay goes on to the last of them instead.
	maxHeld = 256
	// heldCost is about what an event takes in a frame besides its strings and data.
	heldCost = 128
	// maxReplayFailures is how often reading is tried again before the client is
	// sent away to do so.
	maxReplayFailures = 6
	// replayRetry is the first wait for a broker that cannot be read, or for a
	// client that has not read what it was sent. It doubles.
	replayRetry = 20 * time.Millisecond
	// maxReplayRetry is the longest.
	maxReplayRetry = time.Second
)

// replay makes up for what a session has missed. The session is a member of its
// channel from the beginning, so that nothing is missed meanwhile: live events are
// held until those before them have been read from the broker's history, page by
// page, and sent. All of it happens on the loop but the reading.
type replay struct {
	// Static.
	shard   *shard
	session uint32
	channel string

	// Owned by the loop.
	begun     wire.Position  // of the channel: what follows is held
	had       wire.Position  // what the client says that it has had, whatever comes of it
	before    wire.SessionID // its client's last; zero: not known
	answer    *resumed       // what the welcome says, whatever is kept; nil: that follows from the history
	restore   func()         // gives the session back what it was; nil: nothing
	quiet     bool           // see claim
	must      bool           // see claim
	welcome   func(resumed)  // nil: it has been said
	requests  [][]byte       // of a client that has not been welcomed yet
	requested int            // bytes of them
	at        wire.Position  // the client has been sent everything up to here
	upto      uint64         // what follows is held, or live
	overflow  uint64         // the last of live events that were too many to hold; 0: none
	held      []*hub.Delivery
	heldBytes int
	waits     int // in a row, for the client
	failures  int // in a row, of the broker
}

// resumed is what became of a client's wish to go on from where it was.
type resumed struct {
	asked     bool
	recovered bool
	oldest    wire.Position // the earliest that it could have gone on from; zero: none
}

// said returns the words for a welcome.
func (r resumed) said() (recovered *bool, oldest string) {
	if !r.asked {
		return nil, ""
	}
	if !r.recovered && r.oldest != (wire.Position{}) {
		oldest = r.oldest.String()
	}
	return &r.recovered, oldest
}

// hold begins a replay: from now on the session's live events are held.
func (sh *shard) hold(s uint32, since wire.Position, welcome func(resumed)) *replay {
	ses := sh.sessions.At(s)
	p := &replay{shard: sh, session: s, channel: ses.channel.Name, welcome: welcome, at: since, had: since}
	p.begin()
	ses.replaying = true
	sh.replays[s] = p
	return p
}

// begin has the replay reach up to where the channel is now: what is held is in the
// history, or was before the client's time.
func (p *replay) begin() {
	p.begun = p.shard.table.Position(p.channel)
	p.upto, p.overflow, p.held, p.heldBytes = p.begun.Seq, 0, nil, 0
	if p.at.Epoch == p.begun.Epoch {
		p.upto = max(p.upto, p.at.Seq) // another loop, or replica, was ahead of this one
	}
}

// attached goes on when the channel's events are delivered here, or could not be.
func (p *replay) attached(err error) next {
	switch {
	case p.shard.replays[p.session] != p:
		return next{done: true}
	case err != nil:
		return p.failed()
	}
	p.failures = 0
	p.begin()
	if p.answer == nil {
		return next{ask: p.ask()}
	}
	p.at = p.begun
	p.say(*p.answer)
	if p.shard.replays[p.session] != p {
		return next{done: true}
	}
	return p.proceed()
}

// failed has the replay try again later, a few times.
func (p *replay) failed() next {
	if p.failures == maxReplayFailures {
		return p.giveUp(wire.CloseTryLater)
	}
	p.failures++
	return p.again(p.failures)
}

// release ends a replay.
func (sh *shard) release(s uint32) {
	sh.sessions.At(s).replaying = false
	if delete(sh.replays, s); len(sh.replays) == 0 {
		sh.recent = nil
	}
}

// ask is what is to be read next.
func (p *replay) ask() wire.Range {
	return wire.Range{After: p.at, Upto: p.end(), Limit: replayPage}
}

// end is the sequence of the last event that is read from history.
func (p *replay) end() uint64 { return max(p.upto, p.overflow) }

// hold keeps a live event back. When too much is held it is let go of: history has
// it.
func (p *replay) hold(d *hub.Delivery) {
	size := heldCost + d.Event.Size() + len(d.Event.Name) + len(d.Event.ID)
	buffer := p.shard.sessions.At(p.session).channel.SlowClients.BufferBytes
	if len(p.held) == maxHeld || int64(p.heldBytes+size) > buffer/2 {
		p.held, p.heldBytes, p.overflow = nil, 0, d.Position.Seq
		return
	}
	p.held = append(p.held, d)
	p.heldBytes += size
	if p.welcome == nil && p.at.Seq >= p.end() && d.Position.Seq >= p.end() {
		p.proceed() // it was only waiting for the channel to get here
	}
}

// next says what a replay is to do after a step.
type next struct {
	done  bool
	after time.Duration
	ask   wire.Range
}

// step takes what has been read.
func (p *replay) step(page wire.Page, err error) next {
	sh := p.shard
	if sh.replays[p.session] != p {
		return next{done: true} // the session has ended
	}
	var lost *wire.LostError
	switch {
	case errors.As(err, &lost) && p.welcome != nil && p.must:
		return p.giveUp(wire.CloseTryLater)
	case errors.As(err, &lost) && p.welcome != nil:
		p.at, p.upto = p.begun, p.begun.Seq
		if p.had.Epoch == p.begun.Epoch && lost.Newest.Epoch == p.begun.Epoch {
			// Elsewhere it has had what has still to be delivered here.
			p.upto = max(p.upto, min(p.had.Seq, lost.Newest.Seq))
			p.at.Seq = p.upto
		}
		p.sayLost(lost)
	case errors.As(err, &lost):
		return p.giveUp(wire.CloseSlow)
	case err != nil:
		return p.failed()
	default:
		p.failures = 0
		if p.welcome != nil && p.quiet {
			p.say(resumed{})
		} else if p.welcome != nil {
			sh.server.resumes.recovered.Add(1)
			p.takeBack()
			p.say(resumed{asked: true, recovered: true})
		}
		if !p.send(page) {
			return p.wait()
		}
	}
	if sh.replays[p.session] != p {
		return next{done: true}
	}
	return p.proceed()
}

// sayLost welcomes a client that has missed something.
func (p *replay) sayLost(lost *wire.LostError) {
	if p.quiet {
		p.say(resumed{})
		return
	}
	p.shard.server.resumes.lost.Add(1)
	p.say(resumed{asked: true, oldest: lost.Oldest})
}

// takeBack makes the session what it was, now that it is known that what it has
// missed is there.
func (p *replay) takeBack() {
	if p.restore == nil {
		return
	}
	p.restore()
	// It was not in its rooms until now: what was for them is in the history.
	p.held, p.heldBytes, p.overflow = nil, 0, p.shard.table.Position(p.channel).Seq
}

// say welcomes the client, and does what it has asked for meanwhile.
func (p *replay) say(r resumed) {
	sh, welcome, requests := p.shard, p.welcome, p.requests
	p.welcome, p.requests = nil, nil
	welcome(r)
	for _, msg := range requests {
		if sh.replays[p.session] != p {
			return
		}
		sh.request(sh.sessions.At(p.session).conn, p.session, msg)
	}
}

// later keeps a message of a client that has not been welcomed yet.
func (p *replay) later(msg []byte) {
	if p.requested += len(msg); p.requested > plain.MaxMessage {
		p.shard.end(p.session, wire.CloseTryLater, "wait for the welcome")
		return
	}
	p.requests = append(p.requests, bytes.Clone(msg))
}

// send sends the part of a page that is addressed to the session. It reports false
// when the client must read some of it first.
func (p *replay) send(page wire.Page) bool {
	sh := p.shard
	for i := range page.Events {
		stored := &page.Events[i]
		if stored.Position.Seq > p.end() {
			break // it will be delivered
		}
		if sh.table.Addressed(p.session, p.before, stored.Event) {
			ses := sh.sessions.At(p.session)
			f := sh.stored(ses, stored)
			if !sh.loop.Fits(ses.conn, len(f.Bytes)) {
				return false
			}
			sh.loop.Send(ses.conn, f)
			sh.server.resumes.events.Add(1)
		}
		p.at, p.waits = stored.Position, 0
	}
	p.at.Seq = max(p.at.Seq, min(page.Through.Seq, p.end()))
	return true
}

// proceed ends the replay when all that was missed is sent, or has it go on.
func (p *replay) proceed() next {
	sh := p.shard
	ses := sh.sessions.At(p.session)
	switch {
	case p.at.Seq < p.end():
		return next{ask: p.ask()}
	case !sh.loop.Fits(ses.conn, p.heldBytes):
		return p.wait()
	case sh.table.Position(ses.channel.Name).Seq < p.end():
		return p.wait() // what the loop has still to deliver, the client has had elsewhere
	}
	sh.release(p.session)
	for i := range p.held {
		if d := p.held[i]; d.Position.Seq > p.at.Seq {
			sh.loop.Send(ses.conn, &loop.Frame{Bytes: sh.encode(d, ses), Event: true, Topic: ses.channel.counters.number})
		}
	}
	return next{done: true}
}

// wait has the replay go on after a while: longer each time in a row.
func (p *replay) wait() next {
	p.waits = min(p.waits+1, maxReplayFailures)
	return p.again(p.waits)
}

func (p *replay) again(times int) next {
	return next{after: min(replayRetry<<times, maxReplayRetry), ask: p.ask()}
}

// giveUp closes the connection of a client that cannot be served what it missed
// as it is. It may come back.
func (p *replay) giveUp(code wire.CloseCode) next {
	p.shard.loop.Close(p.shard.sessions.At(p.session).conn, code, code.Reason())
	return next{done: true}
}

// recentEvents is how many replayed events a loop has at hand in encoded form:
// clients that come back at the same time have missed the same.
const recentEvents = 512

// recent is an event of the history in the forms that clients have needed.
type recent struct {
	channel  *channel
	delivery hub.Delivery
	frames   [hub.Forms]*loop.Frame
}

// stored returns the frame of a stored event for a session.
func (sh *shard) stored(ses *session, e *wire.Stored) *loop.Frame {
	if sh.recent == nil {
		sh.recent = make([]*recent, recentEvents)
	}
	at := &sh.recent[e.Position.Seq%recentEvents]
	r := *at
	if r == nil || r.channel != ses.channel || r.delivery.Position != e.Position {
		r = &recent{channel: ses.channel, delivery: hub.Delivery{Channel: ses.channel.Name, Position: e.Position, Event: e.Event}}
		*at = r
	}
	f := r.frames[ses.form]
	if f == nil {
		f = &loop.Frame{Bytes: sh.encode(&r.delivery, ses), Event: true, Topic: ses.channel.counters.number}
		r.frames[ses.form] = f
	}
	return f
}
