// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// maxPayload is the largest message, in bytes. Events have at most 1 MiB; the
	// rest is for headers, and for records that are batched.
	maxPayload = 4 << 20
	// defaultMemory bounds streams in memory when nothing else does.
	defaultMemory = 256 << 20
	// clientPing is how often an idle client is asked whether it is still there.
	clientPing = 20 * time.Second
	// handshakeTimeout bounds the TLS handshake and the login, in seconds. It is
	// long, because all pushers come back at once and CPUs are throttled.
	handshakeTimeout = 10
	// defaultRoutesPort is where peers without a port listen.
	defaultRoutesPort = "6222"
)

// Bytes is a number of bytes, written plain or with Ki, Mi, Gi or Ti.
type Bytes int64

// String writes the number plain.
func (b *Bytes) String() string { return strconv.FormatInt(int64(*b), 10) }

// Set parses the number.
func (b *Bytes) Set(s string) error {
	digits, factor := s, int64(1)
	for i, unit := range []string{"Ki", "Mi", "Gi", "Ti"} {
		if d, ok := strings.CutSuffix(s, unit); ok {
			digits, factor = d, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return errors.New("give whole bytes, as 1048576 or 64Mi")
	}
	*b = Bytes(n * factor)
	return nil
}

// Config says what a node is to be. docs/broker.md describes each field.
type Config struct {
	Name, Cluster                       string
	Replicas                            int      // 1 or 3
	Peers                               []string // [NAME=]HOST[:PORT] of all nodes
	ClientsAddr, RoutesAddr, HealthAddr string
	Store                               string // "": memory only
	MaxMemory, MaxStorage               Bytes
	TLSDir, CredentialsDir              string
	Version                             string       // of Klaxon, for /status
	Log                                 *slog.Logger // nil: slog.Default()
}

// peer is another node, or this one, as its peers dial it.
type peer struct {
	name, addr string // addr is HOST:PORT
}

// nameRule is what names of nodes and clusters look like: DNS labels, dots too.
var nameRule = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,98}[a-zA-Z0-9])?$`)

// validate returns all that is wrong.
func (c *Config) validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!nameRule.MatchString(c.Name), "--name is required: letters, digits, dots and hyphens")
	bad(!nameRule.MatchString(c.Cluster), "--cluster: letters, digits, dots and hyphens")
	bad(c.Replicas != 1 && c.Replicas != 3, "--replicas is 1 or 3: two nodes are no safer than one")
	bad(c.CredentialsDir == "", "--credentials is required: without it everybody could publish")
	bad(c.Store != "" && c.MaxStorage <= 0, "--max-storage is required with --store")
	bad(c.Store == "" && c.MaxStorage > 0, "--max-storage needs --store")
	if limit := debug.SetMemoryLimit(-1); int64(c.MaxMemory) >= limit {
		bad(true, "--max-memory must be less than GOMEMLIMIT (%d bytes)", limit)
	}
	peers, err := c.peers()
	if err != nil {
		errs = append(errs, err)
	} else if c.Replicas == 3 {
		bad(len(peers) != 3, "--peers names all 3 nodes")
		bad(c.self(peers) == nil, "--peers must name this node, %s, too", c.Name)
	}
	bad(c.Replicas == 1 && len(c.Peers) > 0, "--peers needs --replicas=3")
	return errors.Join(errs...)
}

// peers parses Peers.
func (c *Config) peers() ([]peer, error) {
	var all []peer
	seen := map[string]bool{}
	for _, p := range c.Peers {
		name, addr, named := strings.Cut(p, "=")
		if !named {
			addr = p
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			host, port = addr, defaultRoutesPort
		}
		if !named {
			name, _, _ = strings.Cut(host, ".")
		}
		if !nameRule.MatchString(name) || host == "" || strings.ContainsAny(host, " /@") {
			return nil, fmt.Errorf("--peers: %q is not [NAME=]HOST[:PORT]", p)
		}
		if seen[name] {
			return nil, fmt.Errorf("--peers: two nodes are called %s", name)
		}
		seen[name] = true
		all = append(all, peer{name: name, addr: net.JoinHostPort(host, port)})
	}
	return all, nil
}

// self finds this node among the peers, or returns nil.
func (c *Config) self(peers []peer) *peer {
	for i := range peers {
		if peers[i].name == c.Name {
			return &peers[i]
		}
	}
	return nil
}

// options builds the server's options with what was read from the secrets.
// They are built anew for each reload, which compares them with the old ones.
func (c *Config) options(s *secrets) (*server.Options, error) {
	o := &server.Options{
		ServerName: c.Name, NoSigs: true, DisableJetStreamBanner: true,
		MaxPayload: maxPayload, PingInterval: clientPing, MaxPingsOut: 2,
		TLSTimeout: handshakeTimeout, AuthTimeout: handshakeTimeout,
		LameDuckDuration: closeClientsOver, LameDuckGracePeriod: closeClientsAfter,
		Users:     s.users(),
		JetStream: true, StoreDir: c.Store,
		JetStreamMaxMemory: int64(c.MaxMemory), JetStreamMaxStore: int64(c.MaxStorage),
		// Alone, nobody else has what is not on disk yet. With three, two others
		// have it, and the default interval (2 min) keeps publishes fast.
		SyncAlways: c.Replicas == 1,
	}
	if c.MaxMemory == 0 {
		o.JetStreamMaxMemory = defaultMemory
		if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
			o.JetStreamMaxMemory = limit / 2
		}
	}
	if c.Store == "" {
		// JetStream keeps its votes and terms in files even then. The limit of one
		// byte refuses streams on disk; zero would mean three quarters of the disk.
		o.StoreDir = filepath.Join(os.TempDir(), "klaxon-broker", c.Name)
		o.JetStreamMaxStore = 1
		o.SyncAlways = false
	}
	if s.tls != nil {
		o.TLS, o.TLSVerify, o.TLSConfig = true, true, s.tls.config()
	}
	var err error
	if o.Host, o.Port, err = listen(c.ClientsAddr); err != nil {
		return nil, fmt.Errorf("--clients-addr: %w", err)
	}
	if c.Replicas == 1 {
		return o, nil
	}
	return o, c.cluster(o, s)
}

// cluster adds what only a node of several has.
func (c *Config) cluster(o *server.Options, s *secrets) error {
	host, port, err := listen(c.RoutesAddr)
	if err != nil {
		return fmt.Errorf("--routes-addr: %w", err)
	}
	peers, err := c.peers()
	if err != nil {
		return err
	}
	o.Cluster = server.ClusterOpts{
		Name: c.Cluster, Host: host, Port: port,
		Username: s.routes[0].name, Password: s.routes[0].password,
		AuthTimeout: handshakeTimeout, TLSTimeout: handshakeTimeout,
		// Clients know all nodes by name. Addresses of pods would fail TLS, and
		// would soon be those of other pods.
		NoAdvertise: true,
		Advertise:   c.self(peers).addr,
	}
	if s.tls != nil {
		o.Cluster.TLSConfig = s.tls.config()
	}
	// All three, this node too: the server takes their number for the size of the
	// cluster while it has not seen the others. It drops the route to itself.
	for _, p := range peers {
		o.Routes = append(o.Routes, &url.URL{
			Scheme: "nats-route", Host: p.addr, User: url.UserPassword(s.routes[0].name, s.routes[0].password),
		})
	}
	return nil
}

// listen splits the address of a listener; a host of "" means all.
func listen(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is not a port", port)
	}
	return host, int(n), nil
}
