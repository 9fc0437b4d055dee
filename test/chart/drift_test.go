// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestKustomizeAgrees: both installs make the same objects. Only the chart's own
// labels and annotations, and the Namespace, which Helm makes itself, differ.
func TestKustomizeAgrees(t *testing.T) {
	kubectl := filepath.Join(assets(t), "kubectl")
	var out, errOut bytes.Buffer
	cmd := exec.Command(kubectl, "kustomize", root+"/config/default")
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl kustomize: %v\n%s", err, errOut.String())
	}
	kustomize, helm := plain(parse(t, out.String())), plain(objects(t, klaxon()))
	if kustomize["Namespace klaxon-system"] == nil {
		t.Error("kustomize makes no Namespace")
	}
	delete(kustomize, "Namespace klaxon-system")
	for k, want := range kustomize {
		if diff := cmp.Diff(want, helm[k]); diff != "" {
			t.Errorf("%s differs (-kustomize +chart):\n%.3000s", k, diff)
		}
		delete(helm, k)
	}
	for k := range helm {
		t.Errorf("only the chart makes %s", k)
	}
}

// plain drops what is allowed to differ.
func plain(all []*unstructured.Unstructured) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, u := range all {
		u.SetLabels(without(u.GetLabels(), "app.kubernetes.io/", "helm.sh/"))
		u.SetAnnotations(without(u.GetAnnotations(), "helm.sh/"))
		out[key(u)] = u.Object
	}
	return out
}

func without(m map[string]string, prefixes ...string) map[string]string {
	for k := range m {
		for _, p := range prefixes {
			if strings.HasPrefix(k, p) {
				delete(m, k)
			}
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}
