// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package roster

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
)

// roomKey is before the keys of rooms, which are in the same bucket as sessions.
const roomKey = "room."

// Room is a room in which somebody is, on whichever replica.
type Room struct {
	Channel string `json:"channel"`
	UID     string `json:"uid,omitempty"`
	Name    string `json:"name"`
	// Owners are the replicas that have somebody in it.
	Owners []uint32 `json:"owners,omitempty"`
	// Begun and Number tell its changes, from nobody to somebody and back, from all
	// others. Teller is who is to tell of the last one, and Told the last that was told.
	Begun  int64  `json:"begun"`
	Number uint64 `json:"number"`
	Told   uint64 `json:"told"`
	Teller uint32 `json:"teller"`
}

// Occupied reports whether somebody is in it.
func (r *Room) Occupied() bool { return len(r.Owners) > 0 }

func (r *Room) key() string {
	sum := sha256.Sum256([]byte(r.Channel + "\x00" + r.UID + "\x00" + r.Name))
	return roomKey + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
}

// House records whether this replica has somebody in a room, of which Channel, UID and Name
// are given. It returns the room as it is then, and whether it changed by that.
func (r *Roster) House(ctx context.Context, room Room, here bool) (Room, bool, error) {
	return r.changeRoom(ctx, room, func(now *Room) {
		i := slices.Index(now.Owners, r.config.Self)
		switch {
		case here && i < 0:
			now.Owners = append(now.Owners, r.config.Self)
		case !here && i >= 0:
			now.Owners = slices.Delete(now.Owners, i, i+1)
		}
	})
}

// Evict takes replicas that are gone out of a room, and takes over what they had still to
// tell of it. It returns the room as it is then, and whether something is to be told.
func (r *Roster) Evict(ctx context.Context, room Room, present func(id uint32) bool) (Room, bool, error) {
	tell := false
	now, changed, err := r.changeRoom(ctx, room, func(now *Room) {
		now.Owners = slices.DeleteFunc(now.Owners, func(id uint32) bool { return !present(id) })
		if tell = now.Told < now.Number && !present(now.Teller); tell {
			now.Teller = r.config.Self
		}
	})
	return now, changed || tell, err
}

// Told records that a change has been told.
func (r *Roster) Told(ctx context.Context, room Room) error {
	_, _, err := r.changeRoom(ctx, room, func(now *Room) {
		if now.Begun == room.Begun {
			now.Told = max(now.Told, room.Number)
		}
	})
	return err
}

// changeRoom changes a room's record by compare-and-set. It reports whether the room has
// got its first owner by that, or lost its last.
func (r *Roster) changeRoom(ctx context.Context, room Room, change func(*Room)) (Room, bool, error) {
	key := room.key()
	for {
		now := Room{Channel: room.Channel, UID: room.UID, Name: room.Name}
		value, revision, err := r.get(ctx, key)
		if err != nil {
			return room, false, err
		}
		if value == nil || json.Unmarshal(value, &now) != nil {
			now.Begun = time.Now().UnixMilli()
		}
		was := now.Occupied()
		change(&now)
		changed := now.Occupied() != was
		if changed {
			now.Number++
			now.Teller = r.config.Self
		}
		next, err := json.Marshal(now)
		if err != nil {
			return room, false, err
		}
		if !now.Occupied() && now.Told >= now.Number {
			next = nil
		}
		if next == nil && value == nil {
			return now, false, nil
		}
		switch _, err = r.set(key, next, revision); {
		case err == nil:
			return now, changed, nil
		case !isConflict(err):
			return room, false, err
		case ctx.Err() != nil:
			return room, false, ctx.Err()
		}
	}
}

// EachRoom calls fn for every room in which somebody is, or was until lately.
func (r *Roster) EachRoom(ctx context.Context, fn func(Room)) error {
	return r.each(ctx, roomKey+"*", func(e js.KeyValueEntry) {
		var room Room
		if json.Unmarshal(e.Value(), &room) == nil {
			fn(room)
		}
	})
}

// Each calls fn for every session that is on record, and who owns it.
func (r *Roster) Each(ctx context.Context, fn func(id string, owner uint32, record []byte)) error {
	return r.each(ctx, "*", func(e js.KeyValueEntry) { // which is one token: no room
		if len(e.Value()) >= 4 && !strings.HasPrefix(e.Key(), roomKey) {
			fn(e.Key(), owner(e.Value()), e.Value()[4:])
		}
	})
}

func (r *Roster) each(ctx context.Context, keys string, fn func(js.KeyValueEntry)) error {
	bucket, err := r.find()
	if err != nil {
		return err
	}
	all, err := bucket.Watch(ctx, keys, js.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer func() { _ = all.Stop() }() // it ends with the connection at the latest
	for {
		select {
		case e, ok := <-all.Updates():
			switch {
			case !ok:
				return errors.New("roster: reading all records ended early")
			case e == nil: // that was all
				return nil
			}
			fn(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
