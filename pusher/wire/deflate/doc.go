// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deflate is permessage-deflate (RFC 7692) for a server, always without
// context takeover in either direction: a broadcast is compressed once for all
// clients, and a connection that is silent keeps no window.
//
// Negotiate answers a client's offers, Compressor makes whole frames, Inflater
// reads what a client compressed, up to a limit. In use, a Compressor holds 1.2 MB
// and an Inflater 42 KB, so both are shared by many connections.
//
// It must not know what messages mean, nor when compressing is worth it.
package deflate
