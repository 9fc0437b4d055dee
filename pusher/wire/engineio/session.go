// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package engineio

import "time"

// Transport is how a session's packets travel.
type Transport uint8

// The transports.
const (
	Polling Transport = iota
	WebSocket
)

// Grain is how late a timer may fire without anybody else bearing it.
const Grain = 100 * time.Millisecond

// Session is the state of one session: its transport and its heartbeat. Times are
// durations since one origin of the caller's. Its zero value means nothing.
//
// A session that begins by polling has requests that come and go, and may be
// probed by a WebSocket, which then takes over.
type Session struct {
	interval, timeout time.Duration
	// next is when a ping is due or, while one is unanswered, when that is too late.
	next      time.Duration
	pinged    bool
	transport Transport
	polling   bool // a GET waits
	pushing   bool // a POST is being read
	probing   bool // a WebSocket is there that has not taken over
	pausing   bool // it has been answered: the client waits for its GET to end
}

// NewSession returns a session that begins now.
func NewSession(t Transport, now, interval, timeout time.Duration) Session {
	return Session{transport: t, interval: interval, timeout: timeout, next: now + interval}
}

// Transport is the one by which packets go to the client now.
func (s *Session) Transport() Transport { return s.transport }

// Due is when Tick must be called next.
func (s *Session) Due() time.Duration { return s.next }

// Beat is what the heartbeat asks for.
type Beat uint8

// What the heartbeat asks for.
const (
	Rest    Beat = iota
	SayPing      // send a ping
	Dead         // close the session: no pong came in time
)

// Tick says what the heartbeat asks for now.
func (s *Session) Tick(now time.Duration) Beat {
	switch {
	case now < s.next:
		return Rest
	case s.pinged:
		return Dead
	}
	// The ping's clock starts when it was due, so that a timer's coarseness does
	// not make the session live longer; a stall of ours is not the client's fault.
	s.pinged = true
	s.next = now + s.timeout - min(now-s.next, Grain)
	return SayPing
}

// Alive reports whether a request may still find the session at now, also when no
// timer has fired meanwhile.
func (s *Session) Alive(now time.Duration) bool {
	if s.pinged {
		return now < s.next
	}
	return now < s.next+s.timeout
}

// Verdict is what becomes of a packet or of a request.
type Verdict uint8

// What becomes of a packet or of a request.
const (
	// Done: nothing more to do.
	Done Verdict = iota
	// Deliver: a message for the application.
	Deliver
	// Hangup: the client ends the session.
	Hangup
	// Violation: the session ends because of an error of the client.
	Violation
	// Refuse: this request or WebSocket is refused, the session stays.
	Refuse
)

// Receive takes a packet of the client's that came by the session's transport.
func (s *Session) Receive(now time.Duration, p Packet) Verdict {
	switch p.Type {
	case Message:
		return Deliver
	case Pong:
		s.pinged, s.next = false, now+s.interval
		return Done
	case Close:
		return Hangup
	case Ping: // "invalid heartbeat direction": in version 4 the server pings
		return Violation
	}
	return Done
}

// Poll begins a GET. After Done it waits until Polled.
func (s *Session) Poll() Verdict {
	switch {
	case s.transport != Polling:
		return Refuse
	case s.polling:
		return Violation
	}
	s.polling = true
	return Done
}

// Polled ends a GET: it was answered.
func (s *Session) Polled() { s.polling = false }

// Push begins a POST. After Done it lasts until Pushed.
func (s *Session) Push() Verdict {
	switch {
	case s.transport != Polling:
		return Refuse
	case s.pushing:
		return Violation
	}
	s.pushing = true
	return Done
}

// Pushed ends a POST.
func (s *Session) Pushed() { s.pushing = false }

// Probe begins an upgrade: a WebSocket has come that names the session. After
// Done it is the session's probe.
func (s *Session) Probe() Verdict {
	if s.transport != Polling || s.probing {
		return Refuse
	}
	s.probing = true
	return Done
}

// ProbeGone ends an upgrade that came to nothing.
func (s *Session) ProbeGone() { s.probing, s.pausing = false, false }

// Pausing reports whether a GET with nothing to fetch must be answered with a
// noop, because the client waits for it to end before it changes transports.
func (s *Session) Pausing() bool { return s.pausing }

// probe is what the client's first packet on a probe says, and the answer.
const probe = "probe"

// Step is what to do with a packet that came on a probe.
type Step uint8

// What to do with a packet that came on a probe.
const (
	// Drop: close the probe; the session goes on without it.
	Drop Step = iota
	// Answer: send the pong to the probe, and a noop to a GET that waits, so that
	// the client can stop polling.
	Answer
	// Switch: the probe is the session's transport from now on.
	Switch
)

// Probed takes a packet that came on the session's probe.
func (s *Session) Probed(p Packet) Step {
	switch {
	case p.Type == Ping && string(p.Data) == probe:
		s.pausing = true
		return Answer
	case p.Type == Upgrade:
		s.transport, s.probing, s.pausing = WebSocket, false, false
		return Switch
	}
	return Drop
}
