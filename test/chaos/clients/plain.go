// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/gobwas/ws"

	"github.com/klaxon-dev/klaxon/test/chaos/account"
	"github.com/klaxon-dev/klaxon/test/chaos/publish"
)

// maxFrame is more than any frame of this harness has.
const maxFrame = 1 << 20

var errSilent = errors.New("the server is silent")

// conn is a WebSocket. Pings are answered.
type conn struct {
	net.Conn
	r       io.Reader
	silence time.Duration
}

// dial opens a WebSocket, which ends with ctx.
func dial(ctx context.Context, url string, silence time.Duration) (*conn, func(), error) {
	d := ws.Dialer{Timeout: handshakeTimeout}
	c, br, _, err := d.Dial(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	r := io.Reader(c)
	if br != nil {
		r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), c)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	return &conn{c, r, silence}, func() { stop(); _ = c.Close() }, nil
}

// closed is how a server ended a WebSocket.
type closed struct {
	code   ws.StatusCode
	reason string
}

func (c closed) Error() string { return fmt.Sprintf("closed with %d %s", c.code, c.reason) }

// read returns the next text.
func (c *conn) read() ([]byte, error) {
	for {
		if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
			return nil, err
		}
		h, err := ws.ReadHeader(c.r)
		if err != nil {
			return nil, err
		}
		if h.Length > maxFrame || !h.Fin || h.Masked {
			return nil, fmt.Errorf("a frame that this server does not send: %+v", h)
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(c.r, payload); err != nil {
			return nil, err
		}
		switch h.OpCode {
		case ws.OpText:
			return payload, nil
		case ws.OpPing:
			if err := c.frame(ws.NewPongFrame(payload)); err != nil {
				return nil, err
			}
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			_ = c.frame(ws.NewCloseFrame(payload)) // the server waits for it, or not
			return nil, closed{code, reason}
		}
	}
}

func (c *conn) write(text []byte) error { return c.frame(ws.NewTextFrame(text)) }

func (c *conn) frame(f ws.Frame) error {
	_ = c.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	return ws.WriteFrame(c.Conn, ws.MaskFrame(f))
}

// plain is a client of docs/protocol.md.
type plain struct {
	*Client
	offset, resume string
}

// message is any message of the server's.
type message struct {
	Type      string
	Offset    string
	Resume    string
	Rooms     []string
	Recovered *bool
	Oldest    string
	After     int64
	Dropped   int
	Code      string
	Message   string
	Data      publish.Data
}

// query is how it connects.
func (p *plain) query() url.Values {
	q := url.Values{}
	if p.offset != "" {
		q.Set("since", p.offset)
	}
	if p.resume != "" {
		q.Set("resume", p.resume)
	}
	if p.config.Always || p.resume == "" {
		q.Set("room", p.config.Room)
	}
	return q
}

func (p *plain) live(ctx context.Context) error {
	c, end, err := dial(ctx, "ws://"+p.config.Addr+"/ws/"+p.config.Channel+"?"+p.query().Encode(), p.config.Silence)
	if err != nil {
		return err
	}
	defer end()
	c.silence = welcomeTimeout
	for first := true; ; first = false {
		text, err := c.read()
		if err != nil {
			p.ended(err)
			return err
		}
		var m message
		if err := json.Unmarshal(text, &m); err != nil || first != (m.Type == "welcome") {
			p.wronged("got %s (%v)", text, err)
			return errors.New("not the protocol")
		}
		if err := p.message(&m); err != nil {
			return err
		}
		c.silence = p.config.Silence
	}
}

func (p *plain) message(m *message) error {
	switch m.Type {
	case "welcome":
		if err := p.welcome(m); err != nil {
			return err
		}
	case "event":
		p.received(m.Offset, m.Data)
	case "gap":
		p.tell(account.Moment{Kind: account.Gap, Dropped: m.Dropped})
	case "reconnect":
		p.after = time.Duration(m.After) * time.Millisecond
	case "error":
		p.wronged("got the error %s: %s", m.Code, m.Message)
	}
	if m.Offset != "" {
		p.offset = m.Offset
	}
	if m.Resume != "" {
		p.resume = m.Resume
	}
	return nil
}

func (p *plain) welcome(m *message) error {
	at := p.place(m.Offset)
	switch {
	case !p.started:
		p.welcomed(account.Moment{Position: at})
	case m.Recovered == nil:
		p.wronged("a welcome does not say whether the client is recovered")
	case *m.Recovered:
		if m.Offset != p.offset {
			p.wronged("recovered at %s, was at %s", m.Offset, p.offset)
		}
		p.welcomed(account.Moment{Kind: account.Back, Position: at})
	default:
		p.welcomed(account.Moment{Kind: account.Lost, Position: at, Since: p.place(p.offset), Oldest: m.Oldest})
	}
	if !slices.Contains(m.Rooms, p.config.Room) {
		p.wronged("its room has not come back")
		p.resume = ""
		return errors.New("not in its room")
	}
	return nil
}

// ended notes when the server ends a session for good.
func (p *plain) ended(err error) {
	var c closed
	if errors.As(err, &c) && c.code != 1012 && c.code != 1013 && c.code != 4008 && c.code != 4009 {
		p.wronged("%v", c)
	}
}
