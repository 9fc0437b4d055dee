// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chart writes the parts of charts/klaxon that have a source elsewhere,
// so that chart and kustomize install cannot drift:
//
//	config/crd/bases/*.yaml      -> charts/klaxon/templates/crds.yaml
//	config/rbac/role.yaml        -> charts/klaxon/templates/_generated.tpl
//	config/admission/pods.yaml   -> charts/klaxon/templates/_generated.tpl
//
// Run it in the project's root; `make generate` does.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	templates = "charts/klaxon/templates/"

	// operatorUser is the operator in the kustomize install; the chart knows it
	// by the release.
	operatorUser      = "system:serviceaccount:klaxon-system:klaxon-operator"
	chartOperatorUser = `system:serviceaccount:{{ .Release.Namespace }}:{{ include "klaxon.serviceAccountName" . }}`
)

// object is a YAML mapping.
type object = map[string]any

func main() {
	if err := errors.Join(writeCRDs(), writeHelpers()); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// writeCRDs wraps each CRD in the switch crds.enabled and adds the keep policy.
func writeCRDs() error {
	files, err := filepath.Glob("config/crd/bases/*.yaml")
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("config/crd/bases holds no CRDs: run this in the project's root, after controller-gen")
	}
	var out bytes.Buffer
	out.WriteString("{{- /* Generated from config/crd/bases by tools/chart. Do not edit. */ -}}\n{{- if .Values.crds.enabled }}\n")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		s, err := chartCRD(escape(string(b)))
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		out.WriteString(s)
	}
	out.WriteString("{{- end }}\n")
	return os.WriteFile(templates+"crds.yaml", out.Bytes(), 0o644)
}

// chartCRD adds the chart's labels and the keep policy to a CRD's metadata.
func chartCRD(crd string) (string, error) {
	const (
		mark   = "metadata:\n  annotations:\n"
		labels = "\n  labels:\n"
	)
	meta, spec, ok := strings.Cut(crd, "\nspec:\n")
	if !ok || strings.Count(meta, mark) != 1 {
		return "", errors.New("metadata does not start with annotations, as controller-gen writes it")
	}
	if !strings.Contains(meta, labels) {
		meta = strings.Replace(meta, "\n  name:", labels+"  name:", 1)
	}
	meta = strings.Replace(meta, labels, labels+"    {{- include \"klaxon.labels\" . | nindent 4 }}\n", 1)
	return strings.Replace(meta, mark, mark+`    {{- if .Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
`, 1) + "\nspec:\n" + spec, nil
}

// writeHelpers writes the operator's rules and the pod policy as templates that
// the chart includes.
func writeHelpers() error {
	role, err := read("config/rbac/role.yaml")
	if err != nil {
		return err
	}
	rules, _ := role[0]["rules"].([]any)
	var namespaced, nonResource []any
	for _, r := range rules {
		if _, ok := r.(object)["nonResourceURLs"]; ok {
			nonResource = append(nonResource, r)
		} else {
			namespaced = append(namespaced, r)
		}
	}
	policy, err := read("config/admission/pods.yaml")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	out.WriteString("{{- /* Generated from config/rbac/role.yaml and config/admission/pods.yaml by tools/chart. Do not edit. */ -}}\n")
	for _, d := range []struct {
		name, says string
		value      any
	}{
		{"klaxon.rules", "What the operator may do in the namespaces that it watches.", list(namespaced)},
		{"klaxon.nonResourceRules", "What only a ClusterRole can grant.", list(nonResource)},
		{"klaxon.podPolicySpec", "What the operator may change of a pod.", policy[0]["spec"]},
	} {
		b, err := yaml.Marshal(d.value)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(escape(string(b)), operatorUser, chartOperatorUser)
		fmt.Fprintf(&out, "\n{{/* %s */}}\n{{- define %q -}}\n%s{{- end }}\n", d.says, d.name, text)
	}
	return os.WriteFile(templates+"_generated.tpl", out.Bytes(), 0o644)
}

// read returns the documents of a YAML file.
func read(path string) ([]object, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var docs []object
	for _, d := range strings.Split("\n"+string(b), "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(d), &o); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if o != nil {
			docs = append(docs, o)
		}
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return docs, nil
}

// escape keeps Helm from reading braces of the text as its own.
func escape(s string) string {
	return strings.ReplaceAll(s, "{{", `{{ "{{" }}`)
}

// list makes "no rules" an empty YAML list, not null.
func list(v []any) []any {
	if v == nil {
		return []any{}
	}
	return v
}
