// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"net/http"
	"strings"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// trace gives events the traceparent of the request that publishes them, if their
// channel's clients are to know it. A CloudEvent may have one of its own.
func trace(events []*wire.Event, r *http.Request, ch *settings.Channel) {
	said := ""
	if ch.TraceContext {
		said = r.Header.Get("Traceparent")
	}
	for _, ev := range events {
		switch {
		case !ch.TraceContext:
			ev.Trace = ""
		case !isTraceparent(ev.Trace) && isTraceparent(said):
			ev.Trace = said
		case !isTraceparent(ev.Trace):
			ev.Trace = "" // ignored, as the specification has it
		}
	}
}

// isTraceparent reports whether s is a traceparent of a known form (W3C Trace Context,
// section 3.2).
func isTraceparent(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) != 4 {
		return false
	}
	for i, n := range [...]int{2, 32, 16, 2} {
		if len(parts[i]) != n || strings.Trim(parts[i], "0123456789abcdef") != "" {
			return false
		}
	}
	return parts[0] != "ff" && strings.Trim(parts[1], "0") != "" && strings.Trim(parts[2], "0") != ""
}
