// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// asBroker in the environment makes the test's binary the program itself.
const asBroker = "KLAXON_TEST_AS_BROKER"

func TestMain(m *testing.M) {
	if os.Getenv(asBroker) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	f, err := parse(strings.Fields("--name=edge-broker-0 --cluster=edge --replicas=3 --peers=a.pods.ns.svc,b.pods.ns.svc:6333 --store=/data --max-storage=10Gi --max-memory=1048576 --log-level=debug"))
	if err != nil {
		t.Fatal(err)
	}
	c := f.node
	if c.Name != "edge-broker-0" || c.Cluster != "edge" || c.Replicas != 3 || !slices.Equal(c.Peers, []string{"a.pods.ns.svc", "b.pods.ns.svc:6333"}) ||
		c.Store != "/data" || c.MaxStorage != 10<<30 || c.MaxMemory != 1<<20 {
		t.Errorf("got %+v", c)
	}
	if c.ClientsAddr != ":4222" || c.RoutesAddr != ":6222" || c.HealthAddr != ":8222" {
		t.Errorf("default addresses: %s, %s, %s", c.ClientsAddr, c.RoutesAddr, c.HealthAddr)
	}
	if f, err = parse([]string{"--version"}); err != nil || !f.version {
		t.Errorf("--version alone: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"extra":               "unexpected argument",
		"--max-storage=10GB":  "whole bytes",
		"--max-memory=-1":     "whole bytes",
		"--log-level=loud":    "log-level",
		"--replicas=several":  "replicas",
		"--max-storage=9e9Ti": "whole bytes",
	} {
		_, err := parse(strings.Fields(args))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
