// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klaxon-dev/klaxon/controllers/jwks"
	"github.com/klaxon-dev/klaxon/controllers/manifests"
	"github.com/klaxon-dev/klaxon/pusher"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// lookEvery is how often the manifests are looked at for changes.
const lookEvery = 300 * time.Millisecond

// keyPatience is how long an issuer's keys are waited for.
const keyPatience = 5 * time.Second

// serve runs the push server on this machine from manifests on disk.
func serve(args []string) error {
	var config pusher.Config
	flags := flag.NewFlagSet("klaxon serve", flag.ContinueOnError)
	path := flags.String("f", "", "folder or file with Channels, Pushers and Secrets (required)")
	flags.StringVar(&config.ClientsAddr, "clients-addr", "127.0.0.1:8080", "address for clients")
	flags.StringVar(&config.EventsAddr, "events-addr", "127.0.0.1:8081", "address for publishers")
	flags.StringVar(&config.AdminAddr, "admin-addr", "127.0.0.1:8082", "address for probes, metrics and status")
	withToken := flags.Bool("require-token", false, "ask publishers on this machine for a token too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *path == "" || flags.NArg() > 0 {
		return errors.New("usage: klaxon serve -f DIR (see klaxon serve -h)")
	}
	publishing := manifests.OpenOnLoopback
	if *withToken {
		publishing = manifests.WithToken
	}
	loader, err := manifests.NewLoader()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	folder := &folder{loader: loader, path: *path, publishing: publishing, issuers: jwks.New(jwks.Options{Local: true, Log: logger})}
	folder.issuers.Subscribe(func() { folder.newKeys.Store(true) })
	go func() { _ = folder.issuers.Start(ctx) }() // it returns nil
	folder.seen = folder.fingerprint()
	first, set, problems, err := folder.load()
	if err != nil {
		return err
	}
	tell(problems)
	if len(first.Channels) == 0 {
		return fmt.Errorf("%s has no Channel to serve", *path)
	}
	config.Log = logger
	srv, err := pusher.New(config, first)
	if err != nil {
		return err
	}
	printHowTo(os.Stdout, srv, first, set)
	go folder.follow(ctx, srv)
	return srv.Run(ctx)
}

// validate checks manifests and says what is wrong with them.
func validate(args []string) error {
	flags := flag.NewFlagSet("klaxon validate", flag.ContinueOnError)
	path := flags.String("f", "", "folder or file with Channels, Pushers and Secrets (required)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *path == "" || flags.NArg() > 0 {
		return errors.New("usage: klaxon validate -f DIR")
	}
	loader, err := manifests.NewLoader()
	if err != nil {
		return err
	}
	set, problems, err := loader.Load(*path)
	if err != nil {
		return err
	}
	_, more := set.Local(manifests.WithToken, func(string) (json.RawMessage, error) { return json.RawMessage(`{}`), nil }) // nothing is fetched
	if problems = append(problems, more...); len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(os.Stderr, p)
		}
		return fmt.Errorf("%d problems", len(problems))
	}
	fmt.Printf("%d Channels, %d Pushers: no problems\n", len(set.Channels), len(set.Pushers))
	return nil
}

// folder is the place of the manifests and what was last seen there.
type folder struct {
	loader     *manifests.Loader
	path       string
	publishing manifests.Publishing
	seen       string
	issuers    *jwks.Source
	newKeys    atomic.Bool
}

// keySet waits a moment for keys that are fetched for the first time.
func (f *folder) keySet(url string) (json.RawMessage, error) {
	for end := time.Now().Add(keyPatience); ; time.Sleep(keyPatience / 100) {
		keys, err := f.issuers.Keys(url)
		if !errors.Is(err, jwks.ErrPending) || time.Now().After(end) {
			return keys, err //nolint:wrapcheck // said to the manifest's author
		}
	}
}

func (f *folder) load() (*settings.Settings, *manifests.Set, []manifests.Problem, error) {
	set, problems, err := f.loader.Load(f.path)
	if err != nil {
		return nil, nil, nil, err
	}
	s, more := set.Local(f.publishing, f.keySet)
	problems = append(problems, more...)
	if s == nil {
		tell(problems)
		return nil, nil, nil, errors.New("the Pusher cannot be served")
	}
	return s, set, problems, nil
}

func tell(problems []manifests.Problem) {
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, "problem:", p)
	}
}

// follow reloads the manifests whenever they change. While they have problems,
// what was served before still is: a slip of the pen must not take a Channel
// away from its clients.
func (f *folder) follow(ctx context.Context, srv *pusher.Server) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		status := srv.Status()
		for _, url := range status.UnknownKeyURLs {
			f.issuers.Refresh(url)
		}
		now := f.fingerprint()
		if !f.newKeys.Swap(false) && now == f.seen {
			continue
		}
		f.seen = now
		s, _, problems, err := f.load()
		if len(problems) > 0 {
			tell(problems)
			err = errors.New("the manifests have problems")
		}
		if err == nil && s.Revision != status.Revision {
			if err = srv.Reload(s); err == nil {
				fmt.Printf("reloaded: %d Channels\n", len(s.Channels))
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "still serving what was served before:", err)
		}
	}
}

// fingerprint changes whenever a manifest may have.
func (f *folder) fingerprint() string {
	files, err := manifests.Files(f.path)
	if err != nil {
		return err.Error()
	}
	var out string
	for _, file := range files {
		if fi, err := os.Stat(file); err == nil {
			out += fmt.Sprintf("%s %d %d\n", file, fi.ModTime().UnixNano(), fi.Size())
		}
	}
	return out
}
