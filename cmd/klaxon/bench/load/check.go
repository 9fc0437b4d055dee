// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
)

// maxHoles is how many missing events of a connection are remembered, to know
// them when they come late.
const maxHoles = 1024

// message handles a text or binary message.
func (w *worker) message(c *conn, body []byte) {
	p := &w.job.Protocol
	switch {
	case p.Ping != "" && string(body) == p.Ping:
		w.send(c, opText, []byte(p.Pong))
		return
	case c.state == greeted && bytes.Contains(body, []byte(p.Ready)):
		w.setReady(c)
	}
	found := false
	now := int64(0)
	for {
		m, rest, ok := mark.Next(body)
		if !ok {
			break
		}
		if !found {
			now, found = mark.Now(), true
		}
		body = rest
		w.delivery(c, m, now)
	}
	if !found && p.Gap != "" {
		if _, number, ok := bytes.Cut(body, []byte(p.Gap)); ok {
			w.gap(c, number)
		}
	}
}

// delivery counts an event and compares it with those before it.
func (w *worker) delivery(c *conn, m mark.Mark, now int64) {
	r := &w.received
	if c.slow {
		w.behind++
	} else {
		w.delivered++
		r.Delivered++
		r.Latency.Add(now - m.At)
	}
	switch {
	case m.Group != c.group:
		r.Foreign++
	case m.Seq <= c.last:
		w.again(c, m.Seq)
	default:
		w.skipped(c, c.last+1, m.Seq)
		c.last = m.Seq
	}
}

// again counts an event that comes after later ones: out of order when it was
// missing until now, otherwise once too often.
func (w *worker) again(c *conn, seq int) {
	i := slices.Index(c.holes, seq)
	if i < 0 {
		w.received.Duplicated++
		return
	}
	c.holes = slices.Delete(c.holes, i, i+1)
	w.received.Reordered++
	if w.received.Missing > 0 { // else it was counted before begin
		w.received.Missing--
	}
}

// gap notes that the server says that it has dropped events.
func (w *worker) gap(c *conn, text []byte) {
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(string(text[:digits]))
	if err != nil {
		return // so what is missing will be counted as missing without a word
	}
	w.received.Gaps++
	c.gap += n
}

// skipped counts the events from one to before another as dropped, as far as a
// gap told so, and as missing.
func (w *worker) skipped(c *conn, from, to int) {
	told := min(to-from, c.gap)
	c.gap -= told
	from += told
	w.received.Dropped += uint64(told)      //nolint:gosec // never negative
	w.received.Missing += uint64(to - from) //nolint:gosec // never negative
	for ; from < to && len(c.holes) < maxHoles; from++ {
		c.holes = append(c.holes, from)
	}
}

// begin counts from zero. That share of the connections stops reading.
func (w *worker) begin(slow float64) *Members {
	w.received = Received{}
	m := &Members{Reading: make([]int, w.job.Groups())}
	for i := range w.conns {
		c := &w.conns[i]
		c.slow = false
		if c.state != ready {
			continue
		}
		// Evenly: each time that the share of all numbers so far passes a whole one.
		if int(float64(c.number+1)*slow) > int(float64(c.number)*slow) {
			c.slow, c.muted = true, true
			// Its receive buffer stays as it is: what the server was promised and finds no
			// room is lost, and sent again only after seconds.
			_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, c.fd, nil)
			continue
		}
		m.Reading[c.group]++
	}
	return m
}

// resume lets those read again that have stopped.
func (w *worker) resume() {
	for i := range w.conns {
		c := &w.conns[i]
		if !c.muted || c.fd < 0 {
			continue
		}
		c.muted = false
		if err := w.watch(c.fd, i, unix.EPOLLIN|unix.EPOLLRDHUP|edge); err != nil {
			w.drop(c, "epoll: "+err.Error())
		}
	}
}

// settle counts as skipped what open connections have not received of what was
// sent to their groups.
func (w *worker) settle(sent []int) {
	for i := range w.conns {
		c := &w.conns[i]
		if c.state == ready && c.last < sent[c.group] {
			w.skipped(c, c.last+1, sent[c.group]+1)
			c.last = sent[c.group]
		}
	}
}
