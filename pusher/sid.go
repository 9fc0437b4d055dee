// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"strings"
	"sync"

	"github.com/klaxon-dev/klaxon/pusher/loop"
)

// A session id of Engine.IO says where the session lives: on which replica, on
// which of its loops, in which slot. So any replica knows whom to ask, and no
// table of ids is kept anywhere. A MAC makes forged ids cheap to refuse; what is
// random makes an id that nobody was given worthless.
const (
	sidOwner = 4
	sidPlace = 5 // veiled: how many clients there are is nobody's business
	sidNonce = 9
	sidMAC   = 6
	sidBytes = sidOwner + sidPlace + sidNonce + sidMAC
)

var sidEncoding = base64.RawURLEncoding.Strict()

// home is where an Engine.IO session lives.
type home struct {
	owner uint32 // replica
	shard uint8
	slot  loop.Slot
	nonce [sidNonce]byte
}

// sids makes and reads session ids. All replicas of a Pusher have the same key.
type sids struct {
	key   [32]byte
	owner uint32 // this replica

	hashes sync.Pool // of hash.Hash with the key in it
}

func newSIDs(of *Replica) *sids {
	if of != nil {
		return &sids{key: of.Key, owner: of.ID}
	}
	k := &sids{}
	_, _ = rand.Read(k.key[:]) // never fails
	var b [4]byte
	_, _ = rand.Read(b[:])
	k.owner = binary.BigEndian.Uint32(b[:])
	return k
}

// assign makes the id of a session that lives here.
func (k *sids) assign(shard uint8, slot loop.Slot) (home, string) {
	h := home{owner: k.owner, shard: shard, slot: slot}
	_, _ = rand.Read(h.nonce[:])
	b := make([]byte, 0, sidBytes)
	b = binary.BigEndian.AppendUint32(b, h.owner)
	b = append(b, h.shard)
	b = binary.BigEndian.AppendUint32(b, uint32(h.slot))
	b = append(b, h.nonce[:]...)
	k.veil(b)
	return h, sidEncoding.EncodeToString(k.mac(b))
}

// find reads an id. It reports false for one that no replica has made.
func (k *sids) find(sid string) (home, bool) {
	b, err := sidEncoding.DecodeString(sid)
	if err != nil || len(b) != sidBytes || strings.ContainsAny(sid, "\r\n") { // which the decoder skips
		return home{}, false
	}
	said := b[:sidBytes-sidMAC]
	if !hmac.Equal(k.mac(said[:len(said):len(said)]), b) {
		return home{}, false
	}
	k.veil(said)
	h := home{
		owner: binary.BigEndian.Uint32(said), shard: said[sidOwner],
		slot: loop.Slot(binary.BigEndian.Uint32(said[sidOwner+1:])),
	}
	copy(h.nonce[:], said[sidOwner+sidPlace:])
	return h, true
}

// veil hides or shows the place in an id.
func (k *sids) veil(b []byte) {
	sum := k.sum(1, b[sidOwner+sidPlace:])
	for i := range sidPlace {
		b[sidOwner+i] ^= sum[i]
	}
}

// mac appends the MAC.
func (k *sids) mac(b []byte) []byte {
	sum := k.sum(2, b)
	return append(b, sum[:sidMAC]...)
}

// sum is HMAC-SHA256 for one of several purposes.
func (k *sids) sum(purpose byte, b []byte) (sum [sha256.Size]byte) {
	h, ok := k.hashes.Get().(hash.Hash)
	if !ok {
		h = hmac.New(sha256.New, k.key[:])
	}
	h.Reset()
	h.Write([]byte{purpose})
	h.Write(b)
	h.Sum(sum[:0])
	k.hashes.Put(h)
	return sum
}
