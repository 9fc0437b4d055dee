// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Command pusher is the push server: it serves the Channels of one settings
// document, which it reads again whenever it changes.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/klaxon-dev/klaxon/pusher"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// version is set by the linker.
var version = "dev"

func main() {
	if err := run(); err != nil {
		slog.Error("pusher", "error", err)
		os.Exit(1)
	}
}

func run() error {
	var config pusher.Config
	path := flag.String("settings", "", "settings document: a JSON file, or a directory with index.json and parts (required)")
	flag.StringVar(&config.ClientsAddr, "clients-addr", ":8080", "address for clients")
	flag.StringVar(&config.EventsAddr, "events-addr", ":8081", "address for publishers")
	flag.StringVar(&config.AdminAddr, "admin-addr", ":8082", "address for probes, metrics and status")
	address := flag.String("peer-addr", "", "where other replicas reach the clients listener, host or host:port; empty: the address by which NATS is reached")
	flag.IntVar(&config.Loops, "loops", 0, "event loops; 0: one for each core")
	level := slog.LevelInfo
	flag.TextVar(&level, "log-level", level, "debug, info, warn or error")
	showVersion := flag.Bool("version", false, "print the version and end")
	flag.Parse()
	if *showVersion {
		fmt.Println(version)
		return nil
	}
	if *path == "" || flag.NArg() > 0 {
		return fmt.Errorf("usage: pusher --settings FILE|DIR (see --help)")
	}
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})))

	// Before the settings are read, so that a change in between is not missed.
	served := pusher.Fingerprint(*path)
	s, err := settings.Load(*path)
	if err != nil {
		return err
	}
	if s.Pusher.NATS != nil {
		goodbye, err := overNATS(&config, &s.Pusher, *address)
		if err != nil {
			return err
		}
		defer goodbye()
	}
	srv, err := pusher.New(config, s)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go srv.Watch(ctx, *path, served)
	slog.Info("ready", "version", version, "clients", srv.ClientsAddr(), "events", srv.EventsAddr(), "admin", srv.AdminAddr())
	return srv.Run(ctx)
}
