// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/klaxon-dev/klaxon/cmd/broker/status"
)

// minPassword is the least length of a password, in bytes. They are made by
// machines.
const minPassword = 16

// credential is a name with its password.
type credential struct {
	name, password string
}

// secrets are what the TLS and credentials directories say, read in one go and
// never changed afterwards.
type secrets struct {
	clients, routes []credential // at least one each; the first of routes is dialled with
	admin           string       // SHA-256 of the bearer token for /status and /metrics, hex; "": open
	tls             *certificates
	revision        string // of all files
}

// certificates are for both directions: nodes dial each other.
type certificates struct {
	own  tls.Certificate
	cas  *x509.CertPool
	ends time.Time
}

// readSecrets reads and checks both directories.
func (c *Config) readSecrets() (*secrets, error) {
	files, err := c.readFiles()
	if err != nil {
		return nil, err
	}
	s := &secrets{revision: status.SecretsRevision(files), admin: strings.TrimSpace(string(files[status.AdminFile]))}
	if s.clients, err = parseCredentials(files[status.ClientsFile]); err != nil {
		return nil, fmt.Errorf("read the credentials of clients: %w", err)
	}
	if c.Replicas > 1 {
		if s.routes, err = parseCredentials(files[status.RoutesFile]); err != nil {
			return nil, fmt.Errorf("read the credentials of routes: %w", err)
		}
	}
	if sum, err := hex.DecodeString(s.admin); err != nil || s.admin != "" && len(sum) != sha256.Size {
		return nil, errors.New("read the admin credential: it is not a SHA-256 in hexadecimal")
	}
	if c.TLSDir != "" {
		if s.tls, err = parseCertificates(files); err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
	}
	return s, nil
}

// readFiles reads those files that exist.
func (c *Config) readFiles() (map[string][]byte, error) {
	files := map[string][]byte{}
	read := func(dir string, names ...string) error {
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(dir, name))
			switch {
			case err == nil:
				files[name] = data
			case !errors.Is(err, os.ErrNotExist):
				return fmt.Errorf("read secrets: %w", err)
			}
		}
		return nil
	}
	err := read(c.CredentialsDir, status.ClientsFile, status.RoutesFile, status.AdminFile)
	if err == nil && c.TLSDir != "" {
		err = read(c.TLSDir, status.CertFile, status.KeyFile, status.CAFile)
	}
	return files, err
}

// parseCredentials parses one NAME:PASSWORD a line.
func parseCredentials(data []byte) ([]credential, error) {
	var all []credential
	seen := map[string]bool{}
	for i, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, password, ok := strings.Cut(line, ":")
		switch {
		case !ok || !nameRule.MatchString(name):
			return nil, fmt.Errorf("line %d is not NAME:PASSWORD", i+1)
		case len(password) < minPassword:
			return nil, fmt.Errorf("line %d: a password has at least %d bytes", i+1, minPassword)
		case strings.HasPrefix(password, "$2"):
			return nil, fmt.Errorf("line %d: the server would take a password that begins with $2 for a hash", i+1)
		case seen[name]:
			return nil, fmt.Errorf("line %d: a second password needs a second name", i+1)
		}
		seen[name] = true
		all = append(all, credential{name: name, password: password})
	}
	if len(all) == 0 {
		return nil, errors.New("there are none")
	}
	return all, nil
}

func parseCertificates(files map[string][]byte) (*certificates, error) {
	c := &certificates{cas: x509.NewCertPool()}
	var err error
	if c.own, err = tls.X509KeyPair(files[status.CertFile], files[status.KeyFile]); err != nil {
		return nil, fmt.Errorf("tls.crt and tls.key: %w", err)
	}
	c.ends = c.own.Leaf.NotAfter
	if !c.cas.AppendCertsFromPEM(files[status.CAFile]) {
		return nil, errors.New("ca.crt has no certificate")
	}
	return c, nil
}

// config is for listeners and for dialling: both sides show a certificate that
// ca.crt vouches for.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    c.cas,
		RootCAs:      c.cas,
	}
}

// users are the clients as the server knows them. They are of the global
// account, the only one with streams, and may do all in it; the system account
// has no user at all.
func (s *secrets) users() []*server.User {
	var all []*server.User
	for _, c := range s.clients {
		all = append(all, &server.User{Username: c.name, Password: c.password})
	}
	return all
}

// route reports whether a node that shows this name and password may join.
func (s *secrets) route(name, password string) bool {
	ok := 0
	for _, c := range s.routes {
		got, want := sha256.Sum256([]byte(name+":"+password)), sha256.Sum256([]byte(c.name+":"+c.password))
		ok |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return ok == 1
}

// operator reports whether the Authorization header has the admin token, or
// none is needed.
func (s *secrets) operator(header string) bool {
	if s.admin == "" {
		return true
	}
	token, _ := strings.CutPrefix(header, "Bearer ")
	got := sha256.Sum256([]byte(token))
	want, _ := hex.DecodeString(s.admin) // checked when it was read
	return subtle.ConstantTimeCompare(got[:], want) == 1
}
