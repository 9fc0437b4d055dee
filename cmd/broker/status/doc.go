// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status is what a broker node says of itself at /status, and what
// follows from it: whether another node may be stopped, and whether changed
// secrets have arrived. The node writes it, and whoever rolls out an update
// reads it, so it knows neither NATS nor Kubernetes and imports nothing of the
// project.
//
// Promise: when Whole returns nil for the answers of all nodes, then any one of
// them can be stopped, and the others have a quorum and everything that was
// acknowledged. When WholeWithout does, the one that is left out can be, and only
// that one. Nothing is promised for answers that were not asked for anew
// after the last node was stopped.
package status
