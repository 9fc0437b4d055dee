// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pusher is the push server: how its parts are joined.
//
// It owns the three listeners (clients, events, admin), the loops with their
// sessions, the reload of settings, the drain, probes and metrics. New settings
// are built completely before the old are let go; any error keeps the old and
// says so in /status.
//
// It faces the internet and knows nothing of Kubernetes: what it does is decided
// by one settings document (package settings) and by its flags.
package pusher
