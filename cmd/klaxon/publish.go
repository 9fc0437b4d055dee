// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/client"
)

// publish sends one event, or with "-" those that come in on standard input.
// Answers go to standard output.
func publish(args []string) error {
	var p client.Publisher
	var ev client.Event
	var token tokenSource
	var rooms, users, sessions list
	flags := flag.NewFlagSet("klaxon publish --url URL [flags] [-]", flag.ContinueOnError)
	flags.StringVar(&p.URL, "url", "", "the channel's events, http://HOST/v1/channels/CHANNEL/events (required)")
	flags.StringVar(&ev.Event, "event", "", "name of the event (default \"message\")")
	data := flags.String("data", "", "data of the event, as JSON")
	flags.Var(&rooms, "room", "room to address; may be repeated")
	flags.Var(&users, "user", "user to address; may be repeated")
	flags.Var(&sessions, "session", "session to address; may be repeated")
	flags.StringVar(&ev.ID, "id", "", "id of the event: the same id is stored once")
	timeout := flags.Duration("timeout", 30*time.Second, "how long one event may take")
	token.register(flags, "")
	others, err := parse(flags, args)
	if err != nil {
		return err
	}
	stream := len(others) == 1 && others[0] == "-"
	if p.URL == "" || len(others) > 0 && !stream {
		return errors.New("usage: klaxon publish --url URL --event NAME --data JSON, or with - for events on standard input, one JSON object a line")
	}
	if p.Token, err = token.read(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if stream {
		return p.Stream(ctx, os.Stdin, os.Stdout)
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	ev.Data, ev.Rooms, ev.Users, ev.Sessions = json.RawMessage(*data), rooms, users, sessions
	return p.Publish(ctx, ev, os.Stdout)
}
