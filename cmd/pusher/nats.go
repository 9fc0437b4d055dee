// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher"
	"github.com/klaxon-dev/klaxon/pusher/broker/jetstream"
	"github.com/klaxon-dev/klaxon/pusher/peers"
	"github.com/klaxon-dev/klaxon/pusher/roster"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// overNATS makes config that of one of several replicas. The returned function
// says goodbye to the others, once the server has ended.
func overNATS(config *pusher.Config, p *settings.Pusher, address string) (func(), error) {
	var login login
	if err := login.set(p.NATS); err != nil {
		return nil, err
	}
	config.Reloaded = func(s *settings.Settings) {
		if err := login.set(s.Pusher.NATS); err != nil {
			slog.Error("keeping the earlier login to NATS", "error", err)
		}
	}
	options, err := natsOptions(p.NATS, &login)
	if err != nil {
		return nil, err
	}
	name := p.Namespace + "_" + p.Name
	conn, err := nats.Connect(p.NATS.URL, append(options, nats.Name("klaxon peers "+name),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(500*time.Millisecond))...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if address, err = peerAddress(address, p.NATS.URL, config.ClientsAddr); err != nil {
		return nil, err
	}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	replica := &pusher.Replica{ID: binary.BigEndian.Uint32(id[:]), Key: [32]byte(p.SessionKey)}
	mesh, err := peers.Join(peers.Config{
		Conn: conn, Prefix: "klaxon." + name + ".peers", ID: replica.ID, Address: address, Log: config.Log,
	})
	if err != nil {
		return nil, err
	}
	replica.Peers = mesh
	sessions, err := roster.New(roster.Config{
		Conn: conn, Bucket: "klaxon_" + name + "_sessions", Replicas: p.NATS.Replicas, Self: replica.ID, Log: config.Log,
	})
	if err != nil {
		return nil, err
	}
	replica.Roster, replica.Housing = sessions, housing{sessions, replica.ID}
	config.Replica = replica
	storage := jetstream.File
	if p.NATS.Memory {
		storage = jetstream.Memory
	}
	config.Broker = func(to pusher.Deliveries) (pusher.Broker, error) {
		return jetstream.New(jetstream.Config{
			URL: p.NATS.URL, Options: options, Stream: "klaxon_" + name, Prefix: "klaxon." + name,
			Replicas: p.NATS.Replicas, Storage: storage, Deliver: to.Deliver, Lost: to.Lost, Log: config.Log,
		})
	}
	log := config.Log
	if log == nil {
		log = slog.Default()
	}
	log.Info("one of several replicas", "id", replica.ID, "address", address, "nats", withoutUser(p.NATS.URL))
	return func() { sessions.Close(); mesh.Close(); conn.Close() }, nil
}

// login is what NATS is shown at each login. It changes with the settings.
type login struct {
	user, password atomic.Pointer[string]
	certificate    atomic.Pointer[tls.Certificate]
}

func (l *login) set(n *settings.NATS) error {
	if n == nil {
		return nil // the operator restarts a pod that needs no NATS any more
	}
	own := &tls.Certificate{}
	if len(n.Certificate) > 0 {
		pair, err := tls.X509KeyPair(n.Certificate, n.Key)
		if err != nil {
			return fmt.Errorf("settings: pusher.nats.certificate: %w", err)
		}
		own = &pair
	}
	l.certificate.Store(own)
	l.user.Store(&n.User)
	l.password.Store(&n.Password)
	return nil
}

// natsOptions are how to log in.
func natsOptions(n *settings.NATS, l *login) ([]nats.Option, error) {
	var options []nats.Option
	if n.User != "" {
		options = append(options, nats.UserInfoHandler(func() (string, string) { return *l.user.Load(), *l.password.Load() }))
	}
	if len(n.CA) == 0 && len(n.Certificate) == 0 {
		return options, nil
	}
	config := &tls.Config{
		MinVersion:           tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return l.certificate.Load(), nil },
	}
	if len(n.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(n.CA) {
			return nil, errors.New("settings: pusher.nats.ca: has no certificate in PEM")
		}
	}
	return append(options, nats.Secure(config)), nil
}

// peerAddress is where other replicas reach this one: as given, with the port of the
// clients listener if none is, or the address by which NATS is reached.
func peerAddress(given, natsURL, clientsAddr string) (string, error) {
	if _, _, err := net.SplitHostPort(given); err == nil {
		return given, nil
	}
	_, port, err := net.SplitHostPort(clientsAddr)
	if err != nil {
		return "", fmt.Errorf("--clients-addr: %w", err)
	}
	if given == "" {
		if given, err = ownHost(natsURL); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort(given, port), nil
}

// ownHost is the address by which NATS is reached.
func ownHost(natsURL string) (string, error) {
	first, _, _ := strings.Cut(natsURL, ",")
	u, err := url.Parse(strings.TrimSpace(first))
	if err != nil {
		return "", errors.New("settings: pusher.nats.url: is not a URL")
	}
	port := u.Port()
	if port == "" {
		port = "4222"
	}
	conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), port)) // sends nothing
	if err != nil {
		return "", fmt.Errorf("find the address that other replicas reach (or say it with --peer-addr): %w", err)
	}
	defer func() { _ = conn.Close() }()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return "", fmt.Errorf("find the own address: %w", err)
	}
	return host, nil
}

// withoutUser is a URL as it may be logged.
func withoutUser(urls string) string {
	var out []string
	for one := range strings.SplitSeq(urls, ",") {
		if u, err := url.Parse(strings.TrimSpace(one)); err == nil {
			out = append(out, u.Redacted())
		}
	}
	return strings.Join(out, ",")
}
