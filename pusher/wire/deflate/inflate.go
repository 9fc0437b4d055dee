// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"compress/flate"
	"errors"
	"io"
	"slices"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// tail is what is put behind a message: what its sender left out (RFC 7692
// section 7.2.2), and a last empty block, so that the reader knows the end.
const tail = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"

// Inflater reads compressed messages, each on its own. Its zero value is ready.
// It is not for concurrent use.
type Inflater struct {
	r   reader
	src source
	buf []byte
}

type reader interface {
	io.Reader
	flate.Resetter
}

// Inflate returns what the message msg holds, valid until the next call. It
// stops as soon as that is over limit bytes, with an *frames.Error that says
// wire.CloseTooBig. If msg is corrupt, the error says wire.CloseInvalidText.
//
// RFC 7692 names no code for corrupt data. 1007 is that of RFC 6455 section
// 7.4.1 for data which is not what its message's type says, and what other
// servers answer, npm's ws among them; 1002 would blame the framing.
func (i *Inflater) Inflate(msg []byte, limit int) ([]byte, error) {
	i.src = source{msg: msg, tail: tail}
	buf, err := i.inflate(i.buf[:0], max(0, limit))
	i.src = source{}
	i.buf = buf
	if cap(buf) > keep {
		i.buf = nil
	}
	if err != nil {
		return nil, err
	}
	return buf, nil
}

// inflate appends to buf and returns it, on errors too.
func (i *Inflater) inflate(buf []byte, limit int) ([]byte, error) {
	if err := i.restart(); err != nil {
		return buf, corrupt()
	}
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(512, len(buf)))
		}
		n, err := i.r.Read(buf[len(buf):min(cap(buf), limit+1)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			return buf, frames.TooBig(limit)
		case errors.Is(err, io.EOF) && i.src.done():
			return buf, nil
		case errors.Is(err, io.EOF): // a block that says it is the last one, and more behind it
			err = i.restart()
		}
		if err != nil {
			return buf, corrupt()
		}
	}
}

// restart begins a DEFLATE stream at what is left of the source.
func (i *Inflater) restart() error {
	if i.r != nil {
		return i.r.Reset(&i.src, nil)
	}
	r, ok := flate.NewReader(&i.src).(reader)
	if !ok {
		return errors.ErrUnsupported // flate documents that it is one
	}
	i.r = r
	return nil
}

func corrupt() error {
	return &frames.Error{Code: wire.CloseInvalidText, Reason: "compressed message is corrupt"}
}

// source is a message and the tail behind it. It is an io.ByteReader, so that
// flate puts no buffer of its own in between and reads not a byte too many.
type source struct {
	msg  []byte
	tail string
}

// done reports whether all of the message was read. A sender that ends a message
// with a final block sends one more byte, the header bits of the empty block
// whose rest is left out (RFC 7692 section 7.2.3.4); some forget it.
func (s *source) done() bool { return len(s.msg) == 0 }

// ReadByte implements io.ByteReader.
func (s *source) ReadByte() (byte, error) {
	if len(s.msg) > 0 {
		c := s.msg[0]
		s.msg = s.msg[1:]
		return c, nil
	}
	if s.tail == "" {
		return 0, io.EOF
	}
	c := s.tail[0]
	s.tail = s.tail[1:]
	return c, nil
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if len(s.msg) > 0 {
		n := copy(p, s.msg)
		s.msg = s.msg[n:]
		return n, nil
	}
	if s.tail == "" && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, s.tail)
	s.tail = s.tail[n:]
	return n, nil
}
