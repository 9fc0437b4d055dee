// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Command broker runs one node of the broker that the operator manages: NATS
// JetStream, alone or as one of three.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/klaxon-dev/klaxon/cmd/broker/node"
)

// version is set by the linker.
var version = "dev"

// flags are the command line.
type flags struct {
	node     node.Config
	logLevel slog.Level
	version  bool
}

func main() {
	f, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil && f.version {
		fmt.Println(version)
		return
	}
	if err == nil {
		err = run(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "broker:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*flags, error) {
	f := &flags{node: node.Config{Version: version}}
	c := &f.node
	var peers string
	set := flag.NewFlagSet("broker", flag.ContinueOnError)
	set.StringVar(&c.Name, "name", "", "this node's name, that of its pod (required)")
	set.StringVar(&c.Cluster, "cluster", "klaxon", "name of the cluster, the same on all nodes")
	set.IntVar(&c.Replicas, "replicas", 1, "nodes of the cluster: 1 or 3")
	set.StringVar(&peers, "peers", "", "with 3 replicas: comma-separated HOST[:PORT] of all nodes, this one too; a node's name is the host's first label, or is given as NAME=HOST[:PORT]")
	set.StringVar(&c.ClientsAddr, "clients-addr", ":4222", "address for clients")
	set.StringVar(&c.RoutesAddr, "routes-addr", ":6222", "address for the other nodes")
	set.StringVar(&c.HealthAddr, "health-addr", ":8222", "address for probes, metrics and status")
	set.StringVar(&c.Store, "store", "", "directory for streams; empty: streams in memory only, gone with the process")
	set.Var(&c.MaxMemory, "max-memory", "most bytes of streams in memory, as 1048576 or 64Mi; 0: half of GOMEMLIMIT, or 256Mi")
	set.Var(&c.MaxStorage, "max-storage", "most bytes of streams on disk, as 1073741824 or 10Gi (required with --store)")
	set.StringVar(&c.TLSDir, "tls-dir", "", "directory with tls.crt, tls.key and ca.crt, for mutual TLS with clients and nodes; empty: no TLS")
	set.StringVar(&c.CredentialsDir, "credentials", "", "directory with the files clients, routes and, if there is one, admin (required)")
	set.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	set.BoolVar(&f.version, "version", false, "print the version and end")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if peers != "" {
		c.Peers = strings.Split(peers, ",")
	}
	if !f.version && set.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q (see --help)", set.Arg(0))
	}
	return f, nil
}

func run(f *flags) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: f.logLevel}))
	f.node.Log = log
	n, err := node.New(f.node)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return n.Run(ctx)
}
