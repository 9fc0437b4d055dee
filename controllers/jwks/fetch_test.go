// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	key  = `{"kty":"OKP","crv":"Ed25519","kid":"now","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	next = `{"kty":"OKP","crv":"Ed25519","kid":"next","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
)

func TestFetch(t *testing.T) {
	mux := http.NewServeMux()
	says := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, body) })
	}
	says("/good", `{"keys":[`+next+`, `+key+`],"more":1}`)
	says("/other-order", `{"keys":[`+key+`,`+next+`]}`)
	says("/private", `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"now","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}`)
	says("/shared", `{"keys":[{"kty":"oct","kid":"x","k":"MDEyMzQ1Njc4OWFiY2RlZg"}]}`)
	says("/html", `<html>`)
	says("/empty", ``)
	says("/large", `{"keys":[`+key+`],"more":"`+strings.Repeat("a", maxBytes)+`"}`)
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good", http.StatusFound) })
	mux.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusInternalServerError) })
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drips", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = fmt.Fprint(w, " ")
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	tls := httptest.NewUnstartedServer(mux)
	tls.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	tls.StartTLS()
	defer tls.Close()

	quiet := slog.New(slog.DiscardHandler)
	local := newFetcher(Options{Local: true, Log: quiet})
	local.public.Timeout = time.Second
	cluster := newFetcher(Options{Log: quiet, PrivateHosts: []string{"localhost", "*.corp.invalid"}})
	for _, c := range []struct {
		f         *fetcher
		url, want string // "": keys
	}{
		{local, srv.URL + "/good", ""},
		{local, srv.URL + "/other-order", ""},
		{local, srv.URL + "/private", "not a public key"},
		{local, srv.URL + "/shared", "not a public key"},
		{local, srv.URL + "/html", "is not a JSON Web Key Set"},
		{local, srv.URL + "/empty", "is not a JSON Web Key Set"},
		{local, srv.URL + "/large", "answers with more than 524288 bytes"},
		{local, srv.URL + "/redirect", "answers 302"},
		{local, srv.URL + "/error", "answers 500"},
		{local, srv.URL + "/nosuch", "answers 404"},
		{local, srv.URL + "/hangs", "did not answer within"},
		{local, srv.URL + "/drips", "did not answer within"},
		{local, tls.URL + "/good", "has a certificate that is not trusted"},
		{local, "http://127.0.0.1:1/", "cannot be reached"},
		{local, "ftp://127.0.0.1/", "is not https://HOST/PATH"},
		{cluster, srv.URL + "/good", "is not https://HOST/PATH"},
		{cluster, "https://user@127.0.0.1/", "is not https://HOST/PATH"},
		{cluster, tls.URL + "/good", "has an address that is not called"},
		{cluster, strings.Replace(tls.URL, "127.0.0.1", "localhost", 1) + "/good", "has an address that is not called"},
		{cluster, "https://10.255.255.1/", "has a private address"},
		{cluster, "https://[fd12::1]/", "has a private address"},
		{cluster, "https://a.corp.invalid/", "cannot be reached"},
	} {
		keys, err := c.f.fetch(context.Background(), c.url)
		if c.want == "" && (err != nil || strings.Count(string(keys), `"kid"`) != 2 || strings.Index(string(keys), `"next"`) > strings.Index(string(keys), `"now"`)) {
			t.Errorf("%s: %s, %v", c.url, keys, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "127.0.0.1")) {
			t.Errorf("%s: %v, want %q", c.url, err, c.want)
		}
	}
}

func TestPrivateHosts(t *testing.T) {
	f := newFetcher(Options{PrivateHosts: []string{"id.corp", "*.idp.internal"}})
	for host, want := range map[string]bool{
		"id.corp": true, "ID.corp": true, "id.corp.": true, "a.id.corp": false, "xid.corp": false,
		"a.idp.internal": true, "a.b.idp.internal": true, "idp.internal": false, ".idp.internal": false, "aidp.internal": false,
	} {
		if f.allowed(host) != want {
			t.Errorf("%s: not %t", host, want)
		}
	}
}
