// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/klaxon-dev/klaxon/pusher"
	"github.com/klaxon-dev/klaxon/pusher/roster"
)

// housing is the roster as the push server needs it for rooms.
type housing struct {
	roster *roster.Roster
	self   uint32
}

func (h housing) House(ctx context.Context, room pusher.HousedRoom, here bool) (pusher.HousedRoom, bool, error) {
	now, changed, err := h.roster.House(ctx, kept(room), here)
	return housed(now), changed, err
}

func (h housing) Told(ctx context.Context, room pusher.HousedRoom) error {
	return h.roster.Told(ctx, kept(room))
}

func (h housing) Evict(ctx context.Context, present map[uint32]bool) (tell []pusher.HousedRoom, err error) {
	there := func(id uint32) bool { return id == h.self || present[id] }
	var suspects []roster.Room
	err = h.roster.EachRoom(ctx, func(room roster.Room) {
		gone := room.Told < room.Number && !there(room.Teller)
		for _, id := range room.Owners {
			gone = gone || !there(id)
		}
		if gone {
			suspects = append(suspects, room)
		}
	})
	for _, room := range suspects {
		if err != nil {
			break
		}
		var now roster.Room
		var due bool
		if now, due, err = h.roster.Evict(ctx, room, there); due && err == nil {
			tell = append(tell, housed(now))
		}
	}
	return tell, err
}

func kept(room pusher.HousedRoom) roster.Room {
	return roster.Room{Channel: room.Channel, UID: room.UID, Name: room.Name, Begun: room.Begun, Number: room.Number}
}

func housed(room roster.Room) pusher.HousedRoom {
	return pusher.HousedRoom{
		Channel: room.Channel, UID: room.UID, Name: room.Name, Occupied: room.Occupied(), Begun: room.Begun, Number: room.Number,
	}
}
