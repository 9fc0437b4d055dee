// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/acceptor"
	"github.com/klaxon-dev/klaxon/pusher/events"
	"github.com/klaxon-dev/klaxon/pusher/handlers"
	"github.com/klaxon-dev/klaxon/pusher/hub"
	"github.com/klaxon-dev/klaxon/pusher/loop"
	"github.com/klaxon-dev/klaxon/pusher/presence"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire/plain"
)

// Config is what a Server is started with and keeps.
type Config struct {
	// ClientsAddr, EventsAddr and AdminAddr are where the listeners listen, as host:port.
	ClientsAddr, EventsAddr, AdminAddr string
	// Loops is the number of event loops. 0: one for each core that Go uses.
	Loops int
	// Log takes what happens. Nil: the default logger.
	Log *slog.Logger
	// Replica says which of several this is. Nil: there is one.
	Replica *Replica
	// Broker makes the broker, which outlives the push server and is shared with
	// other replicas. Nil: one in memory, for one replica.
	Broker func(Deliveries) (Broker, error)
	// Reloaded, if not nil, is told of settings that are served from now on.
	Reloaded func(*settings.Settings)
}

// Server is one push server.
type Server struct {
	// Static.
	log        *slog.Logger
	config     Config
	shards     []*shard
	broker     Broker
	maxConns   int64
	stuck      time.Duration // how long a loop may take over a turn
	listeners  listeners
	running    sync.WaitGroup
	metrics    *metrics
	sids       *sids
	handshakes *handshakes
	replays    *replayer
	presence   *presence.Registry
	caller     *handlers.Caller

	// Shared.
	current       atomic.Pointer[snapshot]
	settingsError atomic.Pointer[string]
	complaints    complaints
	crowd         crowd
	pressure      pressure
	leaving       atomic.Bool // Drain has begun
	draining      atomic.Bool // nobody is let in any more
	resumes       resumeCounts
	readers       readers
	rooms         occupancy
	parked        parking
	takers        chan struct{}
	talks         atomic.Int64  // with handlers, under way
	drained       chan struct{} // closed when draining begins
	failed        chan error    // a listener that ended on its own

	// Guarded by reloading.
	reloading sync.Mutex
}

type listeners struct {
	clients                            *acceptor.Acceptor
	rest                               net.Listener // what clients leaves for clientsHTTP
	events, admin                      net.Listener
	clientsHTTP, eventsHTTP, adminHTTP *http.Server
}

// New builds a Server that serves s and listens. Nothing is accepted before Start.
func New(config Config, s *settings.Settings) (*Server, error) {
	srv := &Server{log: config.Log, config: config, failed: make(chan error, 4), drained: make(chan struct{}), takers: make(chan struct{}, maxTaking), stuck: defaultStuck, sids: newSIDs(config.Replica)}
	if srv.log == nil {
		srv.log = slog.Default()
	}
	srv.caller = handlers.New(srv.log)
	srv.rooms.srv = srv
	var err error
	if srv.maxConns, err = connectionLimit(); err != nil {
		return nil, err
	}
	if err := srv.newShards(s); err != nil {
		return nil, err
	}
	loops := make([]hub.Loop, len(srv.shards))
	for i, sh := range srv.shards {
		loops[i] = sh
	}
	srv.metrics = newMetrics(srv)
	if srv.broker, err = newBroker(config, Deliveries{srv.delivering(hub.New(loops...)), srv.lost}); err != nil {
		return nil, err
	}
	srv.replays = newReplayer(srv.broker)
	srv.presence = srv.newPresence()
	srv.serveRoster()
	srv.current.Store(emptySnapshot())
	for _, sh := range srv.shards {
		srv.running.Go(sh.loop.Run)
	}
	if err := srv.listen(); err != nil {
		srv.stopLoops()
		return nil, err
	}
	if err := srv.Reload(s); err != nil {
		srv.listeners.close()
		srv.stopLoops()
		return nil, err
	}
	return srv, nil
}

// maxLoops is how many can be told apart in a session id.
const maxLoops = 256

func (srv *Server) newShards(s *settings.Settings) error {
	n := srv.config.Loops
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for i := range min(n, maxLoops) {
		sh := &shard{server: srv, table: hub.NewTable(), replays: map[uint32]*replay{}, watches: map[uint32][]*watch{}, watchers: map[presence.Scope]map[uint32]struct{}{}, number: uint8(i), start: time.Now()} // maxLoops
		l, err := loop.New(sh, loopConfig(s, plain.MaxMessage))
		if err != nil {
			return err
		}
		sh.loop = l
		srv.shards = append(srv.shards, sh)
	}
	return nil
}

func loopConfig(s *settings.Settings, maxPayload int) loop.Config {
	return loop.Config{
		HeartbeatInterval: s.Pusher.Heartbeat.Interval.Std(),
		HeartbeatTimeout:  s.Pusher.Heartbeat.Timeout.Std(),
		MaxMessage:        plain.MaxMessage,
		MaxPacket:         maxPayload,
	}
}

func (srv *Server) listen() error {
	l := &srv.listeners
	l.clientsHTTP = &http.Server{
		Handler:        oneEnd(srv.clientsHandler()),
		ReadTimeout:    handshakeTimeout,
		WriteTimeout:   handshakeTimeout,
		IdleTimeout:    handshakeTimeout,
		MaxHeaderBytes: 32 << 10, // a token of 16 KiB and then some
		ErrorLog:       slog.NewLogLogger(srv.log.Handler(), slog.LevelWarn),
	}
	l.eventsHTTP = events.NewServer(oneEnd(srv.refuseWhileDraining(events.New(srv.publishing()))))
	l.adminHTTP = &http.Server{
		Handler:           oneEnd(srv.adminHandler()),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second, // or who asks and does not read stays for good
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    8 << 10,
	}
	var err error
	if l.clients, err = acceptor.Listen(srv.config.ClientsAddr, srv, srv.log); err != nil {
		return fmt.Errorf("pusher: clients listener: %w", err)
	}
	if l.events, err = listenFor(srv.config.EventsAddr, l.eventsHTTP, func(ln net.Listener) *places { return limitPlaces(ln, maxPublishers, 0) }); err != nil {
		l.close()
		return fmt.Errorf("pusher: events listener: %w", err)
	}
	if l.admin, err = listenFor(srv.config.AdminAddr, l.adminHTTP, func(ln net.Listener) *places { return limitPlaces(ln, maxAdmins, adminPatience) }); err != nil {
		l.close()
		return fmt.Errorf("pusher: admin listener: %w", err)
	}
	srv.handshakes = limitHandshakes(l.clients.Rest(), func() bool { return srv.Room() > 0 })
	l.rest, l.clientsHTTP.ConnState, l.clientsHTTP.ConnContext = srv.handshakes, srv.handshakes.done, keepConn
	return nil
}

// listenFor listens for a server, which has so many places.
func listenFor(addr string, s *http.Server, limit func(net.Listener) *places) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says which
	}
	p := limit(ln)
	s.ConnState = p.note
	return p, nil
}

func (l *listeners) close() {
	for _, ln := range []io.Closer{l.clients, l.events, l.admin} {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// ClientsAddr is the address that clients reach.
func (srv *Server) ClientsAddr() net.Addr { return srv.listeners.clients.Addr() }

// EventsAddr is the address that publishers reach.
func (srv *Server) EventsAddr() net.Addr { return srv.listeners.events.Addr() }

// AdminAddr is the address of probes, metrics and status.
func (srv *Server) AdminAddr() net.Addr { return srv.listeners.admin.Addr() }

// Start accepts connections on all listeners.
func (srv *Server) Start() {
	l := &srv.listeners
	if p := srv.peers(); p != nil {
		p.Serve(srv.answer)
	}
	srv.running.Go(srv.releaseMemory)
	srv.running.Go(srv.tidyBroker)
	srv.running.Go(srv.watchMemory)
	srv.running.Go(srv.witness)
	for range replayWorkers {
		srv.running.Go(srv.replays.work)
	}
	srv.running.Go(func() {
		if err := l.clients.Run(); err != nil {
			srv.failed <- fmt.Errorf("pusher: clients listener: %w", err)
		}
	})
	for _, each := range []struct {
		what string
		http *http.Server
		ln   net.Listener
	}{{"clients", l.clientsHTTP, l.rest}, {"events", l.eventsHTTP, l.events}, {"admin", l.adminHTTP, l.admin}} {
		srv.running.Go(func() {
			if err := each.http.Serve(each.ln); !errors.Is(err, http.ErrServerClosed) {
				srv.failed <- fmt.Errorf("pusher: %s listener: %w", each.what, err)
			}
		})
	}
}

// Run starts the Server and, once ctx is done, drains it. It returns when
// everything has ended; the error is that of a listener that failed.
func (srv *Server) Run(ctx context.Context) error {
	srv.Start()
	var err error
	select {
	case <-ctx.Done():
	case err = <-srv.failed:
	}
	srv.Drain()
	return err
}

func (srv *Server) stopLoops() {
	srv.caller.Close()
	srv.replays.close()
	srv.broker.Close()
	for _, sh := range srv.shards {
		sh.loop.Stop()
	}
	srv.presence.Close()
}
