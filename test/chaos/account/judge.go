// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// maxFindings is how many findings a Verdict keeps.
const maxFindings = 5

// Verdict is what became of the events of one subscriber, or of many.
type Verdict struct {
	Live      int // received while connected
	Recovered int // received after coming back
	Lost      int // told that they are not kept any more, or were dropped
	Forgotten int // told by not being recovered although they may be kept

	// These must be 0.
	Silent     int // neither received nor told
	Duplicated int
	Reordered  int // came after later ones, or after being told as lost
	Foreign    int // not addressed to it, or never acknowledged
	Unfounded  int // times that it was told lost what was kept
	Wronged    int // see the Kind of that name

	Reconnects int           // not its own will
	Outage     time.Duration // the longest time without an event, while it wanted some
	Findings   []string      // the first few of what must be 0
}

// Bad reports whether something must not be.
func (v *Verdict) Bad() bool {
	return v.Silent+v.Duplicated+v.Reordered+v.Foreign+v.Unfounded+v.Wronged > 0
}

// Add adds another's.
func (v *Verdict) Add(o *Verdict) {
	v.Live += o.Live
	v.Recovered += o.Recovered
	v.Lost += o.Lost
	v.Forgotten += o.Forgotten
	v.Silent += o.Silent
	v.Duplicated += o.Duplicated
	v.Reordered += o.Reordered
	v.Foreign += o.Foreign
	v.Unfounded += o.Unfounded
	v.Wronged += o.Wronged
	v.Reconnects += o.Reconnects
	v.Outage = max(v.Outage, o.Outage)
	v.Findings = append(v.Findings, o.Findings...)
}

// fate is what has become of one event.
type fate uint8

const (
	pending fate = iota
	received
	skipped // a later one came
	told    // as lost
)

// judge goes through one story.
type judge struct {
	log     *Log
	story   *Story
	verdict Verdict

	fates []fate
	begun bool
	next  int // the first event that is pending
	anew  int // where it began anew
	gap   int // events that were told as dropped and have not been missed yet
	clock time.Time
}

// Judge says what became of the events of a log that a subscriber was to get. Those
// that it has not got at the end of its story are lost.
func Judge(log *Log, story *Story) Verdict {
	j := &judge{log: log, story: story, fates: make([]fate, len(log.Events))}
	moments := story.Moments()
	for i := range moments {
		j.moment(&moments[i])
	}
	if !j.begun {
		j.find(&j.verdict.Wronged, "never connected")
	}
	j.pass(len(log.Events), skipped)
	for i, f := range j.fates {
		if f == skipped {
			e := &log.Events[i]
			j.find(&j.verdict.Silent, "%s at %s was lost silently", e.Key, e.Position)
		}
	}
	return j.verdict
}

func (j *judge) moment(m *Moment) {
	v := &j.verdict
	switch m.Kind {
	case Began:
		j.begun = true
		j.next = j.log.behind(m.Position)
		j.clock = m.At
		return
	case Received:
		j.received(m)
		if !j.clock.IsZero() {
			v.Outage = max(v.Outage, m.At.Sub(j.clock))
		}
		j.clock = m.At
		return
	case Left:
		j.clock = time.Time{}
		return
	case Joined:
		j.joined(m.Position)
		return
	case Gap:
		j.gap += m.Dropped
		return
	case Wronged:
		j.find(&v.Wronged, "%s", m.Note)
		return
	}
	if j.clock.IsZero() { // it had left
		j.clock = m.At
	} else {
		v.Reconnects++
	}
	switch m.Kind {
	case Lost:
		if oldest, err := wire.ParsePosition(m.Oldest); err == nil && oldest.Epoch == m.Since.Epoch && m.Since.Seq >= oldest.Seq {
			j.find(&v.Unfounded, "was told that what follows %s is lost, and that it could have gone on from %s", m.Since, m.Oldest)
		}
		v.Lost += j.pass(j.log.behind(m.Position), told)
		j.anew = j.next
	case Forgotten:
		v.Forgotten += j.pass(j.log.behind(m.Position), told)
		j.anew = j.next
	}
}

// received takes an event that came.
func (j *judge) received(m *Moment) {
	v := &j.verdict
	i, known := j.log.index[m.Key]
	switch {
	case !known:
		j.find(&v.Foreign, "%s at %s came, and no publisher knows that it is stored", m.Key, m.Position)
		return
	case !j.log.Events[i].For(j.story.Room):
		j.find(&v.Foreign, "%s is for %q", m.Key, j.log.Events[i].Room)
		return
	case j.fates[i] == received:
		j.find(&v.Duplicated, "%s came again, at %s", m.Key, m.Position)
		return
	case j.log.Events[i].Position != m.Position:
		j.find(&v.Wronged, "%s came at %s and is stored at %s", m.Key, m.Position, j.log.Events[i].Position)
	}
	if i < j.next {
		j.find(&v.Reordered, "%s at %s came late", m.Key, m.Position)
		j.fates[i] = received
		return
	}
	j.pass(i, skipped)
	j.fates[i], j.next = received, i+1
	if m.Replayed {
		v.Recovered++
	} else {
		v.Live++
	}
}

// joined takes it that events for rooms are not for one that is in none.
func (j *judge) joined(at wire.Position) {
	for i := j.anew; i < j.log.behind(at); i++ {
		e := &j.log.Events[i]
		if e.Room == j.story.Room && (j.fates[i] == pending || j.fates[i] == skipped) {
			j.fates[i] = told
			j.verdict.Forgotten++
		}
	}
}

// pass goes on to an event, and returns how many it passes that were to come. As
// far as a gap was told, they have been told.
func (j *judge) pass(to int, as fate) (n int) {
	for ; j.next < to; j.next++ {
		if !j.log.Events[j.next].For(j.story.Room) || j.fates[j.next] == told {
			continue
		}
		n++
		j.fates[j.next] = as
		if as == skipped && j.gap > 0 {
			j.gap--
			j.verdict.Lost++
			j.fates[j.next] = told
		}
	}
	return n
}

// find counts something that must not be.
func (j *judge) find(counter *int, format string, args ...any) {
	*counter++
	if len(j.verdict.Findings) < maxFindings {
		j.verdict.Findings = append(j.verdict.Findings, j.story.Name+": "+fmt.Sprintf(format, args...))
	}
}
