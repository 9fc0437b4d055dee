// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const enginePath = "/socket.io/?EIO=4&transport="

// webSocket is Engine.IO over WebSocket.
type webSocket struct{ *conn }

func engineSocket(ctx context.Context, addr string) (engine, func(), error) {
	c, end, err := dial(ctx, "ws://"+addr+enginePath+"websocket", handshakeTimeout)
	if err != nil {
		return nil, nil, err
	}
	e := webSocket{c}
	packet, err := e.receive()
	if err == nil {
		var o opening
		o, err = readOpening(packet)
		c.silence = o.silence()
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return e, end, nil
}

func (e webSocket) receive() (string, error) {
	text, err := e.read()
	return string(text), err
}

func (e webSocket) send(packet string) error { return e.write([]byte(packet)) }

// polling is Engine.IO over long-polling. Each request has a connection of its own,
// which goes wherever it goes.
type polling struct {
	ctx     context.Context //nolint:containedctx // of its requests
	client  *http.Client
	url     string
	silence time.Duration
	heard   time.Time // when the last ping came
	packets []string  // received and not yet taken
}

// separator is between the packets of a payload.
const separator = "\x1e"

func poll(ctx context.Context, addr string) (engine, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &polling{ctx: ctx, client: &http.Client{Transport: transport()}, url: "http://" + addr + enginePath + "polling", silence: handshakeTimeout, heard: time.Now()}
	packet, err := p.receive()
	if err == nil {
		var o opening
		o, err = readOpening(packet)
		p.url += "&sid=" + o.SID
		p.silence = o.silence()
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return p, cancel, nil
}

func (p *polling) receive() (string, error) {
	for len(p.packets) == 0 {
		payload, err := p.request(http.MethodGet, "", time.Until(p.heard.Add(p.silence)))
		if err != nil {
			return "", err
		}
		if payload == "" {
			return "", fmt.Errorf("a poll was answered with nothing")
		}
		p.packets = strings.Split(payload, separator)
	}
	packet := p.packets[0]
	p.packets = p.packets[1:]
	if packet == "2" || packet[:1] == "0" {
		p.heard = time.Now()
	}
	return packet, nil
}

func (p *polling) send(packet string) error {
	_, err := p.request(http.MethodPost, packet, handshakeTimeout)
	return err
}

// request sends one, and returns the body of a good answer.
func (p *polling) request(method, body string, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s was answered %d %s", method, resp.StatusCode, b)
	}
	return string(b), nil
}
