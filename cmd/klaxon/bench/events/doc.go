// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package events is the publisher of a benchmark: it POSTs events with package
// mark's marks over a few kept-alive connections, the links.
//
// It promises that each group's events are numbered from 1 and sent in order, for
// a group has one link, and that all answers are read and counted. When an event is
// due, and which group it is for, its caller decides: one goroutine for each link.
// The requests are made by hand, for net/http would cost the client more than
// publishing costs the server.
package events
