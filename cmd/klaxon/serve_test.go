// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klaxon-dev/klaxon/controllers/jwks"
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
	f := &folder{loader: loader, path: dir, publishing: manifests.OpenOnLoopback, issuers: jwks.New(jwks.Options{})}
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

// TestIssuersKeysAreFetched for whoever tries things out with an issuer on this machine.
func TestIssuersKeysAreFetched(t *testing.T) {
	const key = `{"kty":"OKP","crv":"Ed25519","kid":"now","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"keys":[`+key+`]}`)
	}))
	t.Cleanup(issuer.Close)
	file := filepath.Join(t.TempDir(), "a.yaml")
	put := func(path string) {
		t.Helper()
		text := head + "metadata: {name: one}\nspec: {clients: {jwt: [{issuer: i, audiences: [a], jwksURL: '" + issuer.URL + path + "'}]}}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loader, err := manifests.NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	f := &folder{loader: loader, path: file, issuers: jwks.New(jwks.Options{Local: true, Log: slog.New(slog.DiscardHandler)})}
	go func() { _ = f.issuers.Start(t.Context()) }()
	put("/keys")
	if s, _, problems, err := f.load(); err != nil || len(problems) > 0 || !strings.Contains(string(s.Channels[0].Clients.JWT[0].JWKS), `"now"`) {
		t.Errorf("%+v, %v, %v", s, problems, err)
	}
	put("/nosuch")
	if _, _, problems, err := f.load(); err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, "KeysUnavailable") || !strings.Contains(problems[0].Message, "answers 404") {
		t.Errorf("%v, %v", problems, err)
	}
	if err := validate([]string{"-f", file}); err != nil {
		t.Errorf("what is fetched later is found wrong: %v", err)
	}
}
