// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/controllers/manifests"
	"github.com/klaxon-dev/klaxon/pusher"
)

const head = "apiVersion: push.klaxon.dev/v1alpha1\nkind: Channel\n"

// TestManifestsAreFollowed changes manifests under a running server. What has
// problems takes nothing away.
func TestManifestsAreFollowed(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a.yaml", head+"metadata: {name: one}\n")
	loader, err := manifests.NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	f := &folder{loader: loader, path: dir, publishing: manifests.OpenOnLoopback}
	f.seen = f.fingerprint()
	s, _, problems, err := f.load()
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	srv, err := pusher.New(pusher.Config{
		ClientsAddr: "127.0.0.1:0", EventsAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Drain)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go f.follow(ctx, srv)

	serves := func(want int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); len(srv.Status().Channels) != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d Channels are served, want %d", len(srv.Status().Channels), want)
			}
		}
	}
	put("b.yaml", head+"metadata: {name: two}\n")
	serves(2)
	put("a.yaml", head+"metadata: {name: one}\nspec: {limitz: {}}\n")
	put("c.yaml", head+"metadata: {name: three}\n")
	time.Sleep(3 * lookEvery) // several looks
	serves(2)
	put("a.yaml", head+"metadata: {name: one}\nspec: {limits: {connections: 5}}\n")
	serves(3)
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	serves(2)
}
