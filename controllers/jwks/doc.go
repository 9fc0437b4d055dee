// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package jwks fetches the public keys of token issuers (JSON Web Key Sets, RFC 7517) from
// their URLs, keeps them fresh and keeps them while an issuer is away.
//
// The operator does it, and push servers get keys with their settings: what faces the internet
// needs no way out, and an issuer is asked once for a cluster, not once by each replica.
package jwks
