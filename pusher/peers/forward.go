// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"time"
)

// forwarded marks a request that has been passed on, so that it is not passed on
// again: a session's id may name a replica whose address is another's now.
const forwarded = "Klaxon-Forwarded"

// dialTimeout is how long another replica may take to accept a connection.
const dialTimeout = 2 * time.Second

type addressKey struct{}

// Forward passes a request on to the replica that has its session, and the answer
// back, an upgraded connection too. It reports false, and nothing is answered, when
// there is none.
func (m *Mesh) Forward(w http.ResponseWriter, r *http.Request, owner uint32) bool {
	address, ok := m.find(owner)
	if !ok || r.Header.Get(forwarded) != "" {
		return false
	}
	m.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), addressKey{}, address)))
	return true
}

func (m *Mesh) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			address, _ := r.In.Context().Value(addressKey{}).(string)
			r.Out.URL.Scheme, r.Out.URL.Host = "http", address
			r.Out.Host = r.In.Host // which its origin may be held to
			r.Out.Header.Set(forwarded, "1")
		},
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
		// The owner has died, or is about to be known to have: the client begins anew.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			m.config.Log.Debug("passing a request on", "error", err)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"code":1,"message":"Session ID unknown"}`)) // the client may be gone
		},
		ErrorLog: slog.NewLogLogger(m.config.Log.Handler(), slog.LevelDebug),
	}
}
