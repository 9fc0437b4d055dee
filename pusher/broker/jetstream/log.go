// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	// waitingMessages and waitingBytes bound the live messages of one log that wait
	// for a delivery. What is more is dropped, and fetched from the stream later.
	waitingMessages = 1024
	waitingBytes    = 4 << 20
)

// channelLog is one replica's view of a channel's log. While it is attached, live
// messages wait in its queue for its turn: a goroutine that there is only while
// there is work.
type channelLog struct {
	// Static.
	broker      *Broker
	name, token string

	// attaching is held by who attaches or detaches the log.
	attaching chan struct{}

	// Guarded by following, which is held while a turn follows the log.
	following sync.Mutex
	chain     chain

	// delivering is held while there may be a call of Deliver or Lost, so that
	// close can wait for it.
	delivering sync.Mutex

	// Guarded by mu.
	mu      sync.Mutex
	history settings.History
	closed  bool
	wanted  bool // by the last of Attach and Detach
	linger  *time.Timer
	life    *life // of the stream when it was attached; nil: it is not
	sub     *nats.Subscription
	at      wire.Position // as Position says
	reached uint64        // chain.last, and
	floor   uint64        // chain.floor, for those who have no turn
	checked uint64        // a sequence until which nothing is missing
	synced  time.Time     // when it was last known that nothing is missing
	lastAt  time.Time     // when the last message was stored
	waiting []live
	bytes   int
	turning bool // whether there is a turn
	behind  bool // whether what follows the last message must be fetched
	oldest  oldestPage
}

// chain is how far a log has been followed.
type chain struct {
	last  uint64 // sequence of the last message, event or mark
	floor uint64 // a sequence that no event follows until last
	kept  keptBytes
}

// live is a live message: its place and that of the one before it.
type live struct {
	seq, prev uint64
	at        time.Time
	body      []byte
}

func newLog(b *Broker, name, token string) *channelLog {
	return &channelLog{broker: b, name: name, token: token, attaching: make(chan struct{}, 1)}
}

// after lets the log begin where the one of a deleted channel of the same name, if
// there was one, ends for those who follow it.
func (l *channelLog) after(old *channelLog) *channelLog {
	if old != nil {
		old.mu.Lock()
		l.wanted, l.at = old.wanted, old.at
		old.mu.Unlock()
	}
	return l
}

func (l *channelLog) limit(h settings.History) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = h
}

func (l *channelLog) limits() settings.History {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.history
}

func (l *channelLog) position() (wire.Position, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at, l.life != nil && !l.closed
}

// place is a position in the log, in one life of the stream.
func (l *channelLog) place(of *life, seq uint64) wire.Position {
	return wire.Position{Epoch: of.epoch + l.token, Seq: seq}
}

// parse reads what the stream says of a message that it republishes.
func parse(m *nats.Msg) (live, bool) {
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return live{}, false
	}
	prev, err := strconv.ParseUint(m.Header.Get("Nats-Last-Sequence"), 10, 64)
	if err != nil {
		return live{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	return live{seq, prev, at, m.Data}, err == nil
}

// enqueue lets a live message wait for its delivery. It does not block.
func (l *channelLog) enqueue(m *nats.Msg) {
	msg, ok := parse(m)
	if !ok {
		l.broker.stats.unknown.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sub == nil || l.closed {
		return
	}
	if len(l.waiting) >= waitingMessages || l.bytes+len(msg.body) > waitingBytes {
		l.broker.stats.dropped.Add(1)
		l.behind = true
	} else {
		l.waiting = append(l.waiting, msg)
		l.bytes += len(msg.body)
	}
	l.start()
}

// catchUp lets the log fetch what follows its last message.
func (l *channelLog) catchUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind = true
	l.start()
}

// start begins a turn unless there is one. The lock is held.
func (l *channelLog) start() {
	if l.life == nil || l.closed || l.turning || (!l.behind && len(l.waiting) == 0) {
		return
	}
	l.turning = true
	l.broker.spawn(l.turn)
}

// turn delivers until nothing waits.
func (l *channelLog) turn() {
	for {
		job, ok := l.next()
		if !ok {
			return
		}
		err := l.follow(job)
		if err == nil || errors.Is(err, errDetached) {
			continue
		}
		l.mu.Lock() // the upkeep begins another turn
		l.behind, l.turning = true, false
		l.mu.Unlock()
		return
	}
}

// work is what a turn does next: deliver a batch of live messages, before that
// fetch what is missing.
type work struct {
	life   *life
	behind bool
	msgs   []live
}

func (l *channelLog) next() (work, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life == nil || l.closed || (!l.behind && len(l.waiting) == 0) {
		l.turning = false
		return work{}, false
	}
	w := work{life: l.life, behind: l.behind, msgs: l.waiting}
	if !w.behind && time.Since(l.synced) > l.broker.stream.maxAge()/2 {
		w.behind = true // what came before may be missing, and too old by now
	}
	l.behind, l.waiting, l.bytes = false, nil, 0
	return w, true
}

// drop empties the queue and ends the subscription. It returns when nothing is
// delivered any more.
func (l *channelLog) drop() {
	l.mu.Lock()
	sub := l.sub
	l.life, l.sub, l.waiting, l.bytes, l.behind = nil, nil, nil, 0, false
	l.mu.Unlock()
	if sub != nil {
		l.broker.unroute(sub.Subject, l)
		_ = sub.Unsubscribe() // fails if the connection is closed, and then it has ended
	}
	l.delivering.Lock() // waits for a delivery that is under way
	defer l.delivering.Unlock()
}

// close ends the log for good.
func (l *channelLog) close() {
	l.mu.Lock()
	l.closed, l.wanted = true, false
	if l.linger != nil {
		l.linger.Stop()
	}
	l.mu.Unlock()
	l.drop()
}

// current reports whether the log is still attached to this life of the stream.
func (l *channelLog) current(to *life) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.life == to && !l.closed
}
