// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/settings/reach"
)

const (
	// maxAnswer bounds the body of a response, in bytes.
	maxAnswer = 2 << 20
	// dialTimeout bounds how long a connection may take to be made.
	dialTimeout = 3 * time.Second
	// firstPause is before the first repetition. It doubles.
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

// Reason says how a call went, for people and for metrics.
type Reason uint8

// The reasons.
const (
	Done        Reason = iota // it was answered
	Busy                      // too many calls are under way
	Resting                   // it has failed too often of late
	Timeout                   // no answer in time
	Unreachable               // no connection, or it broke
	Overloaded                // a status that says that it cannot now: 408, 429, 502, 503, 504
	Status5xx                 // another that says that something went wrong
	Status4xx                 // one that says that it will not
	Malformed                 // an answer that cannot be understood

	reasons = iota
)

// String is the reason as a metric shows it.
func (r Reason) String() string {
	return [reasons]string{"done", "busy", "resting", "timeout", "unreachable", "overloaded", "status_5xx", "status_4xx", "malformed_answer"}[r]
}

// away reports whether the target seems not to be there.
func (r Reason) away() bool { return r == Timeout || r == Unreachable || r == Overloaded }

// Again reports whether it may be worth while to try later.
func (r Reason) Again() bool { return r < Status5xx }

// Failure is why there is no answer.
type Failure struct {
	Reason Reason
	err    error
}

func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Reason, f.err) }

// Caller calls the handlers of all channels.
type Caller struct {
	// Static.
	log           *slog.Logger
	guarded, open http.Client     // see reach.Cluster
	ctx           context.Context //nolint:containedctx // of calls that nobody waits for
	end           context.CancelFunc

	// Shared.
	tasks   sync.WaitGroup
	telling atomic.Int64

	// Guarded by mu.
	mu     sync.Mutex
	states map[key]*state
}

// key tells what is called apart: with another concurrency it is another.
type key struct {
	channel, uid, url string
	concurrency       int64
}

// New returns a Caller.
func New(log *slog.Logger) *Caller {
	c := &Caller{log: log, states: map[key]*state{}}
	c.ctx, c.end = context.WithCancel(context.Background())
	dialer := &net.Dialer{Timeout: dialTimeout}
	c.open = newClient(dialer)
	watched := *dialer
	watched.Control = reach.Cluster
	c.guarded = newClient(&watched)
	return c
}

func newClient(d *net.Dialer) http.Client {
	return http.Client{
		Transport: &http.Transport{
			DialContext:         d.DialContext,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: dialTimeout,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 1024,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
		},
		// Who is redirected would be called by whom it does not expect.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Targets returns the targets of all channels' handlers, by channel and in their order;
// nil for those that are read as a stream. How one fares that was there before is not
// forgotten; what is not there any more is.
func (c *Caller) Targets(channels []settings.Channel) map[string][]*Target {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, states := map[string][]*Target{}, map[key]*state{}
	for i := range channels {
		ch := &channels[i]
		for _, h := range ch.Handlers {
			if h.URL == "" {
				all[ch.Name] = append(all[ch.Name], nil)
				continue
			}
			k := key{ch.Name, ch.UID, h.URL, h.Concurrency}
			if states[k] == nil {
				states[k] = c.states[k]
			}
			if states[k] == nil {
				states[k] = &state{places: make(chan struct{}, h.Concurrency)}
			}
			all[ch.Name] = append(all[ch.Name], &Target{Handler: h, Channel: ch.Name, maxEvent: ch.Limits.EventBytes, state: states[k]})
		}
	}
	c.states = states
	return all
}

// Close gives up calls that nobody waits for, and ends connections that nobody uses.
func (c *Caller) Close() {
	c.end()
	c.tasks.Wait()
	c.open.CloseIdleConnections()
	c.guarded.CloseIdleConnections()
}

// Do calls a target and returns its answer. It tries again, with the same id, while there
// is time and the target cannot have understood the call or says so. The error is always
// a *Failure.
func (c *Caller) Do(ctx context.Context, t *Target, call *Call) (*Answer, error) {
	body, err := call.Encode()
	if err != nil {
		return nil, &Failure{Malformed, err}
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout.Std())
	defer cancel()
	if r := t.enter(ctx); r != Done {
		t.note(r, time.Now())
		return nil, &Failure{r, errors.New("too many calls are under way")}
	}
	defer t.leave()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		if !t.permit(time.Now()) {
			t.results[Resting].Add(1)
			return nil, &Failure{Resting, errors.New("it has failed too often of late")}
		}
		answer, failure := c.once(ctx, t, call, body)
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, &Failure{Timeout, ctx.Err()} // this push server ends
		}
		c.note(t, failure)
		if failure == nil {
			return answer, nil
		}
		if failure.Reason != Unreachable && failure.Reason != Overloaded {
			return nil, failure
		}
		if wait(ctx, pause) != nil {
			return nil, failure
		}
	}
}

// note keeps count, and says in the log what has changed.
func (c *Caller) note(t *Target, f *Failure) {
	if f == nil {
		if t.note(Done, time.Now()) {
			c.log.Info("a handler answers", "channel", t.Channel, "url", t.URL)
		}
		return
	}
	if t.note(f.Reason, time.Now()) {
		c.log.Warn("a handler fails", "channel", t.Channel, "url", t.URL, "reason", f.Reason.String(), "error", f.err)
	}
}

// once makes one attempt.
func (c *Caller) once(ctx context.Context, t *Target, call *Call, body []byte) (*Answer, *Failure) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	if err != nil {
		return nil, &Failure{Malformed, err}
	}
	call.describe(r.Header)
	r.Header.Set("User-Agent", "klaxon")
	r.Header.Set("Accept", "application/json")
	sign(r.Header, t.Keys, call.ID, time.Now(), body)
	client := &c.guarded
	if t.Loopback {
		client = &c.open
	}
	resp, err := client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, &Failure{Timeout, fmt.Errorf("no answer within %s", t.Timeout.Std())}
		}
		if errors.Is(err, reach.ErrOwn) {
			return nil, &Failure{Status4xx, reach.ErrOwn}
		}
		return nil, &Failure{Unreachable, err}
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, &Failure{Timeout, fmt.Errorf("no whole answer within %s", t.Timeout.Std())}
	case err != nil:
		return nil, &Failure{Unreachable, err}
	case slices.Contains(overloaded, resp.StatusCode):
		return nil, &Failure{Overloaded, errors.New(resp.Status)}
	case resp.StatusCode >= http.StatusInternalServerError:
		return nil, &Failure{Status5xx, errors.New(resp.Status)}
	case resp.StatusCode >= http.StatusMultipleChoices:
		return nil, &Failure{Status4xx, errors.New(resp.Status)}
	case len(got) > maxAnswer:
		return nil, &Failure{Malformed, fmt.Errorf("the answer has more than %d bytes", maxAnswer)}
	}
	return read(resp, got, t.maxEvent)
}

// overloaded are statuses of whoever cannot take a call now, or stands before one that
// cannot: nothing has been done.
var overloaded = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// read reads the body of a response that says that all is well.
func read(resp *http.Response, body []byte, maxEvent int64) (*Answer, *Failure) {
	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); len(body) > 0 && (err != nil || media != "application/json") {
		return nil, &Failure{Malformed, fmt.Errorf("the answer is %.64q, not application/json: answer 204 when there is nothing to say", resp.Header.Get("Content-Type"))}
	}
	a, err := parseAnswer(body, maxEvent)
	if err != nil {
		return nil, &Failure{Malformed, fmt.Errorf("the answer cannot be understood: %w", err)}
	}
	return a, nil
}
