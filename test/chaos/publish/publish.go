// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package publish is the publishers of the reliability harness: each publishes
// numbered events, one after the other, to the replicas in turn, and publishes an event
// again under the same id until it is acknowledged.
package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/test/chaos/account"
)

const (
	// answerTimeout is how long a replica may take before another is asked.
	answerTimeout = 2 * time.Second
	// retryAfter is how long a publisher that was refused waits.
	retryAfter = 100 * time.Millisecond
	// patience is how long an event is published again. Ids are known for two minutes.
	patience = 100 * time.Second
)

// Data is what an event carries.
type Data struct {
	Publisher int   `json:"p"`
	Seq       int   `json:"n"`
	At        int64 `json:"t"` // when it was first published, in ns since 1970
}

// Config says what a publisher does.
type Config struct {
	Number  int
	Channel string
	Token   string
	// Replicas are the addresses of all replicas' events listeners.
	Replicas []string
	// Rooms that its events are for in turn; "" is the whole channel.
	Rooms []string
	// Every is the time from one publish to the next.
	Every time.Duration
	// Batch is how many events one publish has.
	Batch int
}

// Publisher is one of them.
type Publisher struct {
	// Static.
	config Config
	client *http.Client

	// Of its goroutine.
	seq     int
	replica int

	// Guarded by mu.
	mu      sync.Mutex
	acked   []account.Event
	retries int
	longest time.Duration
}

// New makes a publisher.
func New(c Config) *Publisher {
	return &Publisher{
		config: c, replica: c.Number,
		client: &http.Client{Timeout: answerTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 1}},
	}
}

// Acked is what is stored, in the order of acknowledgements.
func (p *Publisher) Acked() []account.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.acked)
}

// Waited is how often it had to publish again, and the longest wait for an
// acknowledgement.
func (p *Publisher) Waited() (retries int, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retries, p.longest
}

// Run publishes until stop is closed. What it has begun then it ends. An error says
// that an event was never acknowledged.
func (p *Publisher) Run(ctx context.Context, stop <-chan struct{}) error {
	defer p.client.CloseIdleConnections()
	tick := time.NewTicker(p.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := p.publish(ctx); err != nil {
			return err
		}
	}
}

// event is one in a request.
type event struct {
	Event string   `json:"event"`
	ID    string   `json:"id"`
	Rooms []string `json:"rooms,omitempty"`
	Data  Data     `json:"data"`
}

// publish publishes the next events until they are acknowledged.
func (p *Publisher) publish(ctx context.Context) error {
	began := time.Now()
	events := make([]event, max(1, p.config.Batch))
	stored := make([]account.Event, len(events))
	for i := range events {
		p.seq++
		room := p.config.Rooms[p.seq%len(p.config.Rooms)]
		stored[i] = account.Event{Key: account.Key{Publisher: p.config.Number, Seq: p.seq}, Room: room}
		events[i] = event{"n", stored[i].String(), nil, Data{p.config.Number, p.seq, began.UnixNano()}}
		if room != "" {
			events[i].Rooms = []string{room}
		}
	}
	body, err := json.Marshal(events)
	if err != nil {
		return err
	}
	if len(events) == 1 { // is no array, and neither is the answer
		body = body[1 : len(body)-1]
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var offsets []wire.Position
	for tries := 0; ; tries++ {
		if offsets, err = p.post(ctx, body); err == nil && len(offsets) != len(events) {
			err = fmt.Errorf("%d offsets for %d events", len(offsets), len(events))
		}
		if err == nil {
			p.note(stored, offsets, time.Since(began))
			return nil
		}
		p.mu.Lock()
		p.retries++
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return fmt.Errorf("publisher %d: event %s was not acknowledged, %d tries: %w", p.config.Number, stored[0].Key, tries, err)
		case <-time.After(retryAfter):
		}
	}
}

func (p *Publisher) note(stored []account.Event, offsets []wire.Position, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range stored {
		stored[i].Position = offsets[i]
	}
	p.acked = append(p.acked, stored...)
	p.longest = max(p.longest, took)
}

// post asks the next replica, and returns where the events are.
func (p *Publisher) post(ctx context.Context, body []byte) ([]wire.Position, error) {
	p.replica++
	addr := p.config.Replicas[p.replica%len(p.config.Replicas)]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/channels/"+p.config.Channel+"/events", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+p.config.Token)
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d %s", addr, resp.StatusCode, answer)
	}
	if body[0] == '{' {
		answer = fmt.Appendf(nil, `{"results":[%s]}`, answer)
	}
	var receipts struct{ Results []struct{ Offset string } }
	if err := json.Unmarshal(answer, &receipts); err != nil {
		return nil, fmt.Errorf("%s answers %s: %w", addr, answer, err)
	}
	var offsets []wire.Position
	for _, r := range receipts.Results {
		at, err := wire.ParsePosition(r.Offset)
		if err != nil {
			return nil, fmt.Errorf("%s answers %s: %w", addr, answer, err)
		}
		offsets = append(offsets, at)
	}
	return offsets, nil
}
