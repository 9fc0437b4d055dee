// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// raw is a connection that says what it likes.
type raw struct {
	net.Conn
	r *bufio.Reader
}

func (a *arena) raw(addr string) (*raw, error) {
	c, err := a.connect(addr)
	if err != nil {
		return nil, err
	}
	return &raw{c, bufio.NewReader(c)}, c.SetDeadline(time.Now().Add(2 * patience))
}

// handshake is that of a WebSocket, to which lines can be added.
func handshake(path string, lines ...string) string {
	head := "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	for _, l := range lines {
		head += l + "\r\n"
	}
	return head + "\r\n"
}

const offersDeflate = "Sec-WebSocket-Extensions: permessage-deflate"

// upgrade opens a WebSocket.
func (a *arena) upgrade(path string, lines ...string) (*raw, error) {
	c, err := a.raw(a.clients)
	if err != nil {
		return nil, err
	}
	if err := c.send(handshake(path, lines...)); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the handshake is answered %s", resp.Status)
	}
	return c, nil
}

// join opens a plain WebSocket and reads its welcome.
func (a *arena) join(path string, lines ...string) (*raw, error) {
	c, err := a.upgrade(path, lines...)
	if err != nil {
		return nil, err
	}
	return c, c.expect("{\"type\":\"welcome\"")
}

func (c *raw) send(s string) error {
	_, err := io.WriteString(c, s)
	return err
}

// text reads the next text message.
func (c *raw) text() (string, error) {
	for {
		f, err := ws.ReadFrame(c.r)
		switch {
		case err != nil:
			return "", err
		case f.Header.OpCode == ws.OpText:
			return string(f.Payload), nil
		case f.Header.OpCode == ws.OpPing:
			if err := c.send(frame(0x8a, string(f.Payload))); err != nil {
				return "", err
			}
		case f.Header.OpCode == ws.OpClose:
			code, reason := ws.ParseCloseFrameData(f.Payload)
			return "", fmt.Errorf("closed with %d %s", code, reason)
		}
	}
}

// expect reads texts until one begins as it should. Ticks may come in between.
func (c *raw) expect(prefix string) error {
	_, err := c.await(prefix)
	return err
}

func (c *raw) await(prefix string) (string, error) {
	last := ""
	for {
		msg, err := c.text()
		switch {
		case err != nil:
			return "", fmt.Errorf("no %s, but %w; the last was %.200s", prefix, err, last)
		case strings.HasPrefix(msg, prefix):
			return msg, nil
		}
		if !strings.HasPrefix(msg, "{\"type\":\"event\"") && !strings.HasPrefix(msg, "42/ticks,") {
			last = msg
		}
	}
}

// closed reads until the close frame, and ends the connection.
func (c *raw) closed(want int) error {
	err := c.closing(want)
	_ = c.Close()
	return err
}

// ended reads until the server closes, within a time.
func (c *raw) ended(limit time.Duration) error {
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c.r); isTimeout(err) {
		return fmt.Errorf("still connected after %s", limit)
	}
	return nil
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// frame is one of a client's, masked with zeros.
func frame(op byte, payload string) string {
	return head(op, uint64(len(payload))) + payload
}

// text is a whole text message.
func text(payload string) string { return frame(0x81, payload) }

// head is a frame's header, whatever follows it.
func head(op byte, length uint64) string {
	b := []byte{op}
	switch {
	case length <= 125:
		b = append(b, 0x80|byte(length))
	case length <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), length)
	}
	return string(append(b, 0, 0, 0, 0))
}

// closing reads until the close frame, and leaves the closing handshake at that.
func (c *raw) closing(want int) error {
	for {
		f, err := ws.ReadFrame(c.r)
		if err != nil {
			return fmt.Errorf("the connection ended without a close frame, want %d: %w", want, err)
		}
		if f.Header.OpCode != ws.OpClose {
			continue
		}
		if code, reason := ws.ParseCloseFrameData(f.Payload); int(code) != want {
			return fmt.Errorf("closed with %d %s, want %d", code, reason, want)
		}
		return nil
	}
}
