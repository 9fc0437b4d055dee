// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/engineio"
	"github.com/klaxon-dev/klaxon/pusher/wire/frames"
)

// maxAnswerPackets is how many packets one GET is answered with. A widespread
// client library refuses more.
const maxAnswerPackets = 16

// poll is a GET that waits for packets.
type poll struct {
	answers chan pollAnswer // one
}

func newPoll() *poll { return &poll{make(chan pollAnswer, 1)} }

// pollAnswer is what a GET is answered with: queued frames, then a packet of the
// protocol's own.
type pollAnswer struct {
	frames []*loop.Frame
	last   []byte
}

// payload joins the packets as the polling transport carries them.
func (a pollAnswer) payload() []byte {
	var out []byte
	for _, f := range a.frames {
		for b := f.Bytes; len(b) > 0; {
			op, data, n := frames.First(b)
			b = b[n:]
			p := engineio.Packet{Type: engineio.Message, Data: data, Binary: op == frames.Binary}
			if !p.Binary {
				p.Type, p.Data = engineio.Type(data[0]), data[1:]
			}
			out = engineio.AppendPacket(out, p)
		}
	}
	if a.last != nil {
		out = engineio.AppendPacket(out, engineio.Packet{Type: engineio.Type(a.last[0])})
	}
	return out
}

func packetsIn(f *loop.Frame) (n int) {
	for b := f.Bytes; len(b) > 0; n++ {
		_, _, size := frames.First(b)
		b = b[size:]
	}
	return n
}

// Waiting answers the GET of a connection that has something to say.
func (sh *shard) Waiting(c loop.Slot) {
	if e := sh.peers.At(uint32(c)).engine; e != nil && e.poll != nil {
		sh.reply(e, nil)
	}
}

// answerPoll ends the GET that waits, if one does: with a noop, so that the client
// can go on to something else.
func (sh *shard) answerPoll(e *engine) {
	if e.poll != nil {
		sh.reply(e, []byte{byte(engineio.Noop)})
	}
}

// reply ends the GET that waits with what is queued.
func (sh *shard) reply(e *engine, last []byte) {
	a := pollAnswer{last: last}
	packets := 0
	sh.loop.Take(e.home.slot, func(f *loop.Frame) bool {
		n := packetsIn(f)
		if packets > 0 && packets+n > maxAnswerPackets {
			return false
		}
		packets += n
		a.frames = append(a.frames, f)
		return true
	})
	e.poll.answers <- a
	e.poll = nil
	e.state.Polled()
}

// beginPoll lets a GET wait, or answers it at once.
func (sh *shard) beginPoll(h home, p *poll) (engineio.Code, bool) {
	e := sh.engineAt(h)
	if e == nil {
		return engineio.UnknownSession, false
	}
	switch e.state.Poll() {
	case engineio.Violation: // two at a time
		sh.loop.Close(h.slot, wire.CloseProtocol, wire.CloseProtocol.Reason())
		return engineio.BadRequest, false
	case engineio.Refuse:
		return engineio.BadRequest, false
	}
	e.poll = p
	switch {
	case sh.loop.Queued(h.slot):
		sh.reply(e, nil)
	case e.state.Pausing():
		sh.answerPoll(e)
	}
	return 0, true
}

// beginPush lets a POST send its body.
func (sh *shard) beginPush(h home) (engineio.Code, bool) {
	e := sh.engineAt(h)
	if e == nil {
		return engineio.UnknownSession, false
	}
	switch e.state.Push() {
	case engineio.Violation:
		sh.loop.Close(h.slot, wire.CloseProtocol, wire.CloseProtocol.Reason())
		return engineio.BadRequest, false
	case engineio.Refuse:
		return engineio.BadRequest, false
	}
	return 0, true
}

// push takes the packets of a POST, and what is wrong with what follows them. It
// reports whether all is well.
func (sh *shard) push(h home, packets []engineio.Packet, malformed error) bool {
	e := sh.engineAt(h)
	if e == nil {
		return false
	}
	e.state.Pushed()
	for _, p := range packets {
		if sh.receive(e, p); sh.peers.At(uint32(h.slot)).engine != e {
			return p.Type == engineio.Close
		}
	}
	if malformed != nil {
		sh.loop.Close(h.slot, wire.CloseProtocol, malformed.Error())
	}
	return malformed == nil
}

// hangUp ends a session whose client has broken a request off.
func (sh *shard) hangUp(h home) {
	if e := sh.engineAt(h); e != nil && e.state.Transport() == engineio.Polling {
		sh.loop.Close(h.slot, wire.CloseNormal, "")
	}
}

// servePoll answers a GET once there is something to say.
func (srv *Server) servePoll(w http.ResponseWriter, r *http.Request, h home) {
	sh, p := srv.shards[h.shard], newPoll()
	var code engineio.Code
	ok := true
	if !sh.do(func() { code, ok = sh.beginPoll(h, p) }) {
		problem(w, http.StatusServiceUnavailable, "this push server ends")
		return
	}
	if !ok {
		engineError(w, code)
		return
	}
	if !srv.awaitAnswer(w, r, p) {
		sh.do(func() { sh.hangUp(h) })
	}
}

// awaitAnswer waits until a poll is answered and writes the answer. It reports
// whether the client has got it, as far as that can be known.
func (srv *Server) awaitAnswer(w http.ResponseWriter, r *http.Request, p *poll) bool {
	control := http.NewResponseController(w)
	// The client may take its time: what it asks for is a heartbeat away.
	if control.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	srv.handshakes.entertain(r)
	var a pollAnswer
	select {
	case a = <-p.answers:
	case <-r.Context().Done():
		return false
	}
	if control.SetWriteDeadline(time.Now().Add(handshakeTimeout)) != nil {
		return false
	}
	body := a.payload()
	head := w.Header()
	head.Set("Content-Type", "text/plain; charset=UTF-8")
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	_, err := w.Write(body)
	return err == nil && control.Flush() == nil
}

// servePush takes the packets that a POST brings.
func (srv *Server) servePush(w http.ResponseWriter, r *http.Request, h home) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && media == "application/octet-stream" {
		engineError(w, engineio.BadRequest) // version 4 has text only
		return
	}
	sh := srv.shards[h.shard]
	var code engineio.Code
	ok := true
	if !sh.do(func() { code, ok = sh.beginPush(h) }) {
		problem(w, http.StatusServiceUnavailable, "this push server ends")
		return
	}
	if !ok {
		engineError(w, code)
		return
	}
	srv.handshakes.entertain(r)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(srv.current.Load().maxPayload)))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		sh.do(func() { sh.push(h, nil, nil) })
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		sh.do(func() { sh.hangUp(h) })
		return
	}
	var packets []engineio.Packet
	var malformed error
	for p, err := range engineio.Packets(body) {
		if malformed = err; err != nil {
			break
		}
		packets = append(packets, p)
	}
	if !sh.do(func() { ok = sh.push(h, packets, malformed) }) || !ok {
		engineError(w, engineio.BadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "ok") // the client may be gone; there is nobody else to tell
}
