// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/klaxon-dev/klaxon/test/apiserver"
)

var api client.Client

func TestMain(m *testing.M) {
	server, err := apiserver.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	api, err = client.New(server.Config, client.Options{})
	code := 1
	if err == nil {
		code = m.Run()
	}
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop API server:", err)
	}
	os.Exit(code)
}

// manifest is an object of a kind with a spec in YAML's flow style.
func manifest(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	text := fmt.Sprintf("apiVersion: push.klaxon.dev/v1alpha1\nkind: %s\nmetadata: {namespace: default, name: %s}\n", kind, name)
	if spec != "" {
		text += "spec: " + spec + "\n"
	}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return u
}

// check compares what the API server said with a part of what it should have
// said; empty: nothing.
func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want refused with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("refused with\n  %v\nwant\n  %q", err, want)
	}
}

func long(n int) string { return strings.Repeat("a", n) }

func times(n int, item string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(item+", ", n), ", ") + "]"
}

func properties(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: v, ", i)
	}
	return "{" + strings.TrimSuffix(b.String(), ", ") + "}"
}

const (
	ioRule           = "write socketIO.namespace as / alone, or as /name or /name/name"
	nameRule         = "metadata.name: use at most 40 lowercase letters, digits and '-'"
	originRule       = "write an origin as scheme://host[:port] in lowercase without a path"
	eventRule        = "eventBytes is a whole number of bytes from 64 to 1Mi"
	bufferRule       = "bufferBytes is a whole number of bytes from 4Ki to 64Mi"
	fitRule          = "slowClients.bufferBytes (default 256Ki) must be at least limits.eventBytes (default 64Ki)"
	bothRule         = "set pusherRef to join an existing Pusher, or pusher to describe the Channel's own, not both"
	moveRule         = "pusherRef cannot be added to or removed from an existing Channel"
	keyRule          = "set exactly one of jwksURL, jwksSecretRef and hmacSecretRef in each issuer"
	oneRule          = "set exactly one of serviceAccount, tokenSecretRef, jwt and anonymous: true in each publisher"
	intervalRule     = "heartbeat.interval is a duration from 100ms to 10m"
	timeoutRule      = "heartbeat.timeout is a duration from 100ms to 10m"
	periodRule       = "drain.period is a duration from 0s to 1h"
	maxRule          = "drain.maxPeriod is a duration from 1s to 1h"
	drainRule        = "drain.period (default 30s) must not exceed drain.maxPeriod (default 10m)"
	labelRule        = "labels that start with push.klaxon.dev/ or app.kubernetes.io/ belong to the operator"
	historyTTLRule   = "history.ttl is a duration from 1s to 24h"
	historyBytesRule = "history.bytes is a whole number of bytes from 1Mi to 1Gi"
	compressRule     = "compression.minBytes is a whole number of bytes from 64 to 1Mi"
	natsRule         = "write broker.nats.url as nats://HOST:PORT or tls://HOST:PORT"
	brokerRule       = "set either broker.managed"
	nodesRule        = "broker.managed.replicas cannot be changed: make another Pusher"
	storageRule      = "broker.managed.storage cannot be changed: make another Pusher"
	memoryRule       = "storage.size (default 256Mi with Memory) must be less than 90 % of resources.limits.memory"
	annotRule        = "annotations that start with push.klaxon.dev/ belong to the operator"
)

// TestNames covers the rule on names, which both kinds share.
func TestNames(t *testing.T) {
	for _, kind := range []string{"Channel", "Pusher"} {
		for name, want := range map[string]string{
			"a":              "",
			"orders-2":       "",
			long(40):         "",
			long(41):         nameRule,
			"2orders":        nameRule,
			"orders.eu":      nameRule,
			"orders-":        "RFC 1123",
			"Orders":         "RFC 1123",
			"a" + long(300):  "must be no more than 253",
			"o--r":           "",
			"\"\"":           "name",
			"x2345678901234": "",
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				check(t, api.Create(t.Context(), manifest(t, kind, name, ""), client.DryRunAll), want)
			})
		}
	}
}

// changes is a table of edits: each must be accepted, or refused with a message.
type changes []struct{ from, to, want string }

func (c changes) run(t *testing.T, kind string) {
	for i, tt := range c {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			u := manifest(t, kind, fmt.Sprintf("change-%d", i), tt.from)
			if err := api.Create(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := api.Delete(t.Context(), u); err != nil && t.Context().Err() == nil {
					t.Error(err)
				}
			})
			u.Object["spec"] = manifest(t, kind, "x", tt.to).Object["spec"]
			check(t, api.Update(t.Context(), u, client.DryRunAll), tt.want)
		})
	}
}

func TestChannelChanges(t *testing.T) {
	changes{
		{"{pusherRef: {name: edge}}", "{pusherRef: {name: other}}", ""},
		{"{pusherRef: {name: edge}}", "{}", moveRule},
		{"{pusherRef: {name: edge}}", "{pusher: {}}", moveRule},
		{"{}", "{pusherRef: {name: edge}}", moveRule},
		{"{pusher: {}}", "{pusherRef: {name: edge}}", moveRule},
		{"{}", "{pusher: {paused: true}}", ""},
		{"{pusher: {paused: true}}", "{}", ""},
		{"{}", "{clients: {anonymous: true}}", ""},
		{"{pusher: {broker: {managed: {}}}}", "{pusher: {broker: {managed: {replicas: 1}}}}", nodesRule},
	}.run(t, "Channel")
}

func TestPusherChanges(t *testing.T) {
	changes{
		{"{}", "{replicas: 0}", ""},
		{"{paused: true}", "{paused: false}", ""},
		{"{}", "{replicas: -1}", "should be greater than or equal to 0"},
		{"{broker: {managed: {}}}", "{broker: {managed: {replicas: 3}}}", ""},
		{"{broker: {managed: {}}}", "{broker: {managed: {replicas: 1}}}", nodesRule},
		{"{broker: {managed: {replicas: 1}}}", "{broker: {managed: {}}}", nodesRule},
		{"{broker: {managed: {}}}", "{broker: {managed: {resources: {requests: {cpu: 1}}, priorityClassName: high}}}", ""},
		{"{broker: {managed: {storage: {size: 1Gi}}}}", "{broker: {managed: {storage: {size: 2Gi}}}}", storageRule},
		{"{broker: {managed: {storage: {size: 1Gi}}}}", "{broker: {managed: {storage: {size: 1Gi, storageClassName: fast}}}}", storageRule},
		{"{broker: {managed: {storage: {type: Memory}}}}", "{broker: {managed: {storage: {type: Volume}}}}", storageRule},
		{"{broker: {managed: {storage: {type: Memory}}}}", "{broker: {managed: {}}}", storageRule},
		{"{broker: {managed: {}}}", "{broker: {managed: {storage: {type: Memory}}}}", storageRule},
	}.run(t, "Pusher")
}

// TestDefaults shows what the schema itself writes: what the scale subresource needs.
func TestDefaults(t *testing.T) {
	u := manifest(t, "Pusher", "defaults", "")
	if err := api.Create(t.Context(), u, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(u.Object["spec"]); got != "map[replicas:1]" {
		t.Errorf("spec of an empty Pusher is %s, want only replicas: 1", got)
	}
	u = manifest(t, "Channel", "defaults", "")
	if err := api.Create(t.Context(), u, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(u.Object["spec"]); got != "map[]" {
		t.Errorf("spec of an empty Channel is %s, want it empty", got)
	}
}
