// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package compile turns Channels, the Secrets they refer to and the cluster's
// ServiceAccount keys into the settings of one Pusher.
//
// It is pure: equal input gives equal settings, and nothing here asks a
// cluster, a clock or a disk. The operator and `klaxon serve` run this same
// code, so what works on a laptop works in the cluster.
//
// It promises that the settings it returns are sealed, valid and fit into the
// stored form; that a Channel which cannot be served is left out with a reason
// while the others go on; and that no message ever shows a Secret's content.
//
// It owns the defaults that the API documents but the schema does not write.
package compile
