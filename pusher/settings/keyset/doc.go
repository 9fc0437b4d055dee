// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keyset reads JSON Web Key Sets (RFC 7517): the public keys by which an issuer's
// tokens are verified. The operator reads them to say what is wrong with one before any
// push server has it, and the push server reads them to verify; so that both mean the
// same, they share this.
//
// It promises that a set holds public keys for signatures alone, each of a size that is
// worth something, and that no key is there under another's id.
//
// It must not know where a set comes from.
package keyset
