// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

var both = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}

// TestTheSameSeedGivesTheSameKeys, and another gives others.
func TestTheSameSeedGivesTheSameKeys(t *testing.T) {
	seed, other := NewSeed(), NewSeed()
	now := time.Now()
	if a, b := NewAuthority(seed), NewAuthority(seed); !bytes.Equal(a.Certificate(), b.Certificate()) {
		t.Error("two authorities of a seed")
	} else if p, q := a.Issue("node", []string{"a"}, both, now), b.Issue("node", []string{"a"}, both, now); !bytes.Equal(p.Certificate, q.Certificate) || !bytes.Equal(p.Key, q.Key) {
		t.Error("two certificates of a seed")
	}
	if p, q := NewAuthority(seed).Issue("node", []string{"a"}, both, now), NewAuthority(seed).Issue("client", []string{"a"}, both, now); bytes.Equal(p.Key, q.Key) {
		t.Error("one key for two purposes")
	}
	if bytes.Equal(NewAuthority(seed).Certificate(), NewAuthority(other).Certificate()) || Password(seed, "x") == Password(other, "x") || Password(seed, "x") == Password(seed, "y") {
		t.Error("secrets are the same that must not be")
	}
	if n := len(Password(seed, "x")); n != 32 {
		t.Errorf("a password of %d characters", n)
	}
}

// TestCertificatesHold at any time, for two months to come, and while clocks differ.
func TestCertificatesHold(t *testing.T) {
	for range 3 {
		a := NewAuthority(NewSeed())
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(a.Certificate())
		var before []byte
		changes := 0
		for day := 0; day < 365; day += 5 {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day)
			p := a.Issue("node", []string{"edge-broker.shop.svc"}, both, now)
			if !bytes.Equal(p.Certificate, before) {
				changes++
				before = p.Certificate
			}
			pair, err := tls.X509KeyPair(p.Certificate, p.Key)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []time.Time{now.Add(-skew + time.Minute), now, now.Add(validity - renewal)} {
				for _, usage := range both {
					if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "edge-broker.shop.svc", CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
						t.Fatalf("issued at %v, at %v: %v", now, at, err)
					}
				}
			}
		}
		if changes != 13 && changes != 14 && changes != 12 {
			t.Errorf("%d certificates in a year", changes)
		}
	}
}

func TestAClientIsNoServer(t *testing.T) {
	a := NewAuthority(NewSeed())
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.Certificate())
	p := a.Issue("client", []string{"edge-pusher"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, time.Now())
	pair, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a client's certificate is taken for a server's")
	}
}
