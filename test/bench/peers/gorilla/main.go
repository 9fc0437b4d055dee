// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Gorilla is the chat hub that many push servers in Go begin as, on
// github.com/gorilla/websocket: two goroutines for each connection, a buffered
// channel of messages between them and the hub, one hub for each channel. Frames
// are prepared once for all. A client whose buffer is full is dropped. GET
// /ws/CHANNEL, POST /pub/CHANNEL.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	buffered   = 256
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = pongWait * 9 / 10
)

func main() {
	addr := flag.String("addr", "127.0.0.1:7201", "address")
	flag.Parse()
	s := &server{hubs: map[string]*hub{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/{channel}", s.connect)
	mux.HandleFunc("POST /pub/{channel}", s.publish)
	log.Fatal((&http.Server{Addr: *addr, Handler: mux, ReadHeaderTimeout: writeWait}).ListenAndServe())
}

// server has a hub for each channel.
type server struct {
	upgrader websocket.Upgrader

	// Guarded by mu.
	mu   sync.Mutex
	hubs map[string]*hub
}

func (s *server) hub(name string) *hub {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hubs[name]
	if h == nil {
		h = &hub{clients: map[*client]struct{}{}, events: make(chan *websocket.PreparedMessage), join: make(chan *client), leave: make(chan *client)}
		s.hubs[name] = h
		go h.run()
	}
	return h
}

func (s *server) connect(w http.ResponseWriter, r *http.Request) {
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	c := &client{hub: s.hub(r.PathValue("channel")), conn: conn, events: make(chan *websocket.PreparedMessage, buffered)}
	c.hub.join <- c
	go c.write()
	go c.read()
}

func (s *server) publish(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m, err := websocket.NewPreparedMessage(websocket.TextMessage, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.hub(r.PathValue("channel")).events <- m
	_, _ = io.WriteString(w, "ok")
}

// hub owns its clients.
type hub struct {
	clients     map[*client]struct{}
	events      chan *websocket.PreparedMessage
	join, leave chan *client
}

func (h *hub) run() {
	for {
		select {
		case c := <-h.join:
			h.clients[c] = struct{}{}
		case c := <-h.leave:
			h.drop(c)
		case m := <-h.events:
			for c := range h.clients {
				select {
				case c.events <- m:
				default:
					h.drop(c)
				}
			}
		}
	}
}

func (h *hub) drop(c *client) {
	if _, there := h.clients[c]; there {
		delete(h.clients, c)
		close(c.events)
	}
}

// client is one connection.
type client struct {
	hub    *hub
	conn   *websocket.Conn
	events chan *websocket.PreparedMessage
}

func (c *client) read() {
	defer func() {
		c.hub.leave <- c
		_ = c.conn.Close()
	}()
	c.conn.SetReadLimit(512)
	_ = c.conn.SetReadDeadline(time.Now().Add(pongWait))
	c.conn.SetPongHandler(func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		if _, _, err := c.conn.ReadMessage(); err != nil {
			return
		}
	}
}

func (c *client) write() {
	ticker := time.NewTicker(pingPeriod)
	defer ticker.Stop()
	defer func() { _ = c.conn.Close() }()
	for {
		var err error
		select {
		case m, more := <-c.events:
			if err = c.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
				return
			}
			if !more {
				_ = c.conn.WriteMessage(websocket.CloseMessage, nil)
				return
			}
			err = c.conn.WritePreparedMessage(m)
		case <-ticker.C:
			err = c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait))
		}
		if err != nil {
			return
		}
	}
}
