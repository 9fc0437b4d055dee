// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings/keyset"
	"github.com/klaxon-dev/klaxon/pusher/settings/reach"
)

const (
	// maxBytes is the largest answer.
	maxBytes = 512 << 10
	// timeout bounds a read as a whole.
	timeout = 10 * time.Second
)

// Options say what a Source may call.
type Options struct {
	// PrivateHosts may have addresses that are not of the public internet: names, or "*."
	// and a suffix.
	PrivateHosts []string
	// Local lets all be called, also by http. Only `klaxon serve` sets it.
	Local bool
	// Log is told of what fails, in more words than Channels' authors are. Nil: slog.Default().
	Log *slog.Logger
}

type fetcher struct {
	options         Options
	public, private http.Client
}

func newFetcher(options Options) *fetcher {
	if options.Log == nil {
		options.Log = slog.Default()
	}
	f := &fetcher{options: options, public: newClient(reach.Public), private: newClient(reach.Cluster)}
	if options.Local {
		f.public = newClient(nil)
	}
	return f
}

func newClient(guard reach.Guard) http.Client {
	dialer := &net.Dialer{Timeout: timeout, Control: guard}
	return http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: timeout, MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		},
	}
}

// fetch reads one set.
func (f *fetcher) fetch(ctx context.Context, rawURL string) (json.RawMessage, error) {
	keys, err := f.get(ctx, rawURL)
	if err != nil && ctx.Err() == nil {
		f.options.Log.Warn("the keys of an issuer cannot be fetched; what was known stays in use", "url", rawURL, "error", err)
		err = plain(err)
	}
	return keys, err
}

func (f *fetcher) get(ctx context.Context, rawURL string) (json.RawMessage, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !f.options.Local) {
		return nil, &answerError{"is not https://HOST/PATH"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, &answerError{"is not https://HOST/PATH"}
	}
	req.Header.Set("Accept", "application/json")
	client := &f.public
	if f.allowed(u.Hostname()) {
		client = &f.private
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err //nolint:wrapcheck // plain does it
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, &answerError{fmt.Sprintf("answers %d", resp.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes+1))
	if err != nil {
		return nil, err //nolint:wrapcheck // plain does it
	}
	if len(body) > maxBytes {
		return nil, &answerError{fmt.Sprintf("answers with more than %d bytes", maxBytes)}
	}
	keys, err := keyset.Compact(body)
	if err != nil {
		return nil, &answerError{err.Error()}
	}
	return keys, nil
}

// allowed reports whether a host may have a private address.
func (f *fetcher) allowed(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, p := range f.options.PrivateHosts {
		suffix, all := strings.CutPrefix(strings.ToLower(p), "*")
		if host == suffix && !all || all && strings.HasSuffix(host, suffix) && len(host) > len(suffix) {
			return !f.options.Local
		}
	}
	return false
}

// answerError is about what was answered, and safe to show.
type answerError struct{ text string }

func (e *answerError) Error() string { return e.text }

// plain says what a Channel's author may know: no address, and nothing that was answered.
func plain(err error) error {
	var answered *answerError
	var untrusted *tls.CertificateVerificationError
	var slow net.Error
	switch {
	case errors.As(err, &answered):
		return answered
	case errors.Is(err, reach.ErrPrivate):
		return errors.New("has a private address, and the operator has not been told that it may be called (jwks.privateHosts)")
	case errors.Is(err, reach.ErrOwn):
		return errors.New("has an address that is not called: loopback, link-local, multicast or metadata")
	case errors.As(err, &untrusted):
		return errors.New("has a certificate that is not trusted")
	case errors.As(err, &slow) && slow.Timeout():
		return fmt.Errorf("did not answer within %s", timeout)
	}
	return errors.New("cannot be reached")
}
