// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func input(t *testing.T, path string) Input {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &v1alpha1.Pusher{}
	if err := yaml.UnmarshalStrict(raw, p); err != nil {
		t.Fatal(err)
	}
	broker, managed := "", (*ManagedBroker)(nil)
	if p.Spec.Broker != nil {
		broker = "0123456789abcdef"
		if p.Spec.Broker.Managed != nil {
			managed = &ManagedBroker{p.Spec.Broker.Managed, map[string][]byte{"clients": []byte("pusher:password")}}
		}
	}
	network := Network{}
	if managed != nil {
		network = Network{Publishers: []string{"bank", p.Namespace}, Operator: "klaxon"}
	}
	return Input{
		Pusher: p, Broker: broker, Managed: managed, Network: network, Seed: []byte("seed"), Image: "klaxon:v1.2.3", AdminToken: "admin-token",
		Settings: &settings.Packed{Index: []byte("index"), Parts: [][]byte{[]byte("first")}},
	}
}

func manifests(t *testing.T, objects []Object) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, o := range objects {
		b, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n")
		out.Write(b)
	}
	return out.Bytes()
}

func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs in testdata: %v", err)
	}
	for _, path := range inputs {
		t.Run(filepath.Base(path), func(t *testing.T) {
			got := manifests(t, Objects(input(t, path)))
			golden := strings.TrimSuffix(path, ".in.yaml") + ".golden.yaml"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs (run with -update and read the diff):\n%s", golden, got)
			}
		})
	}
}

// Settings must be able to grow and change without a restart.
func TestSettingsTouchOnlyTheirSecrets(t *testing.T) {
	in := input(t, "testdata/minimal.in.yaml")
	before := byName(t, Objects(in))
	in.Settings = &settings.Packed{Index: []byte("other"), Parts: [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d")}}
	after := byName(t, Objects(in))
	var changed []string
	for name, manifest := range after {
		if before[name] != manifest {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	want := []string{"Secret/edge-settings-0", "Secret/edge-settings-1", "Secret/edge-settings-2", "Secret/edge-settings-3"}
	if !slices.Equal(changed, want) {
		t.Errorf("changed: %v, want %v", changed, want)
	}
}

// A reader that sees the index must find the parts it names.
func TestIndexIsAppliedAfterItsParts(t *testing.T) {
	in := input(t, "testdata/minimal.in.yaml")
	in.Settings.Parts = [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	var order []string
	for _, o := range Objects(in) {
		if strings.Contains(*o.GetName(), "-settings-") {
			order = append(order, *o.GetName())
		}
	}
	if want := []string{"edge-settings-2", "edge-settings-1", "edge-settings-0"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// Drain period and pause are settings; only maxPeriod is a field of the pod.
func TestPodTemplateChangesOnlyWhenItMust(t *testing.T) {
	for name, tt := range map[string]struct {
		file    string
		restart bool
	}{
		"settings only": {"testdata/settings-only.in.yaml", false},
		"pod template":  {"testdata/full.in.yaml", true},
		"broker":        {"testdata/replicated.in.yaml", true},
	} {
		t.Run(name, func(t *testing.T) {
			a := byName(t, Objects(input(t, "testdata/minimal.in.yaml")))["Deployment/edge-pusher"]
			b := byName(t, Objects(input(t, tt.file)))["Deployment/edge-pusher"]
			if got := a != b; got != tt.restart {
				t.Errorf("restart: %v, want %v", got, tt.restart)
			}
		})
	}
}

func TestUsersLabelsNeverReplaceOurs(t *testing.T) {
	in := input(t, "testdata/minimal.in.yaml")
	in.Pusher.Spec.PodTemplate = &v1alpha1.PodTemplateSpec{Labels: map[string]v1alpha1.LabelValue{
		v1alpha1.LabelPusher: "other", labelName: "other", v1alpha1.LabelAccepting: "false",
	}}
	got := podTemplate(in).Labels
	want := Labels("edge")
	want[v1alpha1.LabelAccepting] = "true"
	if !maps.Equal(got, want) {
		t.Errorf("labels %v, want %v", got, want)
	}
}

func byName(t *testing.T, objects []Object) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, o := range objects {
		out[*o.GetKind()+"/"+*o.GetName()] = string(manifests(t, []Object{o}))
	}
	return out
}
