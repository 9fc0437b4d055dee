// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
)

// The files of secrets that a node reads.
const (
	ClientsFile = "clients" // NAME:PASSWORD a line: who may connect
	RoutesFile  = "routes"  // the same for nodes; the first is the one they dial with
	AdminFile   = "admin"   // SHA-256 of the bearer token for /status and /metrics, in hexadecimal
	CertFile    = "tls.crt"
	KeyFile     = "tls.key"
	CAFile      = "ca.crt"
)

// SecretsRevision tells one set of secrets from another, by the content of its
// files; files that do not exist are left out. A rotation goes on to its next
// step when every node reports the revision of the last one.
func SecretsRevision(files map[string][]byte) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256(files[name])
		_, _ = h.Write(append([]byte(name+"\x00"), sum[:]...)) // never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
