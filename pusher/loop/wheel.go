// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math/bits"
	"time"
)

// tick is the wheel's grain, and time in ticks since the loop's start.
type tick uint32

const (
	tickLength = 100 * time.Millisecond
	wheelSize  = 512 // 51.2 s; what is due later goes round again
	never      = ^tick(0)
	offWheel   = uint16(wheelSize)
)

func ticks(d time.Duration) tick {
	return tick(min((d+tickLength-1)/tickLength, time.Duration(never-1))) //nolint:gosec // bounded
}

// wheel keeps at most one deadline for each connection, in lists that are
// linked through the connections themselves. A deadline fires in the first
// advance at or after its tick, never before it.
type wheel struct {
	now   tick
	heads [wheelSize]Slot
	used  [wheelSize / 64]uint64
}

// schedule sets the connection's deadline, replacing an earlier one.
func (l *Loop) schedule(s Slot, c *conn, due tick) {
	if c.due == due && c.wheelPos != offWheel {
		return
	}
	l.unschedule(c)
	c.due = due
	if due == never {
		return
	}
	w := &l.wheel
	pos := uint16(max(due, w.now+1) % wheelSize)
	if due > w.now+wheelSize-1 {
		pos = uint16((w.now + wheelSize - 1) % wheelSize)
	}
	c.wheelPos, c.wheelPrev, c.wheelNext = pos, noSlot, w.heads[pos]
	if c.wheelNext != noSlot {
		l.at(c.wheelNext).wheelPrev = s
	}
	w.heads[pos] = s
	w.used[pos/64] |= 1 << (pos % 64)
}

func (l *Loop) unschedule(c *conn) {
	if c.wheelPos == offWheel {
		return
	}
	w := &l.wheel
	if c.wheelPrev != noSlot {
		l.at(c.wheelPrev).wheelNext = c.wheelNext
	} else {
		w.heads[c.wheelPos] = c.wheelNext
		if c.wheelNext == noSlot {
			w.used[c.wheelPos/64] &^= 1 << (c.wheelPos % 64)
		}
	}
	if c.wheelNext != noSlot {
		l.at(c.wheelNext).wheelPrev = c.wheelPrev
	}
	c.wheelPos = offWheel
}

// advance fires what is due at or before now.
func (l *Loop) advance(now tick) {
	w := &l.wheel
	for w.now < now {
		w.now++
		pos := w.now % wheelSize
		for s := w.heads[pos]; s != noSlot; s = w.heads[pos] {
			c := l.at(s)
			due := c.due
			l.unschedule(c)
			if due > w.now {
				l.schedule(s, c, due) // lands on another position: further ahead than this one
				continue
			}
			l.expire(s, c)
		}
	}
}

// idle is how many ticks the loop may sleep before the wheel needs it.
func (w *wheel) idle() tick {
	for d := tick(1); d < wheelSize; {
		pos := (w.now + d) % wheelSize
		if word := w.used[pos/64] >> (pos % 64); word != 0 {
			return d + tick(bits.TrailingZeros64(word)) //nolint:gosec // at most 63
		}
		d += 64 - pos%64
	}
	return wheelSize
}
