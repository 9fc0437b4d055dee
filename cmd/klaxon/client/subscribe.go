// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// goodbye is how long the closing handshake may take.
const goodbye = time.Second

// Subscriber listens to one channel.
type Subscriber struct {
	// URL of the channel for clients: ws://HOST/ws/CHANNEL. http and https are
	// taken for ws and wss.
	URL string
	// Token of the user; empty on a channel for everyone.
	Token string
	// Rooms to join.
	Rooms []string
	// Events is how many events to wait for. 0: no end.
	Events int
}

// Closed means that the server ended the connection.
type Closed struct {
	Code   int
	Reason string
}

// Error says the close code and its reason.
func (c *Closed) Error() string {
	return strings.TrimSpace(fmt.Sprintf("closed with %d %s", c.Code, c.Reason))
}

// Subscribe writes each message to out as a line, until there were enough
// events (no error), the context is done (its error) or the server closes
// (*Closed). It returns the number of events.
func (s Subscriber) Subscribe(ctx context.Context, out io.Writer) (int, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	// A deadline in the past wakes whoever reads when the context is done.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	events := 0
	for s.Events == 0 || events < s.Events {
		messages, err := wsutil.ReadServerMessage(conn, nil)
		for _, m := range messages {
			isEvent, err := s.handle(conn, out, m)
			if err != nil {
				return events, err
			}
			if isEvent {
				events++
			}
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			conn.close()
			return events, ctx.Err()
		default:
			return events, fmt.Errorf("the connection broke: %w", err)
		}
	}
	stop()
	conn.close()
	return events, nil
}

// handle writes a message, answers a ping, or ends with the server's close. It
// reports whether the message is an event.
func (s Subscriber) handle(conn *connection, out io.Writer, m wsutil.Message) (bool, error) {
	switch m.OpCode {
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(m.Payload)
		if code == 0 {
			code = ws.StatusNoStatusRcvd
		}
		_ = wsutil.WriteClientMessage(conn, ws.OpClose, m.Payload[:len(m.Payload)-len(reason)]) // the code alone, if any
		return false, &Closed{int(code), reason}
	case ws.OpPing, ws.OpPong:
		return false, wsutil.HandleServerControlMessage(conn, m)
	}
	line := m.Payload
	if m.OpCode == ws.OpBinary {
		line = base64.StdEncoding.AppendEncode(nil, m.Payload)
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return false, err
	}
	var head struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(m.Payload, &head) == nil && head.Type == "event", nil
}

// connection reads what came with the handshake before the rest.
type connection struct {
	net.Conn
	early *bufio.Reader
}

func (c *connection) Read(p []byte) (int, error) {
	if c.early != nil {
		return c.early.Read(p)
	}
	return c.Conn.Read(p)
}

// close does the closing handshake, as far as the server does.
func (c *connection) close() {
	_ = c.SetDeadline(time.Now().Add(goodbye))
	body := ws.NewCloseFrameBody(ws.StatusNormalClosure, "")
	if wsutil.WriteClientMessage(c, ws.OpClose, body) == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}

// dial connects. When the server refuses, the error says why.
func (s Subscriber) dial(ctx context.Context) (*connection, error) {
	target, err := s.target()
	if err != nil {
		return nil, err
	}
	var refusal error
	d := ws.Dialer{
		Protocols: []string{plain.Subprotocol},
		OnStatusError: func(_ int, _ []byte, resp io.Reader) {
			if r, err := http.ReadResponse(bufio.NewReader(resp), nil); err == nil {
				refusal = problemOf(r)
			}
		},
	}
	if s.Token != "" {
		d.Header = ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + s.Token}}
	}
	conn, early, _, err := d.Dial(ctx, target)
	switch {
	case refusal != nil:
		return nil, refusal
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &connection{conn, early}, nil
}

// target is the URL with the rooms in it.
func (s Subscriber) target() (string, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return "", err
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("%q is no URL to listen to: use ws://HOST/ws/CHANNEL", s.URL)
	}
	query := u.Query()
	for _, room := range s.Rooms {
		query.Add("room", room)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}
