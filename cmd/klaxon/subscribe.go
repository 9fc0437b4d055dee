// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/client"
)

// subscribe prints the messages of a channel, one a line. It fails when the
// server ends it, or when --timeout comes before --count events have.
func subscribe(args []string) error {
	var s client.Subscriber
	var token tokenSource
	var rooms list
	flags := flag.NewFlagSet("klaxon subscribe URL [flags]", flag.ContinueOnError)
	flags.Var(&rooms, "room", "room to join; may be repeated")
	flags.IntVar(&s.Events, "count", 0, "end after this many events; 0: do not")
	timeout := flags.Duration("timeout", 0, "end after this long; 0: do not")
	token.register(flags, "")
	others, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(others) != 1 || s.Events < 0 {
		return errors.New("usage: klaxon subscribe ws://HOST/ws/CHANNEL [--room ROOM] [--count N] [--timeout D]")
	}
	s.URL, s.Rooms = others[0], rooms
	if s.Token, err = token.read(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	n, err := s.Subscribe(ctx, os.Stdout)
	var closed *client.Closed
	switch {
	case errors.Is(err, context.DeadlineExceeded) && s.Events > 0:
		return fmt.Errorf("%d of %d events came within %s", n, s.Events, *timeout)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil
	case errors.As(err, &closed) && closed.Code == 1000 && s.Events == 0:
		fmt.Fprintln(os.Stderr, closed)
		return nil
	}
	return err
}
