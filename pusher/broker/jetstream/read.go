// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"context"
	"fmt"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// Read returns a part of what is kept of a channel: see wire.Range and
// broker.Memory's Read. What Position says, a delivery had, or a receipt of any
// replica, can be read at once, whichever node of NATS answers.
//
// The history's size and ttl hold exactly. Its bytes hold to within a sixteenth, of
// what came while the channel was attached somewhere. A Page's Oldest may be as it
// was a second ago.
//
// Errors are ErrUnknownChannel, wire.LostError, UnavailableError and the context's.
func (b *Broker) Read(ctx context.Context, channel string, r wire.Range) (wire.Page, error) {
	if err := ctx.Err(); err != nil {
		return wire.Page{}, err
	}
	l, err := b.log(channel)
	if err != nil {
		return wire.Page{}, err
	}
	within, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	var p wire.Page
	err = patiently(within, func(ctx context.Context) (err error) {
		p, err = l.read(ctx, r)
		return err
	})
	if err != nil {
		return wire.Page{}, b.failure(ctx, fmt.Errorf("read %s: %w", channel, err))
	}
	return p, nil
}

// reading is one Read under way.
type reading struct {
	log     *channelLog
	in      *life
	subject string
	history settings.History
	now     time.Time
	want    wire.Range
	// end is the sequence of the log's last message, as far as it must be known.
	end uint64
}

func (l *channelLog) read(ctx context.Context, want wire.Range) (wire.Page, error) {
	in, err := l.broker.await(ctx)
	if err != nil {
		return wire.Page{}, err
	}
	r := &reading{log: l, in: in, subject: l.broker.subject(in.epoch, l.token), history: l.limits(), now: time.Now(), want: want}
	if err := r.findEnd(ctx); err != nil {
		return wire.Page{}, err
	}
	if want.After == (wire.Position{}) {
		oldest, err := r.findOldest(ctx)
		if err != nil {
			return wire.Page{}, err
		}
		r.want.After = oldest
	} else if want.After.Epoch != in.epoch+l.token || want.After.Seq > r.end {
		return wire.Page{}, r.lost(ctx)
	}
	if r.nothing() {
		return r.finish(ctx, wire.Page{Through: l.place(in, max(want.After.Seq, want.Upto))})
	}
	return r.page(ctx)
}

// nothing reports whether it is known here that no wanted event follows, as for
// most clients that were away for a moment: then nobody needs to be asked.
func (r *reading) nothing() bool {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.life == r.in && r.want.Upto != 0 && r.want.Upto <= l.reached && r.want.After.Seq >= l.floor && r.want.After.Seq <= l.reached
}

// findEnd asks the leader how far the log reaches, unless no more is wanted than
// is known here.
func (r *reading) findEnd(ctx context.Context) error {
	pos, ok := r.log.position()
	if ok && pos.Epoch == r.in.epoch+r.log.token && r.want.Upto != 0 && r.want.Upto <= pos.Seq && r.want.After.Seq <= pos.Seq {
		r.end = pos.Seq
		return nil
	}
	last, err := r.log.broker.begin(ctx, r.in, r.subject)
	if err != nil {
		return err
	}
	r.end = max(last.seq, pos.Seq)
	if r.want.After.Seq <= r.end || r.want.After.Epoch != r.in.epoch+r.log.token {
		return nil
	}
	// A place behind the last message: where another replica lost something, say.
	if err := r.log.broker.ensure(ctx); err != nil {
		return err
	}
	if r.want.After.Seq <= r.in.seen.Load() {
		r.end = r.want.After.Seq
	}
	return nil
}

// page fetches what is wanted, from a node that has it.
func (r *reading) page(ctx context.Context) (wire.Page, error) {
	upto := r.end
	if r.want.Upto != 0 {
		upto = min(max(r.want.Upto, r.want.After.Seq), r.end)
	}
	after := r.want.After.Seq
	begun, wait := time.Now(), 2*time.Millisecond
	for {
		g, err := r.log.broker.fetch(ctx, getRequest{Seq: max(after, 1), NextFor: r.subject, Batch: min(r.want.Limit, fillMessages) + 2, MaxBytes: fillBytes})
		if err != nil {
			return wire.Page{}, err
		}
		reaches := after
		if n := len(g.msgs); n > 0 {
			reaches = max(reaches, g.msgs[n-1].seq)
		}
		if g.pending > 0 || reaches >= upto || time.Since(begun) > lagPatience {
			return r.assemble(ctx, g, upto)
		}
		if there, err := r.behind(ctx, upto); err != nil || !there {
			if err != nil {
				return wire.Page{}, err
			}
			return r.assemble(ctx, g, upto)
		}
		if err := sleep(ctx, wait); err != nil {
			return wire.Page{}, err
		}
		wait = min(2*wait, 100*time.Millisecond)
	}
}

// behind reports whether there is a message at a sequence, which another node did
// not have: it may also be the place where a log begins.
func (r *reading) behind(ctx context.Context, seq uint64) (bool, error) {
	m, err := r.log.broker.leaderGet(ctx, leaderRequest{Seq: seq})
	return m != nil, err
}

// assemble makes a page of what was fetched, if nothing that follows has been
// dropped.
func (r *reading) assemble(ctx context.Context, g *got, upto uint64) (wire.Page, error) {
	after := r.want.After.Seq
	if ok, err := r.allKept(ctx, g); err != nil {
		return wire.Page{}, err
	} else if !ok {
		return wire.Page{}, r.lost(ctx)
	}
	p := wire.Page{Through: r.want.After}
	p.Through.Epoch = r.in.epoch + r.log.token
	for _, m := range g.msgs {
		if m.seq <= after {
			continue
		}
		if m.seq > upto {
			p.Through.Seq = max(p.Through.Seq, upto)
			return r.finish(ctx, p)
		}
		ev, _, err := decode(m.body)
		if err == nil && ev != nil {
			if len(p.Events) == r.want.Limit {
				p.More = true
				return r.finish(ctx, p)
			}
			pos := r.log.place(r.in, m.seq)
			if ev.ID == "" {
				ev.ID = pos.String()
			}
			p.Events = append(p.Events, wire.Stored{Position: pos, Event: ev, Published: m.at})
		}
		p.Through.Seq = m.seq
	}
	p.More = g.pending > 0 && p.Through.Seq < upto
	if !p.More {
		p.Through.Seq = max(p.Through.Seq, upto)
	}
	return r.finish(ctx, p)
}

func (r *reading) finish(ctx context.Context, p wire.Page) (wire.Page, error) {
	var err error
	p.Oldest, err = r.recentOldest(ctx)
	return p, err
}

// allKept reports whether everything that follows the wanted position is kept by
// the stream and by the history's size and ttl.
func (r *reading) allKept(ctx context.Context, g *got) (bool, error) {
	after := r.want.After.Seq
	follow := g.msgs
	if len(follow) > 0 && follow[0].seq == after {
		follow = follow[1:]
	} else if len(follow) == 0 || follow[0].seq > after+1 {
		first, err := r.log.broker.firstOf(ctx, r.subject)
		if err != nil {
			return false, err
		}
		if first != nil && !first.follows(after) || first == nil && after < r.end {
			return false, nil
		}
	}
	n := int64(len(follow)) + int64(g.pending) //nolint:gosec // fits
	if len(follow) > 0 && isMark(follow[0]) {
		follow, n = follow[1:], n-1
	}
	if len(follow) > 0 && r.now.Sub(follow[0].at) > r.history.TTL.Std() {
		return false, nil
	}
	return n <= r.history.Size, nil
}

func isMark(m stored) bool {
	_, mk, _ := decode(m.body)
	return mk != nil
}
