// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// errGuarded means that a handler's name stands for an address that no handler may have.
var errGuarded = errors.New("loopback, link-local, multicast and metadata addresses cannot be handlers")

// metadata are addresses, besides the link-local ones, at which clouds tell a machine its
// secrets.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("168.63.129.16"),
}

// guard refuses connections to what is not the cluster's but this pod's or its
// machine's. It sees the address that a name was resolved to, so a name that changes its
// mind cannot get past it.
func guard(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("handlers: %w", err)
	}
	ip := at.Addr().WithZone("").Unmap()
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return errGuarded
	}
	for _, m := range metadata {
		if ip == m {
			return errGuarded
		}
	}
	return nil
}
