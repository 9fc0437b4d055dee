// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	// maxCall bounds what a handler reads of a call: attachments are in base64.
	maxCall = 4 << 20
	// handleGrace is how long a handler that ends waits for what it has under way.
	handleGrace = 5 * time.Second
)

// handle is a handler to try things out with: it prints each call, one a line, and
// answers all of them alike.
func handle(args []string) error {
	flags := flag.NewFlagSet("klaxon handle [flags]", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8000", "address to listen on")
	answer := flags.String("answer", "{}", "the answer to every call: JSON, as docs/handlers.md has it")
	echo := flags.Bool("echo", false, "acknowledge events with their own arguments")
	pause := flags.Duration("lame-duck", 0, "how long to go on taking calls after SIGTERM, until nobody is sent here any more")
	others, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(others) > 0 || !json.Valid([]byte(*answer)) {
		return errors.New("usage: klaxon handle [--addr HOST:PORT] [--answer JSON | --echo]")
	}
	h := &printer{out: os.Stdout, answer: []byte(*answer), echo: *echo}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	fmt.Fprintln(os.Stderr, "handling what clients do at http://"+l.Addr().String())
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		time.Sleep(*pause)
		last, cancel := context.WithTimeout(context.Background(), handleGrace)
		defer cancel()
		ended <- srv.Shutdown(last)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

// printer answers calls, and prints them.
type printer struct {
	answer []byte
	echo   bool

	mu  sync.Mutex // of out
	out io.Writer
}

// ServeHTTP takes a call.
func (p *printer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCall))
	var call struct {
		Type        string            `json:"type"`
		Args        json.RawMessage   `json:"args"`
		Attachments []json.RawMessage `json:"attachments"`
	}
	var line bytes.Buffer
	if err != nil || json.Unmarshal(body, &call) != nil || json.Compact(&line, body) != nil || r.Header.Get("Ce-Type") == "" {
		http.Error(w, "this is no call of a push server", http.StatusBadRequest)
		return
	}
	line.WriteByte('\n')
	p.mu.Lock()
	_, err = p.out.Write(line.Bytes())
	p.mu.Unlock()
	if err != nil {
		http.Error(w, "the call could not be printed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if !p.echo || call.Args == nil {
		_, _ = w.Write(p.answer) // the push server may be gone; it finds out itself
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"ack": map[string]any{"args": call.Args, "attachments": call.Attachments}}) // as above
}
