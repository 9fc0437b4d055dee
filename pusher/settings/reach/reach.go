// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// Errors of Guards.
var (
	// ErrOwn means an address that is not anybody's but the caller's own machine's.
	ErrOwn = errors.New("loopback, link-local, multicast and metadata addresses are not called")
	// ErrPrivate means an address that is not of the public internet.
	ErrPrivate = errors.New("private addresses are not called")
)

// metadata are addresses, besides the link-local ones, at which clouds tell a machine its
// secrets.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("168.63.129.16"),
}

// notPublic are ranges that no route of the internet leads to (the IANA special-purpose
// address registries), besides those that netip knows. Some embed another address, and
// can stand for any.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared, RFC 6598
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"),   // NAT64
	netip.MustParsePrefix("64:ff9b:1::/48"), // NAT64
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), // Teredo and others
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // 6to4
	netip.MustParsePrefix("fec0::/10"),
}

// Guard is a net.Dialer's Control. It sees the address that a name was resolved to, so a
// name that changes its mind cannot get past it.
type Guard func(network, address string, c syscall.RawConn) error

// Cluster refuses what is not the cluster's but the caller's machine's.
func Cluster(_, address string, _ syscall.RawConn) error {
	_, err := check(address)
	return err
}

// Public refuses what is not of the public internet.
func Public(_, address string, _ syscall.RawConn) error {
	ip, err := check(address)
	if err != nil {
		return err
	}
	if ip.IsPrivate() || slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return ErrPrivate
	}
	return nil
}

func check(address string) (netip.Addr, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reach: %w", err)
	}
	ip := at.Addr().WithZone("").Unmap()
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) ||
		slices.Contains(metadata, ip) {
		return ip, ErrOwn
	}
	return ip, nil
}
