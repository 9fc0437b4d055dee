// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"errors"
	"time"
)

const (
	// upkeepTimeout bounds one round, and ensureTimeout its first step: a request
	// that a leader took with it when it went is sent again soon.
	upkeepTimeout = 10 * time.Second
	ensureTimeout = 3 * time.Second
	// retryInterval is how soon a round that failed is done again.
	retryInterval = 500 * time.Millisecond
	// tailBatch is how many logs' last messages are asked for at once; the server
	// answers at most 1,024.
	tailBatch = 1000
	tailBytes = 4 << 20
	// tailGrace is how long a last message may be on its way to us.
	tailGrace = 200 * time.Millisecond
)

// upkeep looks after the stream and the attached logs, every now and then and
// when it is woken.
func (b *Broker) upkeep() {
	var failed error
	for {
		wait := b.config.TailInterval
		if failed != nil {
			wait = min(wait, retryInterval)
		}
		t := time.NewTimer(wait)
		select {
		case <-b.wake:
		case <-t.C:
		case <-b.ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
		if !b.nc.IsConnected() {
			continue
		}
		err := b.round()
		if err != nil && failed == nil && b.ctx.Err() == nil {
			b.config.Log.Warn("NATS cannot be looked after", "error", err)
		}
		failed = err
	}
}

func (b *Broker) round() error {
	ctx, cancel := context.WithTimeout(b.ctx, upkeepTimeout)
	defer cancel()
	first, cancelFirst := context.WithTimeout(ctx, ensureTimeout)
	defer cancelFirst()
	if err := b.ensure(first); err != nil {
		return err
	}
	if err := b.reattach(ctx); err != nil {
		return err
	}
	in, logs := b.attachedLogs()
	for len(logs) > 0 {
		n := min(len(logs), tailBatch)
		if err := b.checkTails(ctx, in, logs[:n]); err != nil {
			return err
		}
		logs = logs[n:]
	}
	return b.renewMarks(ctx)
}

// reattach attaches what is wanted and is not, or only to an earlier life.
func (b *Broker) reattach(ctx context.Context) error {
	now := b.stream.life()
	var todo []*channelLog
	b.mu.RLock()
	for _, l := range b.logs {
		l.mu.Lock()
		if l.wanted && l.life != now {
			todo = append(todo, l)
		}
		l.mu.Unlock()
	}
	b.mu.RUnlock()
	for _, l := range todo {
		if err := l.attach(ctx); err != nil && !errors.Is(err, ErrUnknownChannel) {
			return err
		}
	}
	return nil
}

func (b *Broker) attachedLogs() (in *life, logs []*channelLog) {
	in = b.stream.life()
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, l := range b.routes {
		if l.current(in) {
			logs = append(logs, l)
		}
	}
	return in, logs
}

// suspect is a log whose last message may have been missed.
type suspect struct {
	log *channelLog
	seq uint64
}

// checkTails compares the logs' last messages in the stream with those that were
// seen here, all in one request. The stream sends only those that are newer than
// what was checked before, so that quiet channels cost next to nothing.
func (b *Broker) checkTails(ctx context.Context, in *life, logs []*channelLog) error {
	bySubject := make(map[string]*channelLog, len(logs))
	subjects := make([]string, 0, len(logs))
	want := in.seen.Load()
	from := want
	for _, l := range logs {
		s := b.subject(in.epoch, l.token)
		bySubject[s], subjects = l, append(subjects, s)
		l.mu.Lock()
		from = min(from, max(l.checked, l.reached))
		l.start() // again, if it failed
		l.mu.Unlock()
	}
	last := map[*channelLog]uint64{}
	if from >= want {
		b.tailsChecked(logs, last, want)
		return nil
	}
	var upto uint64
	for next := from + 1; ; {
		g, err := b.fetch(ctx, getRequest{Seq: next, MultiLast: subjects, MaxBytes: tailBytes})
		if err != nil {
			return err
		}
		for i, m := range g.msgs {
			if l := bySubject[g.subjects[i]]; l != nil {
				last[l], next = m.seq, m.seq+1
			}
		}
		upto = max(upto, g.upto)
		if g.pending == 0 || len(g.msgs) == 0 {
			break
		}
	}
	if upto < want {
		upto = 0 // the node lags behind; it has still told what is new there
	}
	return b.suspects(ctx, b.tailsChecked(logs, last, upto))
}

// tailsChecked notes until where nothing is missing, if that is known, and returns
// the logs that may miss something.
func (b *Broker) tailsChecked(logs []*channelLog, last map[*channelLog]uint64, upto uint64) (open []suspect) {
	now := time.Now()
	for _, l := range logs {
		l.mu.Lock()
		if last[l] > l.reached {
			open = append(open, suspect{l, last[l]})
		} else if !l.behind && upto > 0 {
			l.checked, l.synced = max(l.checked, upto), now
		}
		l.mu.Unlock()
	}
	return open
}

// suspects gives live messages that are on their way a moment to arrive.
func (b *Broker) suspects(ctx context.Context, open []suspect) error {
	if len(open) == 0 {
		return nil
	}
	if err := sleep(ctx, tailGrace); err != nil {
		return err
	}
	for _, s := range open {
		s.log.mu.Lock()
		missed := s.log.reached < s.seq && !s.log.turning
		s.log.mu.Unlock()
		if missed {
			b.stats.gaps.Add(1)
			s.log.catchUp()
		}
	}
	return nil
}

// renewMarks writes a mark behind last messages that will soon be too old to be
// kept, so that a quiet log does not forget that nothing has been dropped since.
// Of several replicas that do so, one succeeds.
func (b *Broker) renewMarks(ctx context.Context) error {
	in, logs := b.attachedLogs()
	due := b.stream.maxAge() - markAge
	for _, l := range logs {
		l.mu.Lock()
		old := time.Since(l.lastAt) > due && !l.turning
		reached, floor := l.reached, l.floor
		l.mu.Unlock()
		if !old {
			continue
		}
		subject := b.subject(in.epoch, l.token)
		_, err := b.mark(ctx, in, subject, reached, mark{floor})
		if wrongLast(err) && l.recent() {
			// Either there is a newer message, or none at all any more.
			_, err = b.mark(ctx, in, subject, 0, mark{floor})
		}
		if err != nil && !wrongLast(err) {
			return err
		}
	}
	return nil
}
