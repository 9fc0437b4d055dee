// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import "time"

// What a field that is not set means. The comments of the API state the same.
const (
	defaultEventBytes  = 64 << 10
	defaultConnections = 100000
	defaultEmitRate    = 100
	defaultBufferBytes = 256 << 10

	defaultHistorySize  = 1000
	defaultHistoryTTL   = 5 * time.Minute
	defaultHistoryBytes = 8 << 20

	defaultCompressBytes = 1 << 10

	defaultHeartbeatInterval = 25 * time.Second
	defaultHeartbeatTimeout  = 20 * time.Second

	defaultDrainPeriod = 30 * time.Second

	// DefaultDrainMaxPeriod is the default of a Pusher's spec.drain.maxPeriod.
	DefaultDrainMaxPeriod = 10 * time.Minute

	// maxSecretBytes bounds what one Secret key adds to the settings: far more
	// than any HMAC key or token needs.
	maxSecretBytes = 4 << 10
	// maxCertificateBytes does so for certificates, which come in chains.
	maxCertificateBytes = 64 << 10

	defaultBrokerReplicas = 1

	defaultPublishRate   = 10_000
	defaultJoinRate      = 100
	defaultAcceptRate    = 5000
	defaultMemoryPercent = 80

	defaultHandlerTimeout     = 5 * time.Second
	defaultHandlerConcurrency = 100
)
