// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
)

// config is of a node that can run, changed as told.
func config(t *testing.T, change func(*Config)) *Config {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"clients": "pusher-1:0123456789abcdef\n", "routes": "node-1:0123456789abcdef\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &Config{
		Name: "b-0", Cluster: "b", Replicas: 3, Peers: []string{"b-0.pods.ns.svc", "b-1.pods.ns.svc", "b-2.pods.ns.svc"},
		ClientsAddr: ":4222", RoutesAddr: ":6222", HealthAddr: "127.0.0.1:0",
		Store: t.TempDir(), MaxStorage: 1 << 30, CredentialsDir: dir,
	}
	change(c)
	return c
}

func alone(c *Config) { c.Replicas, c.Peers = 1, nil }

func TestValidate(t *testing.T) {
	limit := debug.SetMemoryLimit(1 << 30)
	defer debug.SetMemoryLimit(limit)
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // "": valid
	}{
		"three":            {func(*Config) {}, ""},
		"one":              {alone, ""},
		"memory":           {func(c *Config) { c.Store, c.MaxStorage = "", 0 }, ""},
		"no name":          {func(c *Config) { c.Name = "" }, "--name is required"},
		"a name of two":    {func(c *Config) { c.Name = "b 0" }, "--name is required"},
		"cluster":          {func(c *Config) { c.Cluster = "a b" }, "--cluster"},
		"two":              {func(c *Config) { c.Replicas = 2 }, "1 or 3"},
		"no credentials":   {func(c *Config) { c.CredentialsDir = "" }, "--credentials is required"},
		"no limit":         {func(c *Config) { c.MaxStorage = 0 }, "--max-storage is required"},
		"a limit too many": {func(c *Config) { c.Store = "" }, "--max-storage needs --store"},
		"too much memory":  {func(c *Config) { c.MaxMemory = 1 << 30 }, "less than GOMEMLIMIT (1073741824 bytes)"},
		"two peers":        {func(c *Config) { c.Peers = c.Peers[:2] }, "all 3 nodes"},
		"without itself":   {func(c *Config) { c.Name = "b-3" }, "must name this node, b-3"},
		"the same twice":   {func(c *Config) { c.Peers[2] = c.Peers[1] }, "two nodes are called b-1"},
		"no host":          {func(c *Config) { c.Peers[2] = "b-2=" }, `"b-2=" is not`},
		"one with peers":   {func(c *Config) { c.Replicas = 1 }, "--peers needs --replicas=3"},
	} {
		t.Run(name, func(t *testing.T) {
			err := config(t, c.change).validate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestPeers(t *testing.T) {
	c := config(t, func(c *Config) { c.Peers = []string{"b-0.pods.ns.svc", "b-1:6333", "c=127.0.0.1:7000", "d=[::1]:7001"} })
	got, err := c.peers()
	want := []peer{{"b-0", "b-0.pods.ns.svc:6222"}, {"b-1", "b-1:6333"}, {"c", "127.0.0.1:7000"}, {"d", "[::1]:7001"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1048576": 1 << 20, "64Ki": 64 << 10, "10Gi": 10 << 30, "2Ti": 2 << 40} {
		var b Bytes
		if err := b.Set(text); err != nil || int64(b) != want {
			t.Errorf("%s: %d, %v, want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "Ki", "1.5Gi", "1G", "-1", "9223372036854775807Ki", "ten"} {
		if err := new(Bytes).Set(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestOptions holds what keeps acknowledged messages and strangers out of harm.
func TestOptions(t *testing.T) {
	limit := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(limit)
	for name, c := range map[string]struct {
		change      func(*Config)
		limit       int64 // GOMEMLIMIT
		sync        bool
		disk, bytes int64
	}{
		"one":               {alone, math.MaxInt64, true, 1 << 30, defaultMemory},
		"three":             {func(*Config) {}, math.MaxInt64, false, 1 << 30, defaultMemory},
		"one in memory":     {func(c *Config) { alone(c); c.Store, c.MaxStorage = "", 0 }, math.MaxInt64, false, 1, defaultMemory},
		"a memory limit":    {func(*Config) {}, 100 << 20, false, 1 << 30, 50 << 20},
		"memory of its own": {func(c *Config) { c.MaxMemory = 1 << 20 }, 100 << 20, false, 1 << 30, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			debug.SetMemoryLimit(c.limit)
			cfg := config(t, c.change)
			s, err := cfg.readSecrets()
			if err != nil {
				t.Fatal(err)
			}
			o, err := cfg.options(s)
			if err != nil {
				t.Fatal(err)
			}
			if o.SyncAlways != c.sync || o.JetStreamMaxStore != c.disk || o.JetStreamMaxMemory != c.bytes {
				t.Errorf("sync always %t, %d on disk, %d in memory", o.SyncAlways, o.JetStreamMaxStore, o.JetStreamMaxMemory)
			}
			if o.HTTPPort != 0 || o.NoAuthUser != "" || len(o.Users) != 1 || o.Users[0].Account != nil {
				t.Error("somebody could come in another way than as a client with a password")
			}
			if cfg.Replicas == 3 && (len(o.Routes) != 3 || o.Cluster.Advertise != "b-0.pods.ns.svc:6222" || !o.Cluster.NoAdvertise) {
				t.Errorf("cluster: %+v, routes %v", o.Cluster, o.Routes)
			}
		})
	}
}

func TestListen(t *testing.T) {
	if host, port, err := listen("127.0.0.1:4222"); err != nil || host != "127.0.0.1" || port != 4222 {
		t.Errorf("got %q, %d, %v", host, port, err)
	}
	for _, addr := range []string{"", "4222", ":", ":0", ":65536", ":nats"} {
		if _, _, err := listen(addr); err == nil {
			t.Errorf("%q was taken", addr)
		}
	}
}
