// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sign sets the headers by which a backend knows whose call it is, and that it is fresh
// (Standard Webhooks, https://www.standardwebhooks.com, version 1: HMAC-SHA256 over id,
// time and body). Several keys are there while one replaces the other: a signature by any
// that the backend knows is enough.
func sign(h http.Header, keys [][]byte, id string, at time.Time, body []byte) {
	if len(keys) == 0 {
		return
	}
	seconds := strconv.FormatInt(at.Unix(), 10)
	all := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		for _, part := range [][]byte{[]byte(id), {'.'}, []byte(seconds), {'.'}, body} {
			mac.Write(part) // never fails
		}
		all[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", seconds)
	h.Set("Webhook-Signature", strings.Join(all, " "))
}
