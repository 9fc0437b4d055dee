// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package mark

import (
	"bytes"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Size is the length of a mark in bytes, and so the least that data has.
const Size = groupEnd + 1 + seqDigits + 1 + atDigits + 1

const (
	groupDigits, seqDigits, atDigits = 6, 10, 19

	groupEnd = 2 + groupDigits
	seqEnd   = groupEnd + 1 + seqDigits
	atEnd    = seqEnd + 1 + atDigits

	// MaxGroups is how many groups there can be.
	MaxGroups = 1e6
)

var prefix = []byte("~g")

var filling = strings.Repeat("x", 1<<10)

// Mark is what a mark says.
type Mark struct {
	// Group is the group that the event is for, from 0.
	Group int
	// Seq is the event's number within its group, from 1.
	Seq int
	// At is when the event was due, in the time of Now.
	At int64
}

// Append appends a mark and as much filling as makes size bytes of it.
func (m Mark) Append(b []byte, size int) []byte {
	b = append(b, prefix...)
	b = digits(b, int64(m.Group), groupDigits)
	b = append(b, 's')
	b = digits(b, int64(m.Seq), seqDigits)
	b = append(b, 't')
	b = digits(b, m.At, atDigits)
	b = append(b, '~')
	for n := size - Size; n > 0; n -= len(filling) {
		b = append(b, filling[:min(n, len(filling))]...)
	}
	return b
}

// Next finds the first mark in p and returns what follows it.
func Next(p []byte) (m Mark, rest []byte, ok bool) {
	for {
		i := bytes.Index(p, prefix)
		if i < 0 || len(p)-i < Size {
			return Mark{}, nil, false
		}
		t := p[i : i+Size]
		if t[groupEnd] != 's' || t[seqEnd] != 't' || t[atEnd] != '~' {
			p = p[i+len(prefix):]
			continue
		}
		return Mark{int(number(t[2:groupEnd])), int(number(t[groupEnd+1 : seqEnd])), number(t[seqEnd+1 : atEnd])}, p[i+Size:], true
	}
}

func digits(b []byte, v int64, n int) []byte {
	for range n {
		b = append(b, '0')
	}
	for i := len(b) - 1; v > 0; i-- {
		b[i] += byte(v % 10)
		v /= 10
	}
	return b
}

func number(p []byte) int64 {
	var v int64
	for _, c := range p {
		v = v*10 + int64(c-'0')
	}
	return v
}

var started, startedAt = origin()

// origin reads Go's clock and the kernel's at the same moment, as nearly as a
// few tries get.
func origin() (time.Time, int64) {
	var best time.Time
	var at int64
	shortest := time.Hour
	for range 10 {
		var ts unix.Timespec
		before := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			panic("mark: no monotonic clock: " + err.Error())
		}
		if took := time.Since(before); took < shortest {
			best, at, shortest = before, ts.Nano(), took
		}
	}
	return best, at
}

// Now is the time in marks: the nanoseconds of CLOCK_MONOTONIC, the same in all
// processes of a machine.
func Now() int64 { return startedAt + int64(time.Since(started)) }
