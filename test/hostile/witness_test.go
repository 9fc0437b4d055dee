// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// tick is the data of a witness's event.
type tick struct {
	N  int   // from 1
	At int64 // when it was due: nanoseconds since the crowd's start
}

// witness is a client that must get every tick once and in order.
type witness struct {
	name  string
	since time.Time

	mu    sync.Mutex
	took  []time.Duration // by N-1
	wrong []string
}

// saw takes a tick.
func (w *witness) saw(data []byte) {
	var t tick
	if err := json.Unmarshal(data, &t); err != nil {
		w.fault("an event of %s", data)
		return
	}
	took := time.Since(w.since) - time.Duration(t.At)
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.N != len(w.took)+1 {
		w.wrong = append(w.wrong, fmt.Sprintf("%s: got tick %d, not %d", w.name, t.N, len(w.took)+1))
		return
	}
	w.took = append(w.took, took)
}

func (w *witness) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, w.name+": "+fmt.Sprintf(format, args...))
}

// seen is how many ticks have come.
func (w *witness) seen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.took)
}

// listen is a client of one protocol. It says when it is connected, and returns when ctx
// is done, or with what is wrong.
type listen func(ctx context.Context, s *server, w *witness, connected func()) error

// webSocket is a connection as a good client has it.
type webSocket struct {
	io.Reader
	io.WriteCloser
}

func dialWebSocket(ctx context.Context, url string) (*webSocket, error) {
	conn, early, _, err := ws.Dialer{Timeout: patience}.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	c := &webSocket{conn, conn}
	if early != nil {
		c.Reader = io.MultiReader(io.LimitReader(early, int64(early.Buffered())), conn)
	}
	return c, nil
}

// text returns the next text, and answers pings.
func (c *webSocket) text() ([]byte, error) {
	for {
		f, err := ws.ReadFrame(c)
		if err != nil {
			return nil, err
		}
		switch f.Header.OpCode {
		case ws.OpText:
			return f.Payload, nil
		case ws.OpPing:
			if err := ws.WriteFrame(c, ws.MaskFrame(ws.NewPongFrame(f.Payload))); err != nil {
				return nil, err
			}
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(f.Payload)
			return nil, fmt.Errorf("closed with %d %s", code, reason)
		}
	}
}

func (c *webSocket) say(text string) error {
	return ws.WriteFrame(c, ws.MaskFrame(ws.NewTextFrame([]byte(text))))
}

func listenPlain(ctx context.Context, s *server, w *witness, connected func()) error {
	c, err := dialWebSocket(ctx, "ws://"+s.clients+"/ws/ticks")
	if err != nil {
		return err
	}
	for {
		msg, err := c.text()
		if err != nil {
			return err
		}
		var m struct {
			Type string
			Data json.RawMessage
		}
		switch err := json.Unmarshal(msg, &m); {
		case err == nil && m.Type == "welcome":
			connected()
		case err == nil && m.Type == "event":
			w.saw(m.Data)
		default:
			return fmt.Errorf("got %s", msg)
		}
	}
}

func listenEventStream(ctx context.Context, s *server, w *witness, connected func()) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.clients+"/sse/ticks", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	event := ""
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event" && value != "tick" && value != "klaxon.welcome":
			return fmt.Errorf("got an event %s", value)
		case field == "event":
			event = value
		case field == "data" && event == "tick":
			w.saw([]byte(value))
		case field == "data":
			connected()
		}
	}
	return errors.Join(errors.New("the stream ended"), lines.Err())
}

// packet takes one of Engine.IO, and returns what to answer.
func packet(p string, w *witness, connected func()) (answer string, err error) {
	data, event := strings.CutPrefix(p, "42/ticks,[\"tick\",")
	switch {
	case p == "2":
		return "3", nil
	case strings.HasPrefix(p, "0{"):
		return "40/ticks,", nil
	case strings.HasPrefix(p, "40/ticks,"):
		connected()
	case event:
		w.saw([]byte(strings.TrimSuffix(data, "]")))
	default:
		return "", fmt.Errorf("got %s", p)
	}
	return "", nil
}

func listenSocketIO(ctx context.Context, s *server, w *witness, connected func()) error {
	c, err := dialWebSocket(ctx, "ws://"+s.clients+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		return err
	}
	for {
		p, err := c.text()
		if err != nil {
			return err
		}
		answer, err := packet(string(p), w, connected)
		if err == nil && answer != "" {
			err = c.say(answer)
		}
		if err != nil {
			return err
		}
	}
}

func listenPolling(ctx context.Context, s *server, w *witness, connected func()) error {
	url := "http://" + s.clients + "/socket.io/?EIO=4&transport=polling"
	client := &http.Client{Transport: &http.Transport{}}
	ask := func(method, body string) (string, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s is answered %s: %s", method, resp.Status, b)
		}
		return string(b), err
	}
	for first := true; ; first = false {
		payload, err := ask(http.MethodGet, "")
		if err != nil {
			return err
		}
		if first {
			var opening struct{ SID string }
			if err := json.Unmarshal([]byte(payload[1:]), &opening); err != nil {
				return err
			}
			url += "&sid=" + opening.SID
		}
		for p := range strings.SplitSeq(payload, "\x1e") {
			answer, err := packet(p, w, connected)
			if err == nil && answer != "" {
				_, err = ask(http.MethodPost, answer)
			}
			if err != nil {
				return err
			}
		}
	}
}
