// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root      = "../.."
	chartDir  = root + "/charts/klaxon"
	namespace = "klaxon-system"
)

// helm is the path of the pinned helm, built on first use.
var helm = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-modfile="+root+"/tools/helm/go.mod", "-n", "helm")
	// The Makefile builds tools with the same settings.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = errors.New(string(exit.Stderr))
	}
	return strings.TrimSpace(string(out)), err
})

// runHelm returns what helm prints, and its error output as the error.
func runHelm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := helm()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	var out, errOut bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir())
	if err := cmd.Run(); err != nil {
		return "", errors.New(errOut.String() + out.String())
	}
	return out.String(), nil
}

// install is one release of the chart.
type install struct {
	release, namespace string
	set                []string
}

// klaxon is the default install with some values set.
func klaxon(set ...string) install { return install{"klaxon", namespace, set} }

// objects renders a release.
func objects(t *testing.T, in install) []*unstructured.Unstructured {
	t.Helper()
	args := []string{"template", in.release, chartDir, "--namespace", in.namespace}
	for _, s := range in.set {
		args = append(args, "--set-json", s)
	}
	out, err := runHelm(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, out)
}

func parse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		u := &unstructured.Unstructured{}
		switch err := d.Decode(&u.Object); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("rendered YAML: %v", err)
		case u.Object != nil:
			all = append(all, u)
		}
	}
}

// key names an object among those of an install.
func key(u *unstructured.Unstructured) string {
	return u.GetKind() + " " + filepath.Join(u.GetNamespace(), u.GetName())
}

// find returns the object of that key.
func find(t *testing.T, all []*unstructured.Unstructured, want string) *unstructured.Unstructured {
	t.Helper()
	for _, u := range all {
		if key(u) == want {
			return u
		}
	}
	t.Fatalf("no %s was rendered", want)
	return nil
}

func keys(all []*unstructured.Unstructured) []string {
	var ks []string
	for _, u := range all {
		ks = append(ks, key(u))
	}
	return ks
}

// at returns the value at a path of an object, or fails.
func at(t *testing.T, u *unstructured.Unstructured, path ...string) any {
	t.Helper()
	v, ok, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	if err != nil || !ok {
		t.Fatalf("%s has no %s (%v)", key(u), strings.Join(path, "."), err)
	}
	return v
}

// container returns the operator's container.
func container(t *testing.T, all []*unstructured.Unstructured, deployment string) map[string]any {
	t.Helper()
	cs := at(t, find(t, all, deployment), "spec", "template", "spec", "containers").([]any)
	if len(cs) != 1 {
		t.Fatalf("%d containers, want 1", len(cs))
	}
	return cs[0].(map[string]any)
}

// args returns the operator's command line.
func args(t *testing.T, all []*unstructured.Unstructured, deployment string) []string {
	t.Helper()
	var out []string
	for _, a := range container(t, all, deployment)["args"].([]any) {
		out = append(out, a.(string))
	}
	return out
}
