// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// resumption is what a client says of where it was.
type resumption struct {
	since wire.Position
	token *resumeToken // nil: it has shown none
}

// nowhere is a position of no log.
var nowhere = wire.Position{Epoch: "-"}

// resumption reads what a client says. Nil: nothing. An error can be shown to it.
// A token that is not good (any more) is none: the client is told that it has
// missed something.
func (srv *Server) resumption(channel, since, token string) (*resumption, error) {
	if since == "" && token == "" {
		return nil, nil //nolint:nilnil // as said
	}
	r := &resumption{since: nowhere}
	if since != "" {
		var err error
		if r.since, err = wire.ParsePosition(since); err != nil {
			return nil, err
		}
	}
	if token == "" {
		return r, nil
	}
	t, ok := srv.sids.readResume(token)
	if !ok || t.channel != channel {
		return &resumption{since: nowhere}, nil
	}
	if since == "" || r.since.Epoch == t.at.Epoch && r.since.Seq < t.at.Seq {
		r.since = t.at
	}
	r.token = &t
	return r, nil
}

// of is what holds for a user: another's token is none.
func (r *resumption) of(user string) (since wire.Position, t resumeToken) {
	switch {
	case r.token == nil:
		return r.since, t
	case r.token.user != user:
		return nowhere, t
	}
	return r.since, *r.token
}

// resumeToken is what a client's session was when the token was made. The client
// can read it and not change it; it grants nothing, because who shows it must be
// let in and be allowed into the rooms all the same.
type resumeToken struct {
	channel string
	session wire.SessionID
	user    string
	at      wire.Position
	rooms   []string // granted ones too
	granted []string
}

const (
	// maxResumeToken is the largest token, in bytes: a URL must have room for it. A
	// session with so many rooms gets none.
	maxResumeToken = 4 << 10
	resumeVersion  = 1
	resumeMAC      = 16
	pidMAC         = 16
)

// Purposes of sids.sum besides those of a session id.
const (
	purposePID    = 3
	purposeResume = 4
)

// resumeToken makes the token of a session; empty when there is none to be had.
func (sh *shard) resumeToken(s uint32) string {
	ses := sh.sessions.At(s)
	if ses.channel.History.Size == 0 {
		return ""
	}
	return sh.server.sids.writeResume(resumeToken{
		channel: ses.channel.Name, session: sh.table.ID(s), user: ses.subject(), at: sh.position(s), rooms: sh.table.Rooms(s), granted: sh.table.Granted(s),
	})
}

func (k *sids) writeResume(t resumeToken) string {
	b := make([]byte, 0, 128)
	b = append(b, resumeVersion)
	b = append(b, t.session[:]...)
	b = binary.AppendUvarint(b, t.at.Seq)
	b = appendSized(appendSized(appendSized(b, t.channel), t.user), t.at.Epoch)
	b = binary.AppendUvarint(b, uint64(len(t.granted)))
	for _, room := range t.granted {
		b = appendSized(b, room)
	}
	for _, room := range t.rooms {
		b = appendSized(b, room)
	}
	if len(b) > maxResumeToken {
		return ""
	}
	sum := k.sum(purposeResume, b)
	return base64.RawURLEncoding.EncodeToString(append(b, sum[:resumeMAC]...))
}

func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// readResume reads what writeResume wrote; false for anything else.
func (k *sids) readResume(token string) (t resumeToken, ok bool) {
	b, ok := k.open(token, purposeResume, resumeMAC)
	if !ok || len(b) < 1+len(t.session) || b[0] != resumeVersion {
		return t, false
	}
	r := sizedReader{rest: b[1+copy(t.session[:], b[1:]):]}
	t.at.Seq = r.number()
	t.channel, t.user, t.at.Epoch = r.text(), r.text(), r.text()
	for range min(r.number(), wire.MaxRooms) {
		t.granted = append(t.granted, r.text())
	}
	for len(r.rest) > 0 && !r.bad {
		t.rooms = append(t.rooms, r.text())
	}
	return t, !r.bad
}

// sizedReader takes what appendSized has put together apart. Once it is bad, it
// finds nothing more.
type sizedReader struct {
	rest []byte
	bad  bool
}

func (r *sizedReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, n, v = true, 0, 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *sizedReader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, n = true, 0
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

// pid is the secret by which a Socket.IO client asks for its session again.
func (k *sids) pid(id wire.SessionID) string {
	sum := k.sum(purposePID, id[:])
	return base64.RawURLEncoding.EncodeToString(append(id[:], sum[:pidMAC]...))
}

// readPID reads what pid wrote; false for anything else.
func (k *sids) readPID(pid string) (id wire.SessionID, ok bool) {
	b, ok := k.open(pid, purposePID, pidMAC)
	if !ok || len(b) != len(id) {
		return id, false
	}
	copy(id[:], b)
	return id, true
}

// open returns what a MAC of so many bytes follows, if it is ours.
func (k *sids) open(sealed string, purpose byte, mac int) ([]byte, bool) {
	if len(sealed) > 2*maxResumeToken || strings.ContainsAny(sealed, "\r\n") { // which the decoder would skip
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || len(b) < mac {
		return nil, false
	}
	said, got := b[:len(b)-mac], b[len(b)-mac:]
	sum := k.sum(purpose, said)
	return said, hmac.Equal(sum[:mac], got)
}
