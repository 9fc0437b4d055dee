// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package roster

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
)

// write has what is to be done for an entry done. The caller holds mu.
func (r *Roster) write(id string, e *entry) {
	if e.writing || r.ctx.Err() != nil {
		return
	}
	e.writing = true
	r.queue = append(r.queue, job{id, e})
	if r.workers < writers {
		r.workers++
		r.tasks.Go(r.work)
	}
}

// work writes until there is nothing left.
func (r *Roster) work() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 || r.ctx.Err() != nil {
			r.workers--
			r.queue = nil // which gives memory back after a storm
			r.mu.Unlock()
			return
		}
		j := r.queue[0]
		r.queue[0] = job{}
		r.queue = r.queue[1:]
		r.mu.Unlock()
		r.store(j.id, j.entry)
	}
}

// store writes until there is nothing left to write.
func (r *Roster) store(id string, e *entry) {
	for retry := minRetry; ; {
		r.mu.Lock()
		value, stored, revision, dropped := e.record, e.stored, e.revision, e.dropped
		if value == nil && (!dropped || revision == 0) {
			e.writing = false
			if e.gone && r.entries[id] == e {
				delete(r.entries, id)
			}
			r.mu.Unlock()
			return
		}
		e.record, e.stored = nil, nil
		r.mu.Unlock()
		next, err := r.set(id, value, revision)
		if err != nil {
			if isConflict(err) && r.conflict(id, e, revision) {
				return
			}
			r.again(e, value, stored)
			r.lookAgain(err)
			select {
			case <-time.After(retry):
			case <-r.ctx.Done():
				return
			}
			retry = min(2*retry, maxRetry)
			continue
		}
		retry = minRetry
		r.mu.Lock()
		if e.revision = next; value == nil {
			e.revision, e.dropped = 0, false // there is nothing more to drop
		}
		r.mu.Unlock()
		for _, f := range stored {
			f()
		}
	}
}

// lookAgain has the bucket looked for after an error of which it may be the cause.
func (r *Roster) lookAgain(err error) {
	if isConflict(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bucket = nil
}

// again puts back what could not be stored, unless there is something newer.
func (r *Roster) again(e *entry, value []byte, stored []func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.dropped {
		return
	}
	if e.record == nil {
		e.record = value
	}
	e.stored = append(stored, e.stored...)
}

// set stores a value behind a revision, or deletes it.
func (r *Roster) set(id string, value []byte, revision uint64) (uint64, error) {
	bucket, err := r.find()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, timeout)
	defer cancel()
	if value == nil {
		return 0, bucket.Delete(ctx, id, js.LastRevision(revision))
	}
	return bucket.Update(ctx, id, value, revision)
}

// conflict finds out why nothing could be stored behind a revision. It reports true
// when another replica has taken the session over.
func (r *Roster) conflict(id string, e *entry, behind uint64) bool {
	value, revision, err := r.get(r.ctx, id)
	r.mu.Lock()
	switch {
	case err != nil:
		r.mu.Unlock()
		return false
	case owner(value) == r.config.Self, value == nil && behind > 0:
		e.revision = revision // the answer to an earlier write was lost, or the bucket is another
		r.mu.Unlock()
		return false
	}
	gone, taken := e.gone, r.taken
	if r.entries[id] == e {
		delete(r.entries, id)
	}
	e.writing = false
	r.mu.Unlock()
	if !gone {
		taken(id)
	}
	return true
}

func isConflict(err error) bool {
	var api *js.APIError
	return errors.Is(err, js.ErrKeyExists) || errors.As(err, &api) && api.ErrorCode == js.JSErrCodeStreamWrongLastSequence
}

func owner(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(value)
}

// get reads a value; nil: there is none. What is deleted has a revision, too.
func (r *Roster) get(ctx context.Context, id string) (value []byte, revision uint64, err error) {
	bucket, err := r.find()
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e, err := bucket.Get(ctx, id)
	if errors.Is(err, js.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return e.Value(), e.Revision(), nil
}
