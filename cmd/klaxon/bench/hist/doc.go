// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hist counts values in a histogram of bounded error, so that the
// percentiles of millions of latencies need a few kilobytes and those of several
// processes can be added up.
//
// It promises quantiles that are never too small and at most 1/64 too large. It
// does not know what the values are.
package hist
