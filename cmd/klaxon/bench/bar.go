// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// barWidth is how many characters the bar itself has.
const barWidth = 24

// Bar draws how far a run has come, on a terminal.
type Bar struct {
	out       io.Writer
	last      Progress
	lastAt    time.Time
	perSecond float64
	drawn     bool
}

// NewBar returns a Bar for a terminal, or nil: anything else has no use for one.
func NewBar(out *os.File) *Bar {
	if _, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return &Bar{out: out}
}

// Draw draws the progress over what was drawn before.
func (b *Bar) Draw(p Progress) {
	b.draw(p, time.Now())
}

func (b *Bar) draw(p Progress, now time.Time) {
	if p.Step != b.last.Step {
		b.perSecond = 0
	} else if d := now.Sub(b.lastAt).Seconds(); d > 0 {
		b.perSecond = float64(p.Live.Delivered-b.last.Live.Delivered) / d
	}
	b.last, b.lastAt, b.drawn = p, now, true
	full := int(p.Part * barWidth)
	bar := strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full)
	note := digits(float64(p.Live.Ready)) + " connected"
	if p.Live.Failed > 0 {
		note += ", " + digits(float64(p.Live.Failed)) + " failed"
	}
	if p.Live.Delivered > 0 {
		note += ", " + digits(float64(int64(b.perSecond))) + " deliveries/s"
	}
	fmt.Fprintf(b.out, "\r\x1b[K%-16s [%s] %3.0f %%  %s", p.Step, bar, p.Part*100, note)
}

// Clear removes what was drawn.
func (b *Bar) Clear() {
	if b.drawn {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.drawn = false
	}
}
