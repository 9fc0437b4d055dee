// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// streamBuffer is how much is read at once, and so how much waits in memory.
	streamBuffer = 64 << 10
	// batchLines is the largest number of lines that are stored together.
	batchLines = 256
	// streamSilence is how long a publisher may send nothing. A blank line is
	// enough to keep a stream.
	streamSilence = 10 * time.Minute
	// streamWrite is how long a publisher may leave answers unread.
	streamWrite = time.Minute
	// recheck is how often a long stream's token is looked at again.
	recheck = time.Minute
)

var (
	errSilence = newProblem(http.StatusRequestTimeout, codeTimeout, "nothing came for too long: send a blank line now and then to keep a stream")
	errLine    = newProblem(http.StatusRequestEntityTooLarge, codeEventTooLarge, "the line is longer than one event of this channel may need")
)

// stream stores events that come one a line, and answers each with a line, in
// order: a receipt, or a problem with the number of its line. Blank lines are
// passed over. A bad line is not stored, and the stream goes on: lines have
// nothing to do with each other. Only what concerns all of them ends it, after
// a last problem: the token or the channel is not good any more, events cannot
// be stored, or the publisher was silent for too long.
//
// Lines that have arrived are stored together. While answers are not read
// nothing more is read, so a publisher must read while it writes.
type stream struct {
	h   *Handler
	req *request
	w   http.ResponseWriter
	r   *http.Request
	ctl *http.ResponseController

	in      *bufio.Reader
	ended   bool // the publisher has said all
	line    int  // the number of the last line
	checked time.Time

	buf     *buffers
	events  []*wire.Event
	answers []answer // in the order of lines
}

// answer is a problem, or stands for the next receipt.
type answer struct {
	line    int
	problem *problem
}

func (h *Handler) stream(w http.ResponseWriter, r *http.Request, req *request) {
	s := &stream{
		h: h, req: req, w: w, r: r, ctl: http.NewResponseController(w),
		in: bufio.NewReaderSize(r.Body, streamBuffer), checked: h.clock(), buf: pool.Get().(*buffers),
	}
	defer s.buf.release()
	// Where it is not supported, as in HTTP/2, reading while writing just works.
	_ = s.ctl.EnableFullDuplex()
	w.Header()["Content-Type"] = typeNDJSON
	for s.batch() {
	}
	if !s.ended {
		// Nothing more is read, by net/http neither: what the publisher goes on to
		// send, it would take for another read of ours and panic.
		_ = s.ctl.SetReadDeadline(time.Unix(1, 0))
	}
	s.extend() // for the end of the answer, which may come long after its last line
}

// extend gives the publisher time to read what is written next.
func (s *stream) extend() { _ = s.ctl.SetWriteDeadline(time.Now().Add(streamWrite)) }

// batch handles the next line and those that came with it. It reports whether
// the stream goes on.
func (s *stream) batch() bool {
	s.events, s.answers, s.buf.answer = s.events[:0], s.answers[:0], s.buf.answer[:0]
	_ = s.ctl.SetReadDeadline(time.Now().Add(s.h.silence))
	_, _ = s.in.Peek(1) // waits; an error comes again
	if p := s.stillGood(); p != nil {
		s.write(p.onLine(s.line + 1))
		return false
	}
	err := s.next()
	for err == nil && len(s.answers) < batchLines && s.buffered() {
		err = s.next()
	}
	s.ended = errors.Is(err, io.EOF)
	if !s.store() {
		return false
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.write(errSilence)
	case err != nil && !errors.Is(err, io.EOF):
		s.write(errTruncated)
	}
	return err == nil
}

// buffered reports whether another whole line has arrived.
func (s *stream) buffered() bool {
	b, _ := s.in.Peek(s.in.Buffered())
	return bytes.IndexByte(b, '\n') >= 0
}

// next reads one line and decodes it.
func (s *stream) next() error {
	line, long, err := s.readLine()
	if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
		return err // a line that is cut off is not an event
	}
	s.line++
	switch {
	case long:
		s.answers = append(s.answers, answer{s.line, errLine})
	case len(bytes.TrimSpace(line)) > 0:
		ev, p := s.decode(line)
		if p == nil {
			p = s.req.permit(ev)
		}
		if p == nil {
			s.events = append(s.events, ev)
		}
		s.answers = append(s.answers, answer{s.line, p})
	}
	return err
}

// readLine returns the next line; it is good until the next call. Of a line
// that is longer than an event may be, no more than that is kept.
func (s *stream) readLine() (line []byte, long bool, err error) {
	line, err = s.in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, false, err
	}
	limit := maxEventBytes(s.req.settings.Limits)
	body := &s.buf.body
	body.Reset()
	for {
		if body.Len() <= limit {
			body.Write(line)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return body.Bytes(), body.Len() > limit, err
		}
		line, err = s.in.ReadSlice('\n')
	}
}

func (s *stream) decode(line []byte) (*wire.Event, *problem) {
	s.buf.compact.Reset()
	if p := compact(&s.buf.compact, line); p != nil {
		return nil, p
	}
	return decodeEvent(s.buf.compact.Bytes(), s.req.settings)
}

// stillGood looks at the current settings, and now and then at the token.
func (s *stream) stillGood() *problem {
	if now := s.h.clock(); now.Sub(s.checked) >= recheck {
		s.checked = now
		return s.h.authorize(s.r, s.req)
	}
	ch := s.h.Rules().Channel(s.req.channel)
	if ch == nil {
		return errUnknownChannel
	}
	s.req.settings = ch
	return nil
}

// store stores the batch and writes its answers. It reports whether the stream
// goes on.
func (s *stream) store() bool {
	if len(s.answers) == 0 {
		return true
	}
	var receipts []wire.Receipt
	var failure *problem
	if len(s.events) > 0 && !s.pace() {
		return false
	}
	if len(s.events) > 0 {
		trace(s.events, s.r, s.req.settings)
		var err error
		if receipts, err = s.h.Publisher.Publish(s.r.Context(), s.req.channel, s.events); err != nil {
			failure = publishProblem(s.r.Context(), err)
		}
	}
	n := 0
	for _, a := range s.answers {
		switch {
		case a.problem != nil:
			s.buf.answer = append(s.buf.answer, a.problem.onLine(a.line).json()...)
		case failure != nil:
			s.buf.answer = append(s.buf.answer, failure.onLine(a.line).json()...)
		default:
			s.buf.answer = append(appendReceipt(s.buf.answer, &receipts[n]), '\n')
			n++
		}
	}
	return s.flush() && failure == nil
}

// pace waits until the publisher's rate has room for what has come: a stream is slowed
// down, not refused. It reports false when the publisher has gone.
func (s *stream) pace() bool {
	for {
		wait := s.h.rates.take(s.req, len(s.events), s.h.clock())
		if wait == 0 {
			return true
		}
		select {
		case <-s.r.Context().Done():
			return false
		case <-time.After(wait):
		}
	}
}

// write answers a last line.
func (s *stream) write(p *problem) {
	s.buf.answer = append(s.buf.answer[:0], p.json()...)
	s.flush()
}

func (s *stream) flush() bool {
	s.extend()
	if _, err := s.w.Write(s.buf.answer); err != nil {
		return false
	}
	return s.ctl.Flush() == nil
}
