// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/wire"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
	"github.com/klaxon-dev/klaxon/pusher/wire/sse"
)

const (
	// closeAllWithin is how long closing every client may take when events live
	// in this process's memory only: waiting longer would save nothing.
	closeAllWithin = 1500 * time.Millisecond
	// lameDuck is how long new clients are still let in while those that send them
	// here learn not to: a refused connection costs a client more than being moved.
	lameDuck = 3 * time.Second
	// lastWait is how long peers then have for their half of the closing handshake.
	lastWait = 400 * time.Millisecond
	// drainStep is how often some more clients are closed.
	drainStep = 50 * time.Millisecond
	// acceptRate is how many reconnects a second the next pod should see at most.
	acceptRate = 500
	// minSpread is the least time over which clients are told to come back.
	minSpread = 2 * time.Second
)

// shared reports whether the broker outlives this push server, so that clients that
// move to another miss nothing.
func (srv *Server) shared() bool { return srv.config.Broker != nil }

// ending reports whether what is published here or remembered now would be lost.
func (srv *Server) ending() bool { return srv.draining.Load() && !srv.shared() }

// Drain ends the Server: nobody is let in, and every client is told when to come
// back and closed with code 1012. With a broker in memory publishers are refused
// with 503, and all is over within 2 s. Otherwise clients are moved over the drain
// period, and the Server ends when they have gone. Then the loops and listeners end.
// Calling it again does nothing.
func (srv *Server) Drain() {
	if srv.leaving.Swap(true) {
		return
	}
	begun := time.Now()
	period := srv.current.Load().settings.Pusher.Drain.Period.Std()
	if srv.shared() {
		time.Sleep(min(lameDuck, period/4))
	}
	srv.draining.Store(true)
	close(srv.drained)
	_ = srv.listeners.clients.Close() // again by Shutdown; nobody new meanwhile
	before := srv.connections()
	spread := srv.spread(before)
	if srv.shared() {
		spread = minSpread // that they are moved one by one spreads them
	} else {
		period = min(period, closeAllWithin)
	}
	for end := begun.Add(period); srv.connections() > 0; time.Sleep(drainStep) {
		steps := max(int(time.Until(end)/drainStep), 1)
		srv.onLoops(func(sh *shard) { sh.closeSome(steps, spread) })
		if steps == 1 {
			break
		}
	}
	for end := time.Now().Add(lastWait); srv.connections() > 0 && time.Now().Before(end); {
		time.Sleep(drainStep / 5)
	}
	for end := time.Now().Add(departureGrace); srv.talks.Load() > 0 && time.Now().Before(end); {
		time.Sleep(drainStep / 5)
	}
	srv.log.Info("drained", "clients", before, "left", srv.connections(), "took", time.Since(begun).Round(time.Millisecond))
	srv.stopLoops()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, s := range []*http.Server{srv.listeners.clientsHTTP, srv.listeners.eventsHTTP, srv.listeners.adminHTTP} {
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	}
	srv.listeners.close()
	srv.running.Wait()
}

func (srv *Server) connections() (n int64) {
	for _, sh := range srv.shards {
		n += sh.loop.Stats().Connections()
	}
	return n
}

// spread is the time over which n clients are told to come back: as long as the
// next pod needs to take them, at most the drain period.
func (srv *Server) spread(n int64) time.Duration {
	need := time.Duration(n) * time.Second / acceptRate
	return max(minSpread, min(need, srv.current.Load().settings.Pusher.Drain.Period.Std()))
}

// closeSome closes one part in steps of the sessions that are left.
func (sh *shard) closeSome(steps int, spread time.Duration) {
	var open []uint32
	for _, name := range sh.table.Channels() {
		open = append(open, sh.table.Members(name)...)
	}
	part := (len(open) + steps - 1) / steps
	for _, s := range slices.Clone(open[:part]) {
		sh.sendAway(s, wire.CloseRestart, spread)
	}
}

// sendAway closes a session whose client is to come back some time within spread.
func (sh *shard) sendAway(s uint32, code wire.CloseCode, spread time.Duration) {
	after := time.Second + rand.N(spread) //nolint:gosec // jitter, no secret
	switch ses := sh.sessions.At(s); {
	case ses.channel == nil: // its connection has gone with another session
		return
	case ses.form == hub.EventStream:
		sh.send(ses.conn, sse.EncodeRetry(after))
	case ses.overSocketIO(): // whose clients know themselves when to come back
	case ses.replaying && sh.replays[s].welcome != nil: // which would come first
	default:
		sh.send(ses.conn, plain.EncodeGoodbye(after, sh.server.shared() && ses.channel.History.Size > 0))
	}
	sh.loop.Close(sh.sessions.At(s).conn, code, code.Reason())
}

// refuseWhileDraining answers publishers 503 once the Server drains, if an event
// that was accepted then would be lost.
func (srv *Server) refuseWhileDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if srv.ending() {
			w.Header().Set("Retry-After", "2")
			w.Header().Set("Connection", "close")
			problem(w, http.StatusServiceUnavailable, "this push server restarts: try again")
			return
		}
		next.ServeHTTP(w, r)
	})
}
