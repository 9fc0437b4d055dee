// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import "net/http"

const requestOrigin = "Webhook-Request-Origin"

// allowWebHook answers a sender of CloudEvents that asks whether it may send here
// (HTTP 1.1 Web Hooks for Event Delivery, section 4). The answer is for everybody, and
// the same for channels that do not exist: who may publish is decided by the
// token that comes with each event.
func allowWebHook(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", "GET, POST")
	h.Set("Webhook-Allowed-Origin", r.Header.Get(requestOrigin))
	h.Set("Webhook-Allowed-Rate", "*")
}
