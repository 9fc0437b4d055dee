// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = encode("CERTIFICATE", der)
	return a
}

// issue makes a certificate for a party on loopback.
func (a *authority) issue(ends time.Time) (cert, key string) {
	a.t.Helper()
	k := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(ends.UnixNano()), Subject: pkix.Name{CommonName: "party"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		IPAddresses: []net.IP{net.ParseIP(host)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, k.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("EC PRIVATE KEY", secret)
}

// dir is a --tls-dir with a certificate of this authority, which trusts it and
// the others.
func (a *authority) dir(others ...*authority) string {
	dir := a.t.TempDir()
	a.fill(dir, time.Now().Add(time.Hour), others...)
	return dir
}

func (a *authority) fill(dir string, ends time.Time, others ...*authority) {
	cert, key := a.issue(ends)
	trusted := a.pem
	for _, o := range others {
		trusted += o.pem
	}
	write(a.t, filepath.Join(dir, "ca.crt"), trusted)
	write(a.t, filepath.Join(dir, "tls.crt"), cert)
	write(a.t, filepath.Join(dir, "tls.key"), key)
}

// client is the TLS side of a client that trusts another authority, or this one.
func (a *authority) client(trusts *authority) nats.Option {
	cert, key := a.issue(time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		a.t.Fatal(err)
	}
	cas := x509.NewCertPool()
	cas.AddCert(trusts.cert)
	return nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: cas, Certificates: []tls.Certificate{pair}})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// try connects once.
func (b *broker) try(opts ...nats.Option) error {
	nc, err := nats.Connect("nats://"+b.clients, append(opts, nats.NoReconnect(), nats.Timeout(10*time.Second))...)
	if err != nil {
		return err
	}
	defer nc.Close()
	return nc.Flush()
}

// TestClientsRefused: a client needs a password and a certificate.
func TestClientsRefused(t *testing.T) {
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	b := solo(t, "--credentials="+secretsDir(t), "--tls-dir="+ours.dir())
	b.start()
	b.waitReady()
	login := nats.UserInfo("pusher-1", clientPassword)
	trust := x509.NewCertPool()
	trust.AddCert(ours.cert)
	for name, c := range map[string]struct {
		opts []nats.Option
		want string // "": is let in
	}{
		"right":                          {[]nats.Option{login, ours.client(ours)}, ""},
		"wrong password":                 {[]nats.Option{nats.UserInfo("pusher-1", "a-wrong-password-of-tests"), ours.client(ours)}, "Authorization Violation"},
		"a node's password":              {[]nats.Option{nats.UserInfo("node-1", routePassword), ours.client(ours)}, "Authorization Violation"},
		"no password":                    {[]nats.Option{ours.client(ours)}, "Authorization Violation"},
		"certificate of others":          {[]nats.Option{login, others.client(ours)}, "tls"},
		"no certificate":                 {[]nats.Option{login, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: trust})}, "tls"},
		"a client that trusts others":    {[]nats.Option{login, ours.client(others)}, "unknown authority"},
		"a client that wants no TLS 1.3": {[]nats.Option{login, nats.Secure(&tls.Config{MaxVersion: tls.VersionTLS12, RootCAs: trust})}, "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			err := b.try(c.opts...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestNodesRefused: a node needs the nodes' password and a certificate.
func TestNodesRefused(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	all := trio(t, "--credentials="+secretsDir(t), "--tls-dir="+ours.dir())
	for _, b := range all {
		b.start()
	}
	waitWhole(t, all)
	intruder, rest := all[2], all[:2]
	rightArgs := intruder.args
	for name, c := range map[string]struct {
		password, tls, refusal string
	}{
		"password": {"another-password-of-tests", ours.dir(), "Authorization Violation"},
		"CA":       {routePassword, others.dir(ours), "TLS route handshake error"},
	} {
		t.Run(name, func(t *testing.T) {
			intruder.kill()
			dir := secretsDir(t)
			write(t, filepath.Join(dir, "routes"), "node-1:"+c.password)
			intruder.args = append(slices.Clone(rightArgs), "--credentials="+dir, "--tls-dir="+c.tls)
			intruder.start()
			eventually(t, "the intruder is turned away", func() error { return intruder.logged(c.refusal) })
			for _, b := range rest {
				eventually(t, "the intruder is turned away", func() error { return b.logged(c.refusal) })
				eventually(t, "node "+b.name+" has one peer", func() error {
					if metrics, err := b.get("/metrics"); err != nil || !strings.Contains(string(metrics), "\nklaxon_broker_peers 1\n") {
						return fmt.Errorf("it has others: %w", err)
					}
					return nil
				})
			}
			if err := intruder.probe("/readyz"); err == nil {
				t.Error("the intruder has joined")
			}
			if _, err := whole(all); err == nil {
				t.Error("whole, though one node was turned away")
			}
		})
	}
	intruder.kill()
	intruder.args = rightArgs
	intruder.start()
	waitWhole(t, all)
}

// TestCertificatesChange: a new certificate and CA are used without a restart,
// and connections that are there stay; broken files change nothing.
func TestCertificatesChange(t *testing.T) {
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	dir := before.dir()
	b := solo(t, "--credentials="+secretsDir(t), "--tls-dir="+dir)
	b.start()
	b.waitReady()
	login := nats.UserInfo("pusher-1", clientPassword)
	old := connect(t, []*broker{b}, before.client(before), nats.NoReconnect())

	write(t, filepath.Join(dir, "tls.crt"), "nonsense")
	eventually(t, "the broken certificate is reported", func() error {
		if st, err := b.status(); err != nil || !strings.Contains(st.ReloadError, "tls.crt") {
			return fmt.Errorf("%q, %w", st.ReloadError, err)
		}
		return nil
	})
	if err := b.try(login, before.client(before)); err != nil {
		t.Errorf("with a broken file on disk: %v", err)
	}

	ends := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	after.fill(dir, ends)
	eventually(t, "the new certificate is served", func() error {
		if st, err := b.status(); err != nil || !st.CertificateEnds.Equal(ends) || st.ReloadError != "" {
			return fmt.Errorf("%+v, %w", st, err)
		}
		return nil
	})
	if err := b.try(login, after.client(after)); err != nil {
		t.Errorf("by the new CA: %v", err)
	}
	if err := b.try(login, before.client(after)); err == nil {
		t.Error("a client with a certificate of the old CA was let in")
	}
	if err := old.Conn().Flush(); err != nil {
		t.Errorf("the connection that was there: %v", err)
	}
}

// mount is a directory whose files are all replaced at once, as the kubelet
// does it.
type mount struct {
	t    *testing.T
	path string
}

func (m *mount) set(files map[string]string) (revision string) {
	m.t.Helper()
	dir := m.t.TempDir()
	content := map[string][]byte{}
	for name, text := range files {
		write(m.t, filepath.Join(dir, name), text)
		content[name] = []byte(text)
	}
	if err := os.Symlink(dir, m.path+".new"); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(m.path+".new", m.path); err != nil {
		m.t.Fatal(err)
	}
	return status.SecretsRevision(content)
}

// TestRotation changes all secrets of three nodes while a publisher runs: first
// both are valid, then the new ones are used, then the old ones are gone. Each
// step waits for all nodes to have taken the last one.
func TestRotation(t *testing.T) {
	t.Parallel()
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	m := &mount{t: t, path: filepath.Join(t.TempDir(), "secrets")}
	files := func(signer *authority, cas, clients, routes string) map[string]string {
		cert, key := signer.issue(time.Now().Add(time.Hour))
		return map[string]string{"tls.crt": cert, "tls.key": key, "ca.crt": cas, "clients": clients, "routes": routes}
	}
	oldClient, newClient := "pusher-1:"+clientPassword+"\n", "pusher-2:"+nextPassword+"\n"
	oldRoute, newRoute := "node-1:"+routePassword+"\n", "node-2:"+nextPassword+"\n"
	m.set(files(before, before.pem, oldClient, oldRoute))
	all := trio(t, "--credentials="+m.path, "--tls-dir="+m.path)
	for _, b := range all {
		b.start()
	}
	waitWhole(t, all)

	var rotated atomic.Bool
	oldTLS, newTLS := clientConfig(before, after), clientConfig(after, before)
	current := func() *tls.Config {
		if rotated.Load() {
			return newTLS
		}
		return oldTLS
	}
	js := connect(t, all, nats.UserInfoHandler(func() (string, string) {
		if rotated.Load() {
			return "pusher-2", nextPassword
		}
		return "pusher-1", clientPassword
	}), nats.ClientTLSConfig(
		func() (tls.Certificate, error) { return current().Certificates[0], nil },
		func() (*x509.CertPool, error) { return current().RootCAs, nil }))
	stream := createStream(t, js)
	p := publish(t, js)

	change := func(files map[string]string) {
		t.Helper()
		want := m.set(files)
		for _, b := range all {
			eventually(t, "node "+b.name+" uses the changed secrets", func() error {
				if st, err := b.status(); err != nil || st.SecretsRevision != want {
					return fmt.Errorf("%q, error %q, %w", st.SecretsRevision, st.ReloadError, err)
				}
				return nil
			})
		}
		waitWhole(t, all)
	}
	change(files(before, before.pem+after.pem, oldClient+newClient, oldRoute+newRoute))
	left := connect(t, all[:1], before.client(before), nats.NoReconnect()) // does not learn of the new ones
	rotated.Store(true)
	change(files(after, before.pem+after.pem, oldClient+newClient, newRoute+oldRoute))
	if err := left.Conn().Flush(); err != nil {
		t.Errorf("with the old password, before it is taken out: %v", err)
	}
	change(files(after, after.pem, newClient, newRoute))
	eventually(t, "a client with the old password is cut off", func() error {
		if !left.Conn().IsClosed() {
			return errors.New("it is still connected")
		}
		return nil
	})
	if err := all[0].try(nats.UserInfo("pusher-1", clientPassword), after.client(after)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("with the old password: %v", err)
	}
	if err := all[0].try(nats.UserInfo("pusher-2", nextPassword), before.client(after)); err == nil {
		t.Error("a client with a certificate of the old CA was let in")
	}
	all[0].kill() // so that it dials, and is dialled, with the new ones alone
	all[0].start()
	waitWhole(t, all)
	p.end()
	holds(t, stream, p.acked)
}

// clientConfig is of one authority and trusts both.
func clientConfig(a, other *authority) *tls.Config {
	cert, key := a.issue(time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		a.t.Fatal(err)
	}
	cas := x509.NewCertPool()
	cas.AddCert(a.cert)
	cas.AddCert(other.cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: cas, Certificates: []tls.Certificate{pair}}
}
