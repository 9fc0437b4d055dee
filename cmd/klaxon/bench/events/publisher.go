// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/hist"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/template"
)

// Mode is how events follow each other on a link.
type Mode string

// The modes.
const (
	// Request waits for each answer before the next request.
	Request Mode = "request"
	// Pipeline does not wait: HTTP/1.1 pipelining.
	Pipeline Mode = "pipeline"
	// Stream is one request for each channel, with an event on each line.
	Stream Mode = "ndjson"
)

// Config is what a Publisher sends where.
type Config struct {
	// URL is http://HOST[:PORT]/PATH, a template.
	URL string
	// Headers are further header lines, templates.
	Headers []string
	// Token is a bearer token; may be empty.
	Token string
	// Body is the template of an event. The word {data} is where the mark is.
	Body string
	// Size is the length of {data} in bytes, at least mark.Size.
	Size int
	// Channels and Rooms make Channels*Rooms groups: group g is room g / Channels of
	// channel g mod Channels.
	Channels, Rooms int
	// Links is how many connections share the groups, at most as many as there
	// are: group g has link g mod Links. With Stream there is one for each channel.
	Links int
	Mode  Mode
}

// Publisher publishes events.
type Publisher struct {
	// Static.
	config  Config
	host    string // as requests name it
	addr    string
	path    template.Template
	headers []template.Template
	body    template.Template

	links    []*link // while open
	sent     []atomic.Int64
	answered atomic.Uint64

	// Guarded by mu.
	mu      sync.Mutex
	answers Answers
}

// Answers are what the server answered.
type Answers struct {
	// Latency is from when a request was sent until its answer, in nanoseconds.
	Latency hist.Histogram
	// Accepted events were answered 2xx.
	Accepted uint64
	// Refused counts the others by reason.
	Refused map[string]int
}

// New makes a Publisher, which connects when it is opened.
func New(c Config) (*Publisher, error) {
	scheme, rest, _ := strings.Cut(c.URL, "://")
	if scheme != "http" {
		return nil, fmt.Errorf("the URL %q does not begin with http://: benchmarks speak no TLS, measure behind the proxy that ends it", c.URL)
	}
	c.Size = max(c.Size, mark.Size)
	c.Links = min(max(c.Links, 1), c.Channels*c.Rooms)
	if c.Mode == Stream {
		c.Links = c.Channels
	}
	p := &Publisher{config: c, body: template.Parse(c.Body), sent: make([]atomic.Int64, c.Channels*c.Rooms)}
	p.answers.Refused = map[string]int{}
	// The path is cut out of the text, because url would escape templates.
	host, path, _ := strings.Cut(rest, "/")
	p.host, p.addr, p.path = host, host, template.Parse("/"+path)
	u, err := url.Parse("http://" + host)
	if err != nil {
		return nil, fmt.Errorf("parse the URL's host: %w", err)
	}
	if u.Port() == "" {
		p.addr += ":80"
	}
	headers := c.Headers
	if c.Token != "" {
		headers = append([]string{"Authorization: Bearer " + c.Token}, headers...)
	}
	for _, h := range headers {
		p.headers = append(p.headers, template.Parse(h))
	}
	return p, nil
}

// Open connects all links.
func (p *Publisher) Open() error {
	for i := range p.config.Links {
		l, err := p.dial(i)
		if err != nil {
			_ = p.Close()
			return fmt.Errorf("connect to publish: %w", err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

// Close waits for the answers that are owed and disconnects.
func (p *Publisher) Close() error {
	var first error
	for _, l := range p.links {
		if err := l.close(); err != nil && first == nil {
			first = err
		}
	}
	p.links = nil
	return first
}

// Links is how many links there are.
func (p *Publisher) Links() int { return p.config.Links }

// Groups is how many groups there are.
func (p *Publisher) Groups() int { return len(p.sent) }

// Publish sends the next event of a group, which must be one of the link's. It
// was due at a time of mark.Now. An error ends the link.
func (p *Publisher) Publish(i, group int, due int64) error {
	m := mark.Mark{Group: group, Seq: int(p.sent[group].Load()) + 1, At: due}
	v := template.Values{Channel: group % p.config.Channels, Room: group / p.config.Channels, Seq: m.Seq}
	if err := p.links[i].publish(m, &v); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	p.sent[group].Store(int64(m.Seq))
	return nil
}

// Sent is how many events were sent to each group since New.
func (p *Publisher) Sent() []int {
	all := make([]int, len(p.sent))
	for i := range all {
		all[i] = int(p.sent[i].Load())
	}
	return all
}

// Answered is how many events were answered since New.
func (p *Publisher) Answered() uint64 { return p.answered.Load() }

// TakeAnswers returns the answers since it was last called.
func (p *Publisher) TakeAnswers() *Answers {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.answers
	p.answers = Answers{Refused: map[string]int{}}
	return &a
}

// answer counts an answer that took so many nanoseconds. No reason: accepted.
func (p *Publisher) answer(took int64, refusal string) {
	p.mu.Lock()
	p.answers.Latency.Add(took)
	if refusal == "" {
		p.answers.Accepted++
	} else {
		p.answers.Refused[refusal]++
	}
	p.mu.Unlock()
	p.answered.Add(1)
}
