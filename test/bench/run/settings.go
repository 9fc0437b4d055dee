// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	channels = 1000  // c0, c1 and so on, for everyone
	users    = 10000 // of the channel "users", each with a token and a room
)

// key signs the users' tokens.
var key = []byte("a key that is good enough for a benchmark")

// writeSettings writes settings for Klaxon's push server: Channels with the
// defaults of a Channel.
func writeSettings(file string) error {
	names := []string{"users"}
	for i := range channels {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	slices.Sort(names)
	var all []map[string]any
	for _, name := range names {
		clients := map[string]any{"anonymous": true}
		if name == "users" {
			clients = map[string]any{"jwt": []map[string]any{{"issuer": "bench", "audiences": []string{"bench"}, "hmacKey": key}}}
		}
		all = append(all, map[string]any{
			"name": name, "revision": "bench", "clients": clients, "publishers": map[string]any{},
			"limits":      map[string]any{"eventBytes": 64 << 10, "connections": 100000},
			"socketIO":    map[string]any{"namespace": "/" + name},
			"slowClients": map[string]any{"bufferBytes": 256 << 10, "policy": "Disconnect"},
		})
	}
	b, err := json.Marshal(map[string]any{
		"format": 1, "revision": "bench", "channels": all,
		"pusher": map[string]any{
			"namespace": "default", "name": "bench", "openPublishing": true, "admin": map[string]any{},
			"heartbeat": map[string]any{"interval": "25s", "timeout": "20s"}, "drain": map[string]any{"period": "30s", "maxPeriod": "10m"},
		},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// writeTokens writes a token for each user, one on each line.
func writeTokens(file string) error {
	var b strings.Builder
	part := base64.RawURLEncoding.EncodeToString
	for i := range users {
		claims := fmt.Sprintf(`{"iss":"bench","aud":"bench","sub":"user-%d","rooms":["room-*"],"exp":%d}`, i, time.Now().Add(24*time.Hour).Unix())
		signed := part([]byte(`{"alg":"HS256"}`)) + "." + part([]byte(claims))
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		fmt.Fprintf(&b, "%s.%s\n", signed, part(mac.Sum(nil)))
	}
	return os.WriteFile(file, []byte(b.String()), 0o600)
}
