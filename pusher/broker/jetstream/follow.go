// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"errors"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// fillMessages and fillBytes bound what is fetched at a time.
	fillMessages = 256
	fillBytes    = 2 << 20
	// lagPatience is how long a node may lag behind the others before the leader is
	// asked whether what is missing is there at all.
	lagPatience = 2 * time.Second
)

// errDetached ends a turn whose log is not attached any more.
var errDetached = errors.New("the channel is not attached")

// follow does a turn's work. After an error some of it is left to be fetched.
func (l *channelLog) follow(w work) error {
	l.following.Lock()
	defer l.following.Unlock()
	if !l.current(w.life) {
		return errDetached
	}
	if w.behind {
		if err := l.fill(w.life, 0); err != nil {
			return err
		}
	}
	for i := range w.msgs {
		m := &w.msgs[i]
		switch {
		case m.seq <= l.chain.last:
			l.broker.stats.repeated.Add(1)
			continue
		case m.prev > l.chain.last:
			l.broker.stats.gaps.Add(1)
			if err := l.fill(w.life, m.prev); err != nil {
				return err
			}
		}
		if m.seq <= l.chain.last {
			continue // it was fetched with what came before
		}
		if err := l.take(w.life, stored{m.seq, m.at, m.body}); err != nil {
			return err
		}
	}
	l.inSync(w.life)
	return nil
}

// inSync notes that nothing is missing now.
func (l *channelLog) inSync(in *life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life == in {
		l.synced = time.Now()
	}
}

// fill fetches and delivers what follows the last message, up to a sequence at
// least; 0: up to what there is.
func (l *channelLog) fill(in *life, upto uint64) error {
	ctx, cancel := context.WithTimeout(l.broker.ctx, l.broker.config.Timeout)
	defer cancel()
	subject := l.broker.subject(in.epoch, l.token)
	begun, wait := time.Now(), 2*time.Millisecond
	for first := true; ; {
		if !l.current(in) {
			return errDetached
		}
		got, err := l.broker.fetch(ctx, getRequest{Seq: max(l.chain.last, 1), NextFor: subject, Batch: fillMessages, MaxBytes: fillBytes})
		if err != nil {
			return err
		}
		if first { // later, what is fetched follows what was
			if err := l.account(ctx, in, subject, got.msgs); err != nil {
				return err
			}
			first = false
		}
		for _, m := range got.msgs {
			if m.seq > l.chain.last {
				if err := l.take(in, m); err != nil {
					return err
				}
			}
		}
		switch {
		case got.pending > 0:
		case l.chain.last >= upto:
			return nil
		case time.Since(begun) > lagPatience:
			return l.giveUp(ctx, in, upto)
		default:
			if err := sleep(ctx, wait); err != nil {
				return err
			}
			wait = min(2*wait, 100*time.Millisecond)
		}
	}
}

// account finds out whether something was dropped behind the last message, and
// says so.
func (l *channelLog) account(ctx context.Context, in *life, subject string, got []stored) error {
	after := l.chain.last
	if len(got) > 0 && got[0].seq <= after+1 {
		return nil // the last or the next is kept, so is all that follows
	}
	first, err := l.broker.firstOf(ctx, subject)
	if err != nil {
		return err
	}
	switch {
	case first == nil && l.recent():
		return nil // what came since would not be too old yet
	case first == nil:
		m, err := l.broker.begin(ctx, in, subject)
		if err != nil {
			return err
		}
		return l.lose(in, *m)
	case first.follows(after):
		return nil
	}
	return l.lose(in, *first)
}

// recent reports whether it is known of a time, from which on nothing is too old
// yet, that nothing was missing.
func (l *channelLog) recent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.synced) < l.broker.stream.maxAge()-markAge
}

// giveUp ends the wait for a message that nobody sends. If the leader has it, it
// is waited for again later; otherwise it has been dropped.
func (l *channelLog) giveUp(ctx context.Context, in *life, upto uint64) error {
	m, err := l.broker.leaderGet(ctx, leaderRequest{Seq: upto})
	if err != nil {
		return err
	}
	if m != nil {
		return errors.New("a node of NATS lags behind")
	}
	return l.lose(in, stored{seq: upto + 1})
}

// take delivers the message that follows the last one.
func (l *channelLog) take(in *life, m stored) error {
	l.delivering.Lock()
	defer l.delivering.Unlock()
	if !l.current(in) {
		return errDetached
	}
	prev := l.chain.last
	l.chain.last = m.seq
	in.saw(m.seq)
	ev, mk, err := decode(m.body)
	switch {
	case err != nil:
		l.broker.stats.unknown.Add(1)
		l.broker.config.Log.Warn("an event cannot be delivered", "channel", l.name, "sequence", m.seq, "error", err)
		l.chain.floor = m.seq
		l.tell(l.place(in, prev), l.place(in, m.seq))
		l.moved(m, l.place(in, m.seq))
	case mk != nil: // what it says is known here already
		l.moved(m, wire.Position{})
	default:
		pos := l.place(in, m.seq)
		if ev.ID == "" {
			ev.ID = pos.String()
		}
		l.broker.config.Deliver(l.name, pos, ev)
		l.chain.floor = m.seq
		l.moved(m, pos)
		l.weigh(in, m)
	}
	return nil
}

// moved notes where the log is, and where Position is, if it has moved as well.
func (l *channelLog) moved(m stored, to wire.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reached, l.floor, l.lastAt = m.seq, l.chain.floor, m.at
	if to.Epoch != "" {
		l.at = to
	}
}

// lose says that what is between the last message and another is lost.
func (l *channelLog) lose(in *life, next stored) error {
	l.delivering.Lock()
	defer l.delivering.Unlock()
	if !l.current(in) {
		return errDetached
	}
	l.mu.Lock()
	from := l.at
	l.mu.Unlock()
	to := l.place(in, next.seq-1)
	l.tell(from, to)
	l.chain.last, l.chain.floor = to.Seq, to.Seq
	l.mu.Lock()
	l.at, l.reached, l.floor = to, to.Seq, to.Seq
	l.mu.Unlock()
	return nil
}

func (l *channelLog) tell(from, to wire.Position) {
	l.broker.stats.lost.Add(1)
	l.broker.config.Lost(l.name, from, to)
}
