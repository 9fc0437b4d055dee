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
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// certificate makes one that vouches for itself, in PEM.
func certificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rest})
}

// shown is who a server is shown at a login, and with which name and password.
func shown(t *testing.T, options nats.Options, server tls.Certificate) (certificate, user, password string) {
	t.Helper()
	client, peer := net.Pipe()
	config := options.TLSConfig.Clone()
	config.ServerName = "nats"
	done := make(chan error, 1)
	go func() { done <- tls.Client(client, config).HandshakeContext(t.Context()) }()
	conn := tls.Server(peer, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12})
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	user, password = options.UserInfo()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, user, password
}

// TestALoginIsRenewed: changed settings are what NATS is shown at the next login,
// unless they cannot be used.
func TestALoginIsRenewed(t *testing.T) {
	ca, caKey := certificate(t, "nats")
	server, err := tls.X509KeyPair(ca, caKey)
	if err != nil {
		t.Fatal(err)
	}
	first := &settings.NATS{User: "pusher", Password: "first", CA: ca}
	first.Certificate, first.Key = certificate(t, "first")
	var l login
	if err := l.set(first); err != nil {
		t.Fatal(err)
	}
	list, err := natsOptions(first, &l)
	if err != nil {
		t.Fatal(err)
	}
	options := nats.GetDefaultOptions()
	for _, set := range list {
		if err := set(&options); err != nil {
			t.Fatal(err)
		}
	}
	want := func(certificate, password string) {
		t.Helper()
		if c, u, p := shown(t, options, server); c != certificate || u != "pusher" || p != password {
			t.Errorf("shown %s, %s, %s; want %s, pusher, %s", c, u, p, certificate, password)
		}
	}
	want("first", "first")
	second := *first
	second.Password = "second"
	second.Certificate, second.Key = certificate(t, "second")
	if err := l.set(&second); err != nil {
		t.Fatal(err)
	}
	want("second", "second")
	broken := second
	broken.Password, broken.Key = "third", first.Key
	if err := l.set(&broken); err == nil {
		t.Error("a certificate was taken with the key of another")
	}
	want("second", "second")
}

// TestABrokerThatHasNoNameYet keeps no push server from starting that was told its own
// address: the nodes may be made at the same time, and one of them may be away.
func TestABrokerThatHasNoNameYet(t *testing.T) {
	r := startReplicaAt(t, "nats://nowhere.invalid:4222", "127.0.0.1")
	if status, body := r.http(http.MethodPost, "/v1/channels/orders/events", `{"event":"n","data":1}`); status != http.StatusServiceUnavailable {
		t.Errorf("a publish is answered %d %s", status, body)
	}
	// One node that can be reached is enough, whichever it is.
	node := natsNode(t, natsOf(t))
	late := startReplicaAt(t, "nats://nowhere.invalid:4222,"+node.ClientURL(), "127.0.0.1")
	eventually(t, "a publish", func() bool {
		status, _ := late.http(http.MethodPost, "/v1/channels/orders/events", `{"event":"n","data":1}`)
		return status == http.StatusOK
	})
}

func TestPeerAddress(t *testing.T) {
	for given, want := range map[string]string{
		"":               "127.0.0.1:8080",
		"10.1.2.3":       "10.1.2.3:8080",
		"10.1.2.3:9090":  "10.1.2.3:9090",
		"fd00::1":        "[fd00::1]:8080",
		"[fd00::1]:9090": "[fd00::1]:9090",
	} {
		if got, err := peerAddress(given, "nats://127.0.0.1:4222", ":8080"); err != nil || got != want {
			t.Errorf("%q: %s (%v), want %s", given, got, err, want)
		}
	}
}
