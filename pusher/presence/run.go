// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package presence

import (
	"context"
	"maps"
	"time"
)

// askTimeout is how long others may take to answer before those who watch are told
// what is known without them.
const askTimeout = 2 * time.Second

// kick has run look for what there is to do.
func (r *Registry) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run tells others and those who watch what has changed, when it is time.
func (r *Registry) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-r.wake:
		case <-timer.C:
		}
		if next := r.turn(time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// said is what a turn has to say, in order, once mu is free.
type said []func()

// turn does what is due and returns when it is to be called again; zero: when it is
// kicked.
func (r *Registry) turn(now time.Time) (next time.Time) {
	var say said
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	r.mu.Lock()
	if len(r.changed) > 0 {
		if !now.Before(r.flushAt) {
			say = r.flush(say)
		} else {
			sooner(r.flushAt)
		}
	}
	if r.config.Others != nil && len(r.views) > 0 {
		r.look(now)
		r.ask()
		sooner(r.checkAt)
	}
	for v := range r.busy {
		say = r.show(v, now, say)
		at := v.due()
		if !v.ready || at.IsZero() { // answered stirs it
			delete(r.busy, v)
			continue
		}
		sooner(at)
	}
	r.mu.Unlock()
	for _, f := range say {
		f()
	}
	return next
}

// flush says what has changed on this replica.
func (r *Registry) flush(say said) said {
	for _, s := range r.changed {
		c := r.counts[s]
		moved := make(map[string]int, len(c.moved))
		for user := range c.moved {
			if user != "" {
				moved[user] = c.users[user]
			}
		}
		c.moved = nil
		v := r.views[s]
		for _, users := range inParts(moved) {
			r.version++
			u := update{r.config.Self, r.version, c.version, c.sessions, users}
			c.version = r.version
			if v != nil {
				v.take(&u)
				r.busy[v] = struct{}{}
			}
			if r.config.Others != nil {
				say = append(say, func() { r.config.Others.Tell(topic(s), encode(u)) })
			}
		}
		if c.sessions == 0 {
			delete(r.counts, s)
		}
	}
	r.changed = nil
	return say
}

// show tells those who watch.
func (r *Registry) show(v *view, now time.Time, say said) said {
	if !v.ready {
		if r.config.Others != nil {
			return say
		}
		v.begin(now)
	}
	if due := v.due(); !due.IsZero() && !now.Before(due) {
		for _, c := range v.show(now) {
			say = append(say, func() { r.config.Notify(v.scope, c) })
		}
	}
	if len(v.waiting) > 0 {
		snapshot := v.snapshot()
		for _, first := range v.waiting {
			say = append(say, func() { first(snapshot) })
		}
		v.waiting = nil
	}
	return say
}

// look drops the parts of replicas that have gone, and has all views healed now and
// then.
func (r *Registry) look(now time.Time) {
	if now.Before(r.checkAt) {
		return
	}
	r.checkAt = now.Add(check)
	if present := r.config.Others.Present(); !maps.Equal(present, r.present) {
		r.present = present
		for _, v := range r.views {
			for replica := range v.parts {
				if replica != r.config.Self && !present[replica] {
					v.drop(replica)
					r.busy[v] = struct{}{}
				}
			}
		}
	}
	if now.Before(r.healAt) {
		return
	}
	r.healAt = now.Add(heal)
	for s := range r.views {
		r.stale[s] = struct{}{}
	}
}

// ask asks the others for some of what was missed, unless an answer is under way.
func (r *Registry) ask() {
	if r.asking || len(r.stale) == 0 {
		return
	}
	r.asking = true
	var questions []Question
	for s := range r.stale {
		delete(r.stale, s)
		questions = append(questions, Question{s, r.views[s].known()})
		if len(questions) == maxAsked {
			break
		}
	}
	r.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, askTimeout)
		defer cancel()
		answers, _ := r.config.Others.Ask(ctx, questions) // who has not answered is asked again
		r.answered(questions, answers)
		select {
		case <-time.After(gather):
		case <-r.done:
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asking = false
		r.kick()
	})
}

// answered takes the answers of the others.
func (r *Registry) answered(questions []Question, answers [][]byte) {
	states, whole := join(answers)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, st := range states {
		v := r.views[st.Scope]
		if v == nil {
			continue
		}
		if !v.replace(st) {
			r.stale[st.Scope] = struct{}{}
		}
		r.stir(v)
	}
	for _, q := range questions {
		v := r.views[q.Scope]
		if v == nil {
			continue
		}
		if !v.ready {
			v.begin(time.Now())
			r.stir(v)
		}
		if !whole {
			r.stale[q.Scope] = struct{}{}
		}
	}
}
