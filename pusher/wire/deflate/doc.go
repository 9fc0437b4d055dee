// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deflate is permessage-deflate (RFC 7692) for a server, always without
// context takeover in either direction: a broadcast is compressed once for all
// clients, and a connection that is silent keeps no window.
//
// Negotiate answers a client's offers, Compressor makes whole frames, Inflater
// reads what a client compressed, up to a limit. Compressor and Inflater are a
// few hundred kilobytes each and are meant to be shared by all connections of
// one loop.
//
// It must not know what messages mean, nor when compressing is worth it.
package deflate
