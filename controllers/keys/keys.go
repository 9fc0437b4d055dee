// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

const (
	// SeedBytes of randomness are a seed.
	SeedBytes = 32
	// renewal is how long a certificate is in use, and validity how long it holds: an
	// operator may be away for the difference.
	renewal  = 30 * 24 * time.Hour
	validity = 90 * 24 * time.Hour
	// skew is by how much clocks may differ.
	skew = 24 * time.Hour
)

// NewSeed returns a seed that nobody can guess.
func NewSeed() []byte {
	seed := make([]byte, SeedBytes)
	_, _ = rand.Read(seed) // never fails
	return seed
}

// Derive returns n bytes for one purpose. From the ones for another, or from those of
// another seed, nothing can be found out about them.
func Derive(seed []byte, purpose string, n int) []byte {
	b, err := hkdf.Key(sha256.New, seed, nil, "klaxon "+purpose, n)
	if err != nil {
		panic("keys: " + err.Error()) // only for lengths that are too large
	}
	return b
}

// Password returns 32 characters for one purpose.
func Password(seed []byte, purpose string) string {
	return base64.RawURLEncoding.EncodeToString(Derive(seed, purpose, 24))
}

// Pair is a certificate and its key, both in PEM.
type Pair struct{ Certificate, Key []byte }

// Authority vouches for the parts of one Pusher.
type Authority struct {
	seed []byte
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// NewAuthority returns the Authority of a seed. Its certificate has no end that
// anybody will see: a new seed is how it is replaced.
func NewAuthority(seed []byte) *Authority {
	a := &Authority{seed: seed, key: ed25519.NewKeyFromSeed(Derive(seed, "authority", ed25519.SeedSize))}
	template := &x509.Certificate{
		SerialNumber:          serial(seed, "authority"),
		Subject:               pkix.Name{CommonName: "klaxon broker authority"},
		NotBefore:             time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2125, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	a.cert = sign(template, template, a.key.Public(), a.key)
	return a
}

// Certificate of the Authority, in PEM.
func (a *Authority) Certificate() []byte { return certificatePEM(a.cert) }

// Issue returns a certificate for one purpose that holds now, and for two months at
// least. It is another after a month.
func (a *Authority) Issue(purpose string, names []string, usages []x509.ExtKeyUsage, now time.Time) Pair {
	begins, name := periodOf(a.seed, now), "klaxon "+purpose
	purpose = fmt.Sprintf("%s %d", purpose, begins.Unix())
	key := ed25519.NewKeyFromSeed(Derive(a.seed, "key of "+purpose, ed25519.SeedSize))
	cert := sign(&x509.Certificate{
		SerialNumber: serial(a.seed, purpose),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     names,
		NotBefore:    begins.Add(-skew),
		NotAfter:     begins.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  usages,
	}, a.cert, key.Public(), a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic("keys: " + err.Error()) // only for kinds of keys that it does not know
	}
	return Pair{certificatePEM(cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// periodOf is when the period began in which one certificate is in use. Not all seeds
// have theirs at the same time.
func periodOf(seed []byte, now time.Time) time.Time {
	offset := time.Duration(binary.BigEndian.Uint32(Derive(seed, "period", 4))) % (renewal / time.Second) * time.Second
	return now.UTC().Add(-offset).Truncate(renewal).Add(offset)
}

func serial(seed []byte, purpose string) *big.Int {
	b := Derive(seed, "serial of "+purpose, 16)
	b[0] = b[0]&0x7f | 0x40 // positive, and of the same length always
	return new(big.Int).SetBytes(b)
}

// sign signs a certificate. Ed25519 needs no randomness, so the same is the same again.
func sign(template, parent *x509.Certificate, public any, by ed25519.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err == nil {
		template, err = x509.ParseCertificate(der)
	}
	if err != nil {
		panic("keys: a certificate of ours cannot be made: " + err.Error())
	}
	return template
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
