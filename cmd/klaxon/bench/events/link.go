// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/template"
)

const (
	// owed is how many answers may be waited for on a link.
	owed = 1 << 16
	// patience is how long the last answers may take.
	patience = 10 * time.Second
)

// link is one connection. One goroutine publishes on it.
type link struct {
	p    *Publisher
	conn net.Conn
	in   *bufio.Reader
	data []byte
	body []byte
	out  []byte

	// With answers that are not waited for, another goroutine reads them.
	sent   chan int64    // when their events were sent
	done   chan struct{} // closed when it has ended
	broken atomic.Pointer[error]
}

// dial connects the i-th link.
func (p *Publisher) dial(i int) (*link, error) {
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		return nil, err
	}
	l := &link{p: p, conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}
	if p.config.Mode == Request {
		return l, nil
	}
	l.sent, l.done = make(chan int64, owed), make(chan struct{})
	next := l.response
	if p.config.Mode == Stream {
		next = l.line()
		head := l.head(nil, &template.Values{Channel: i})
		head = append(head, "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"...)
		if _, err := conn.Write(head); err != nil {
			conn.Close()
			return nil, err
		}
	}
	go l.collect(next)
	return l, nil
}

// head appends a request's head, but for what says how long its body is.
func (l *link) head(b []byte, v *template.Values) []byte {
	b = append(b, "POST "...)
	b = l.p.path.Append(b, v)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, l.p.host...)
	b = append(b, "\r\n"...)
	for _, h := range l.p.headers {
		b = append(h.Append(b, v), "\r\n"...)
	}
	return b
}

func (l *link) publish(m mark.Mark, v *template.Values) error {
	l.data = m.Append(l.data[:0], l.p.config.Size)
	v.Data = l.data
	l.body = l.p.body.Append(l.body[:0], v)
	if l.p.config.Mode == Stream {
		l.body = append(l.body, '\n')
		l.out = strconv.AppendInt(l.out[:0], int64(len(l.body)), 16)
		l.out = append(append(l.out, "\r\n"...), l.body...)
		l.out = append(l.out, "\r\n"...)
	} else {
		l.out = append(l.head(l.out[:0], v), "Content-Type: application/json\r\nContent-Length: "...)
		l.out = strconv.AppendInt(l.out, int64(len(l.body)), 10)
		l.out = append(append(l.out, "\r\n\r\n"...), l.body...)
	}
	now := mark.Now()
	if l.sent != nil {
		if err := l.broken.Load(); err != nil {
			return *err
		}
		l.sent <- now
	}
	if _, err := l.conn.Write(l.out); err != nil {
		return err
	}
	if l.sent != nil {
		return nil
	}
	refusal, err := l.response()
	if err == nil {
		l.p.answer(mark.Now()-now, refusal)
	}
	return err
}

// collect reads the answers of all that is sent.
func (l *link) collect(next func() (string, error)) {
	defer close(l.done)
	var broken error
	for at := range l.sent {
		if broken != nil {
			continue // so that publish does not wait for room
		}
		refusal, err := next()
		if err != nil {
			broken = err
			l.broken.Store(&broken)
			continue
		}
		l.p.answer(mark.Now()-at, refusal)
	}
}

// close waits for the answers that are owed.
func (l *link) close() error {
	defer l.conn.Close()
	if l.sent == nil {
		return nil
	}
	_ = l.conn.SetDeadline(time.Now().Add(patience))
	close(l.sent)
	<-l.done
	if err := l.broken.Load(); err != nil {
		return fmt.Errorf("read answers to publishing: %w", *err)
	}
	if l.p.config.Mode == Stream {
		if _, err := io.WriteString(l.conn, "0\r\n\r\n"); err != nil {
			return fmt.Errorf("end a stream: %w", err)
		}
	}
	return nil
}

// response reads an answer and returns why the event was refused, if it was.
func (l *link) response() (refusal string, err error) {
	status, length, err := l.responseHead()
	if err != nil {
		return "", err
	}
	if length < 0 {
		return "", errors.New("an answer has no Content-Length")
	}
	if strings.HasPrefix(status, "2") {
		_, err = l.in.Discard(length)
		return "", err
	}
	body := make([]byte, length)
	_, err = io.ReadFull(l.in, body)
	return reason(status, body), err
}

// responseHead reads an answer's head: status with text, and length of the body,
// which is -1 when it is not said.
func (l *link) responseHead() (status string, length int, err error) {
	line, err := l.in.ReadSlice('\n')
	if err != nil {
		return "", 0, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || len(line) < len("HTTP/1.1 200") {
		return "", 0, fmt.Errorf("%q is no HTTP/1.1 answer", line)
	}
	status = "2"
	if line[9] != '2' {
		status = string(bytes.TrimSpace(line[9:]))
	}
	length = -1
	for {
		if line, err = l.in.ReadSlice('\n'); err != nil {
			return "", 0, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		switch {
		case len(name) == 0:
			return status, length, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length < 0 {
				return "", 0, fmt.Errorf("the Content-Length %q of an answer is no length", value)
			}
		}
	}
}

// line returns a function that reads the next line of a stream's answer, as
// response does for an answer.
func (l *link) line() func() (string, error) {
	var lines *bufio.Reader
	return func() (string, error) {
		if lines == nil {
			status, length, err := l.responseHead()
			switch {
			case err != nil:
				return "", err
			case status != "2":
				body := make([]byte, max(length, 0))
				_, _ = io.ReadFull(l.in, body) // the status says enough
				return "", fmt.Errorf("the stream was refused: %s", reason(status, body))
			case length >= 0:
				return "", errors.New("the answer to a stream is no stream")
			}
			lines = bufio.NewReader(httputil.NewChunkedReader(l.in))
		}
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if bytes.Contains(line, []byte(`"status":`)) {
			return reason("", line), nil
		}
		return "", nil
	}
}

// reason is why something was refused: what a problem says, or the status.
func reason(status string, body []byte) string {
	var problem struct {
		Status int
		Detail string
	}
	if json.Unmarshal(body, &problem) != nil || problem.Detail == "" {
		return status
	}
	return fmt.Sprintf("%d %s", problem.Status, problem.Detail)
}
