// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package settings is the contract between the two planes: the one compiled,
// versioned document that the operator writes and a push server reads, and the
// status document that a push server answers with.
//
// It owns the structs, their strict decoding, their validation and their
// revisions. Both planes run the same Validate, so the operator never writes
// what a push server would refuse. It must not know Kubernetes: what a Channel
// or a Secret is, is the operator's business.
//
// On disk a document is either one JSON file, or a directory that holds
// index.json and the parts it names: the document's JSON, gzipped and cut, with
// a SHA-256 for each part (see Pack and Load).
package settings
