// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Event is an event as publishers write it.
type Event struct {
	Event    string          `json:"event,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	Rooms    []string        `json:"rooms,omitempty"`
	Users    []string        `json:"users,omitempty"`
	Sessions []string        `json:"sessions,omitempty"`
	ID       string          `json:"id,omitempty"`
}

// Publisher publishes to one channel.
type Publisher struct {
	// URL of the channel's events: http://HOST/v1/channels/CHANNEL/events.
	URL string
	// Token of the publisher; empty where none is asked for.
	Token string
}

// Problem is a problem that the server answered with (RFC 9457).
type Problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Line   int    `json:"line"`
}

// Error says it in one line.
func (p *Problem) Error() string {
	text := fmt.Sprintf("refused with %d: %s", p.Status, p.Detail)
	if p.Code != "" {
		text += " (" + p.Code + ")"
	}
	if p.Line > 0 {
		text = fmt.Sprintf("line %d: %s", p.Line, text)
	}
	return text
}

// Publish sends one event and writes the answer to out as a line.
func (p Publisher) Publish(ctx context.Context, ev Event, out io.Writer) error {
	body, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("data is not JSON (a string needs its quotes: --data '\"hello\"'): %w", err)
	}
	resp, err := p.post(ctx, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// Stream sends events as they are read from in, one JSON object a line, and
// writes each answer to out as soon as it comes. Refused lines do not stop it;
// the error then is the last one's, and says how many there were.
func (p Publisher) Stream(ctx context.Context, in io.Reader, out io.Writer) error {
	resp, err := p.post(ctx, "application/x-ndjson", in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answers := bufio.NewReader(resp.Body)
	var last *Problem
	refused := 0
	for {
		line, err := answers.ReadBytes('\n')
		if len(line) > 0 {
			if _, err := out.Write(line); err != nil {
				return err
			}
			var problem Problem
			if json.Unmarshal(line, &problem) == nil && problem.Status != 0 {
				last = &problem
				refused++
			}
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("read the answers: %w", err)
		case last != nil:
			return fmt.Errorf("%d refused, the last: %w", refused, last)
		default:
			return nil
		}
	}
}

// post sends a body and returns an answer that is no problem.
func (p Publisher) post(ctx context.Context, mediaType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	if p.Token != "" {
		req.Header.Set("Authorization", "Bearer "+p.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	return nil, problemOf(resp)
}

// problemOf reads what a refusal says, and closes it.
func problemOf(resp *http.Response) error {
	defer resp.Body.Close()
	problem := &Problem{}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(body, problem) != nil || problem.Detail == "" {
		problem.Detail = strings.TrimSpace(string(body[:min(len(body), 200)]))
	}
	if problem.Detail == "" {
		problem.Detail = http.StatusText(resp.StatusCode)
	}
	problem.Status = resp.StatusCode
	return problem
}
