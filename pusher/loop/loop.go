// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/pusher/epoll"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/slab"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/deflate"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

const (
	// closeTimeout is how long a peer may take over its half of a closing handshake.
	closeTimeout = 5 * time.Second
	// maxSleep bounds how long a loop waits for events, so that Lag means something.
	maxSleep = time.Second
	// slice is how long work or writes may go on before reads get their turn.
	slice = time.Millisecond
	// maxEvents is how many events one wait takes from the kernel.
	maxEvents = 256
	// readSize is how much one read takes. It bounds how many messages of one
	// peer a turn can see.
	readSize = 8 << 10
	// maxDeadline is as far ahead as deadlines are kept: longer than a process lives.
	maxDeadline = 5 * 365 * 24 * time.Hour
	// maxStamps bounds how many events wait for their writes to be timed.
	maxStamps = 4096
)

// Handler is told what happens to a Loop's connections. All calls come on the
// loop's goroutine. After Closed, which comes exactly once for each Open, the
// Slot means nothing any more.
type Handler interface {
	// Open takes a new connection with what Adopt was given.
	Open(s Slot, hello any)
	// Text takes a whole text message; it is valid only during the call.
	Text(s Slot, msg []byte)
	// Binary takes a whole binary message; it is valid only during the call.
	Binary(s Slot, msg []byte)
	// Waiting says that a detached connection has frames: see Take.
	Waiting(s Slot)
	// Expired says that the deadline set by SetDeadline has come.
	Expired(s Slot)
	// Closed says that the connection is closing or gone, and why.
	Closed(s Slot, code wire.CloseCode, reason string)
	// Gap encodes the marker that stands for n dropped events of a topic; nothing
	// when the topic means nothing to the client any more.
	Gap(s Slot, topic, n uint32) []byte
}

// Config says how a Loop treats its connections. It can be replaced while the
// loop runs.
type Config struct {
	// HeartbeatInterval after which a silent peer is pinged: of WebSocket only.
	HeartbeatInterval time.Duration
	// HeartbeatTimeout within which it must then send something.
	HeartbeatTimeout time.Duration
	// MaxMessage is the largest message that a WebSocket may send, in bytes.
	MaxMessage int
	// MaxPacket is the same for Packets.
	MaxPacket int
}

// Loop is one event loop. Run it on a goroutine of its own.
type Loop struct {
	// Static.
	handler Handler
	poll    *epoll.Poll
	wakeFD  int
	start   time.Time
	done    chan struct{}

	// Shared. Publishers write here; the lines of memory around it are the loop's.
	_         cpu.CacheLinePad
	inbox     inbox
	adoptions chan struct{} // those that wait
	stats     Stats
	lastTurn  atomic.Int64 // nanoseconds since start
	_         cpu.CacheLinePad

	// Owned by the loop.
	config    Config
	conns     slab.Slab[conn]
	freeSlots []Slot
	goneSlots []Slot
	nodes     []node
	freeNode  uint32
	queued    int // nodes in use
	dirty     []Slot
	stamps    []time.Time // of the deliveries whose writes are under way
	pending   []Work      // taken from the inbox, from next on not done yet
	next      int
	spare     []Work
	wheel     wheel
	events    [maxEvents]unix.EpollEvent
	nextEvent int // of those waited for, up to lastEvent, not handled yet
	lastEvent int
	readBuf   []byte
	whole     frames.Assembler // for messages of one frame; never keeps anything
	inflater  deflate.Inflater
	moved     Slot // where the connection that is being read has gone, see Move; or noSlot
	gaps      []gap
	iovecs    [maxIovecs]unix.Iovec
	stopping  bool
	delivered uint64 // since the stats were last told
	written   uint64
}

// New makes a Loop that tells handler. It fails when the process has no
// descriptors left.
func New(handler Handler, config Config) (*Loop, error) {
	poll, err := epoll.New()
	if err != nil {
		return nil, fmt.Errorf("loop: %w", err)
	}
	wakeFD, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("loop: eventfd: %w", err), poll.Close())
	}
	l := &Loop{
		handler: handler, poll: poll, wakeFD: wakeFD, start: time.Now(), done: make(chan struct{}),
		config: config, readBuf: make([]byte, readSize), nodes: make([]node, 1), adoptions: make(chan struct{}, maxAdoptions),
	}
	for i := range l.wheel.heads {
		l.wheel.heads[i] = noSlot
	}
	l.inbox.init(wakeFD)
	l.stats.init()
	if err := poll.Control(unix.EPOLL_CTL_ADD, wakeFD, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeData}); err != nil {
		closeFD(wakeFD)
		return nil, errors.Join(fmt.Errorf("loop: epoll_ctl: %w", err), poll.Close())
	}
	return l, nil
}

// Post hands work to the loop, waiting while its inbox is full. It must not be
// called on the loop's own goroutine. It reports false once the loop has
// stopped; the work then never runs.
func (l *Loop) Post(w Work) bool { return l.inbox.put(w) }

// Lag is how long ago the loop last turned. An idle loop turns every second.
func (l *Loop) Lag() time.Duration { return time.Since(l.start) - time.Duration(l.lastTurn.Load()) }

// Stats returns the loop's counters.
func (l *Loop) Stats() *Stats { return &l.stats }

// SetConfig replaces the configuration, for the connections that stand as well.
// On the loop only.
func (l *Loop) SetConfig(c Config) {
	if l.config == c {
		return
	}
	l.config = c
	for s := range Slot(l.conns.Len()) {
		l.reschedule(s, l.at(s))
	}
}

// SetBuffer sets how many unsent bytes the connection may have, and whether the
// oldest events are dropped or the connection is closed when there are more.
func (l *Loop) SetBuffer(s Slot, limit int64, p settings.SlowClientPolicy) {
	c := l.at(s)
	c.limit = uint32(min(max(limit, 0), 1<<30))
	c.dropOldest = p == settings.DropOldest
}

// SetDeadline asks for Handler.Expired at t, by the wall clock as it is now; the
// zero time for none. Times are kept to a tenth of a second and never come early.
func (l *Loop) SetDeadline(s Slot, t time.Time) {
	c := l.at(s)
	if c.state != open {
		return
	}
	c.deadline = never
	if !t.IsZero() {
		left := max(time.Until(t), 0) // before the next line asks for the time
		c.deadline = ticks(time.Since(l.start) + min(left, maxDeadline))
	}
	l.reschedule(s, c)
}

// Stamp tells the loop when an event, whose frames have just been queued, was
// published, for the latency histogram.
func (l *Loop) Stamp(published time.Time) { l.stamps = append(l.stamps, published) }

func (l *Loop) heartbeatInterval() time.Duration { return l.config.HeartbeatInterval }
func (l *Loop) heartbeatTimeout() time.Duration  { return l.config.HeartbeatTimeout }

// Run turns until Stop. It must be called once.
func (l *Loop) Run() {
	defer close(l.done)
	for !l.stopping {
		if l.nextEvent == l.lastEvent {
			l.nextEvent, l.lastEvent = 0, l.wait()
		}
		begun := time.Now()
		l.lastTurn.Store(int64(begun.Sub(l.start)))
		l.handleEvents(begun)
		l.work(time.Now())
		l.advance(l.clock())
		l.flush(time.Now())
		l.reap()
		l.report(begun)
	}
	l.shutdown()
}

// wait returns the number of events taken into l.events.
func (l *Loop) wait() int {
	// A look that does not wait costs no scheduler round trip.
	n := l.poll.Now(l.events[:])
	if n != 0 || len(l.dirty) > 0 || l.next < len(l.pending) || l.inbox.waiting() {
		return n
	}
	l.releaseIdle()
	due := l.start.Add(time.Duration(l.wheel.now+l.wheel.idle()) * tickLength)
	if latest := time.Now().Add(maxSleep); due.After(latest) {
		due = latest
	}
	n, err := l.poll.Wait(l.events[:], due)
	if err != nil {
		panic("loop: " + err.Error())
	}
	return n
}

// releaseIdle lets go of arenas that a burst has made large.
func (l *Loop) releaseIdle() {
	if len(l.nodes) > 1<<16 && l.queued == 0 {
		l.nodes, l.freeNode = make([]node, 1), 0
	}
}

// handleEvents handles what the kernel reported, for about a slice.
func (l *Loop) handleEvents(begun time.Time) {
	for l.nextEvent < l.lastEvent {
		if l.nextEvent%8 == 7 && time.Since(begun) > slice {
			return
		}
		ev := &l.events[l.nextEvent]
		l.nextEvent++
		if ev.Fd == wakeData {
			drainEventfd(l.wakeFD)
			continue
		}
		s := Slot(uint32(ev.Fd)) //nolint:gosec // as it was stored
		c := l.at(s)
		if c.gen != uint32(ev.Pad) || c.state == free || c.state == gone { //nolint:gosec // as it was stored
			continue
		}
		if ev.Events&unix.EPOLLOUT != 0 {
			l.flushConn(s, c)
		}
		if ev.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 && c.state != gone {
			l.readable(s, c)
		}
	}
}

// work runs what waits in the inbox, for about a slice.
func (l *Loop) work(begun time.Time) {
	if l.next == len(l.pending) {
		clear(l.pending)
		l.pending, l.spare = l.inbox.take(l.spare[:0]), l.pending
		l.next = 0
	}
	for l.next < len(l.pending) {
		w := l.pending[l.next]
		l.pending[l.next] = nil
		l.next++
		w.Run()
		if time.Since(begun) > slice {
			runtime.Gosched()
			return
		}
	}
}

// flush writes to dirty connections, for about a slice. What is left has its
// turn after the next reads.
func (l *Loop) flush(begun time.Time) {
	i := 0
	for ; i < len(l.dirty); i++ {
		if i%16 == 15 && time.Since(begun) > slice {
			break
		}
		s := l.dirty[i]
		c := l.at(s)
		c.dirty = false
		if c.state != gone && c.state != free && !c.blocked {
			l.flushConn(s, c)
		}
	}
	l.dirty = l.dirty[:copy(l.dirty, l.dirty[i:])]
	if len(l.stamps) == 0 || len(l.dirty) > 0 && len(l.stamps) < maxStamps {
		return
	}
	now := time.Now()
	for _, t := range l.stamps {
		l.stats.latency.Observe(now.Sub(t).Seconds())
	}
	l.stamps = l.stamps[:0]
}

// report tells the shared counters what this turn has done.
func (l *Loop) report(begun time.Time) {
	if l.delivered > 0 || l.written > 0 {
		l.stats.deliveries.Add(l.delivered)
		l.stats.bytesOut.Add(l.written)
		l.delivered, l.written = 0, 0
	}
	l.stats.turn(time.Since(begun))
}

// Stop ends the loop: connections that are left are closed without more ado,
// and work that waits is dropped. It returns when the loop has ended.
func (l *Loop) Stop() {
	l.Post(stop{l})
	<-l.done
}

type stop struct{ l *Loop }

func (s stop) Run()    { s.l.stopping = true }
func (stop) Size() int { return 0 }

func (l *Loop) shutdown() {
	for _, w := range append(l.pending[l.next:], l.inbox.close()...) {
		if d, ok := w.(interface{ Drop() }); ok {
			d.Drop()
		}
	}
	for s := range Slot(l.conns.Len()) {
		l.drop(s, l.at(s))
	}
	l.reap()
	l.report(time.Now())
	_ = l.poll.Close()
	closeFD(l.wakeFD)
}
