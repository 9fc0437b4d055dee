// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clients is the subscribers of the reliability harness, which come back
// whenever they are cut off: as the protocols' pages say (plain WebSocket,
// Server-Sent Events), and as socket.io-client does.
//
// Each tells its account.Story what it saw. What it saw is all that it tells: it must not know
// what runs behind the address that it connects to, nor what was done to it.
package clients

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/test/chaos/account"
	"github.com/klaxon-dev/klaxon/test/chaos/publish"
)

const (
	// handshakeTimeout is how long a server may take over each step until a client
	// is welcome.
	handshakeTimeout = 3 * time.Second
	// welcomeTimeout is how long it may take to say so: it reads the history first.
	welcomeTimeout = 5 * time.Second
	// firstBackoff and lastBackoff bound how long a client waits before it
	// connects again, if it was not told.
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

// Kind is how a client speaks.
type Kind string

// The kinds.
const (
	Plain     Kind = "websocket"
	SSE       Kind = "sse"
	SocketIO  Kind = "socket.io"
	SocketIOP Kind = "socket.io polling"
)

// Kinds are all of them.
var Kinds = []Kind{Plain, SSE, SocketIO, SocketIOP}

// Config says who a client is.
type Config struct {
	Kind    Kind
	Addr    string // to connect to
	Channel string
	// Room that it is in.
	Room string
	// Always: it names the room each time that it connects. Otherwise only when it
	// begins anew: what brings it back brings back the room as well.
	Always bool
	// Silence is after how long without a word from the server it gives up.
	Silence time.Duration
	// Roams: now and then it hangs up by itself, and comes back later. AwayAtMost is
	// the longest time for which it is away.
	Roams      bool
	AwayAtMost time.Duration
	Random     *rand.Rand // its own
}

// Client is a subscriber.
type Client struct {
	// Static.
	config Config
	story  *account.Story
	stay   <-chan struct{} // closed: no roaming any more
	began  chan struct{}

	// Of its goroutine.
	started   bool
	connected time.Time // when it was last welcomed
	after     time.Duration
	tries     int
}

// New makes a client, which roams until stay is closed.
func New(c Config, story *account.Story, stay <-chan struct{}) *Client {
	return &Client{config: c, story: story, stay: stay, began: make(chan struct{})}
}

// Story is what it has seen.
func (c *Client) Story() *account.Story { return c.story }

// Began is closed once it is connected for the first time.
func (c *Client) Began() <-chan struct{} { return c.began }

// errLeft ends a connection that the client ends by itself.
var errLeft = errors.New("left")

// protocol is one way to be a client. It connects, and reads until the connection
// ends.
type protocol func(ctx context.Context) error

// Run is connected as long as ctx is not done.
func (c *Client) Run(ctx context.Context) {
	var live protocol
	switch c.config.Kind {
	case Plain:
		live = (&plain{Client: c}).live
	case SSE:
		live = (&stream{Client: c}).live
	default:
		live = (&socket{Client: c}).live
	}
	for ctx.Err() == nil {
		err := c.until(ctx, live)
		wait := c.backoff()
		if errors.Is(err, errLeft) {
			wait = time.Duration(c.config.Random.Int64N(int64(c.config.AwayAtMost)))
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// until is one connection: until it ends, or the client has enough of it.
func (c *Client) until(ctx context.Context, live protocol) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if c.config.Roams {
		leave := time.AfterFunc(time.Second+time.Duration(c.config.Random.Int64N(int64(6*time.Second))), func() {
			select {
			case <-c.stay:
			default:
				cancel(errLeft)
			}
		})
		defer leave.Stop()
	}
	err := live(ctx)
	if errors.Is(context.Cause(ctx), errLeft) && c.started {
		c.tell(account.Moment{Kind: account.Left})
		return errLeft
	}
	return err
}

// backoff is how long to wait before the next connection.
func (c *Client) backoff() time.Duration {
	wait := c.after
	if c.after = 0; wait == 0 {
		wait = min(firstBackoff<<min(c.tries, 10), lastBackoff)
		wait = wait/2 + time.Duration(c.config.Random.Int64N(int64(wait)))
	}
	c.tries++
	return wait
}

func (c *Client) tell(m account.Moment) {
	m.At = time.Now()
	c.story.Add(m)
}

func (c *Client) wronged(format string, args ...any) {
	c.tell(account.Moment{Kind: account.Wronged, Note: fmt.Sprintf(format, args...)})
}

// welcomed is for any kind of welcome.
func (c *Client) welcomed(m account.Moment) {
	c.connected, c.tries = time.Now(), 0
	if !c.started {
		m.Kind = account.Began
		c.started = true
		defer close(c.began)
	}
	c.tell(m)
}

// received tells of an event.
func (c *Client) received(offset string, d publish.Data) {
	at, err := wire.ParsePosition(offset)
	if err != nil {
		c.wronged("an event has the offset %q", offset)
	}
	c.tell(account.Moment{
		Kind: account.Received, Position: at, Key: account.Key{Publisher: d.Publisher, Seq: d.Seq},
		Replayed: d.At < c.connected.UnixNano(),
	})
}

// place reads an offset that the server has said.
func (c *Client) place(offset string) wire.Position {
	at, err := wire.ParsePosition(offset)
	if err != nil {
		c.wronged("the server says the offset %q", offset)
	}
	return at
}
