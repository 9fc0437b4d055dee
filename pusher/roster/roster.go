// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package roster

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

const (
	// writers is how many records are written at a time.
	writers = 32
	// timeout bounds one request.
	timeout = 2 * time.Second
	// Refresh is how often a record must be written again, whether it has changed or
	// not.
	Refresh = 10 * time.Minute
	// minRetry and maxRetry are between two attempts at what fails.
	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second
	// lastWait is how long Close waits for what is being written.
	lastWait = time.Second
)

// Config says where the bucket is and who this is.
type Config struct {
	// Conn is a connection to NATS, which the Roster does not close.
	Conn *nats.Conn
	// Bucket is its name: letters, digits, - and _.
	Bucket string
	// Replicas is how many nodes of NATS keep it.
	Replicas int
	// Self tells the replicas apart.
	Self uint32
	// Log may be nil.
	Log *slog.Logger
}

// Roster is one replica's view. It is safe for concurrent use.
type Roster struct {
	// Static.
	config Config
	js     js.JetStream
	ctx    context.Context //nolint:containedctx // ends with the Roster
	end    context.CancelFunc
	tasks  sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	keep    time.Duration
	bucket  js.KeyValue // nil: to be found
	made    time.Time   // when the bucket was; another time is another bucket
	entries map[string]*entry
	queue   []job // entries that are to be written
	workers int
	taken   func(id string)
	renew   func()
}

// entry is a session that this replica owns, or has just released.
type entry struct {
	revision uint64 // of what is stored; 0: nothing
	record   []byte // to be stored; nil: nothing
	stored   []func()
	writing  bool
	gone     bool // released, or dropped
	dropped  bool
}

// job is an entry to write.
type job struct {
	id    string
	entry *entry
}

// New returns a Roster, which is to be closed. It waits for nobody.
func New(c Config) (*Roster, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	stream, err := js.New(c.Conn)
	if err != nil {
		return nil, err
	}
	r := &Roster{
		config: c, js: stream, entries: map[string]*entry{},
		taken: func(string) {}, renew: func() {},
	}
	r.ctx, r.end = context.WithCancel(context.Background())
	back := c.Conn.StatusChanged(nats.CONNECTED)
	r.tasks.Go(func() { r.watch(back) })
	return r, nil
}

// Serve says what is done when another replica has taken a session over, and when
// every session is to be Put again because nothing is known any more.
func (r *Roster) Serve(taken func(id string), renew func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken, r.renew = taken, renew
}

// Close ends it, when what is to be stored is, or after a second.
func (r *Roster) Close() {
	for end := time.Now().Add(lastWait); r.busy() && time.Now().Before(end); {
		time.Sleep(lastWait / 100)
	}
	r.end()
	r.tasks.Wait()
}

func (r *Roster) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.writing {
			return true
		}
	}
	return false
}

// Keep says for how long records are needed after their sessions have ended. At first
// nothing is kept.
func (r *Roster) Keep(ttl time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ttl > r.keep { // another replica may still need more
		r.keep, r.bucket = ttl, nil
	}
}

// watch looks for the bucket whenever NATS is there again.
func (r *Roster) watch(back <-chan nats.Status) {
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-back:
		}
		r.mu.Lock()
		r.bucket = nil
		needed := r.keep > 0 && len(r.entries) > 0
		r.mu.Unlock()
		if needed {
			if _, err := r.find(); err != nil {
				r.config.Log.Warn("the sessions' bucket is not there yet", "error", err)
			}
		}
	}
}

// find returns the bucket, and makes it if need be.
func (r *Roster) find() (js.KeyValue, error) {
	r.mu.Lock()
	bucket, keep := r.bucket, r.keep
	r.mu.Unlock()
	if bucket != nil {
		return bucket, nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, timeout)
	defer cancel()
	ttl := keep + 2*Refresh
	bucket, err := r.js.KeyValue(ctx, r.config.Bucket)
	var made time.Time
	if err == nil {
		made, err = check(ctx, bucket, ttl)
	}
	if errors.Is(err, js.ErrBucketNotFound) {
		bucket, err = r.js.CreateOrUpdateKeyValue(ctx, js.KeyValueConfig{
			Bucket: r.config.Bucket, TTL: ttl, Storage: js.MemoryStorage, Replicas: max(r.config.Replicas, 1),
		})
		if err == nil {
			made, err = check(ctx, bucket, ttl)
		}
	}
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	anew := !r.made.IsZero() && made != r.made
	r.bucket, r.made = bucket, made
	renew := r.renew
	if anew {
		for _, e := range r.entries {
			e.revision = 0
		}
	}
	r.mu.Unlock()
	if anew {
		renew()
	}
	return bucket, nil
}

// check returns when a bucket was made, or an error as if it were not there when it
// keeps records for too short a time.
func check(ctx context.Context, bucket js.KeyValue, ttl time.Duration) (time.Time, error) {
	st, err := bucket.Status(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if st.TTL() < ttl {
		return time.Time{}, js.ErrBucketNotFound
	}
	if of, ok := st.(*js.KeyValueBucketStatus); ok {
		return of.StreamInfo().Created, nil
	}
	return time.Time{}, nil
}

// Put has a session's record stored, over an earlier one. It waits for nobody; stored,
// if not nil, is called when it is, however long that takes, unless the session ends
// before.
func (r *Roster) Put(id string, record []byte, stored func()) {
	value := append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(record)), r.config.Self), record...)
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[id]
	if e == nil || e.gone {
		e = &entry{}
		r.entries[id] = e
	}
	e.record = value
	if stored != nil {
		e.stored = append(e.stored, stored)
	}
	r.write(id, e)
}

// Release says that a session has ended, and that its client may come back.
func (r *Roster) Release(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[id]; e != nil {
		if e.gone = true; !e.writing {
			delete(r.entries, id)
		}
	}
}

// Drop says that a session has ended for good.
func (r *Roster) Drop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[id]
	if e == nil {
		return
	}
	e.gone, e.dropped, e.record, e.stored = true, true, nil, nil
	r.write(id, e)
}

// Take makes a session this replica's, if accept likes its record. It returns nil when
// there is none to take. An error says that this is not known.
func (r *Roster) Take(ctx context.Context, id string, accept func(record []byte) bool) ([]byte, error) {
	return r.take(ctx, id, func(_ uint32, record []byte) bool { return accept(record) })
}

// TakeFrom is Take of what is still owned by one that is gone. Of several that try one
// does.
func (r *Roster) TakeFrom(ctx context.Context, id string, gone uint32) ([]byte, error) {
	return r.take(ctx, id, func(owner uint32, _ []byte) bool { return owner == gone })
}

func (r *Roster) take(ctx context.Context, id string, accept func(owner uint32, record []byte) bool) ([]byte, error) {
	if err := r.Settle(ctx, id); err != nil {
		return nil, err
	}
	for {
		value, revision, err := r.get(ctx, id)
		if err != nil || len(value) < 4 || !accept(owner(value), value[4:]) {
			return nil, err
		}
		mine := append(binary.BigEndian.AppendUint32(nil, r.config.Self), value[4:]...)
		next, err := r.set(id, mine, revision)
		switch {
		case err == nil:
			r.mu.Lock()
			r.entries[id] = &entry{revision: next}
			r.mu.Unlock()
			return value[4:], nil
		case !isConflict(err):
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// Settle waits until nothing is being written for a session that has ended here.
func (r *Roster) Settle(ctx context.Context, id string) error {
	for {
		r.mu.Lock()
		e := r.entries[id]
		writing := e != nil && e.writing
		r.mu.Unlock()
		if !writing {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
