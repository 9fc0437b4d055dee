// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Command apidoc writes the reference of the custom resources, docs/api.md, from
// their CRDs: so it says what the API server enforces, rules included.
//
//	apidoc CRD.yaml... > docs/api.md
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// foreign are fields whose types are described elsewhere: named, not spelled out.
var foreign = map[string]string{
	"affinity":                  "Affinity",
	"conditions":                "[]Condition",
	"imagePullSecrets":          "[]LocalObjectReference",
	"pusher":                    "[PusherSpec](#pusher-spec)",
	"resources":                 "ResourceRequirements",
	"tolerations":               "[]Toleration",
	"topologySpreadConstraints": "[]TopologySpreadConstraint",
}

type schema = apiextensions.JSONSchemaProps

func main() {
	out := bufio.NewWriter(os.Stdout)
	err := run(out, os.Args[1:])
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, files []string) error {
	fmt.Fprint(w, "# API reference\n\n<!-- Generated from config/crd/bases by tools/apidoc (make generate). Do not edit. -->\n\n"+
		"Generated from the custom resource definitions: types, limits and rules are what the API\n"+
		"server enforces. `kubectl explain channel.spec` shows the same at the terminal.\n")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var crd apiextensions.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(b, &crd); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		for _, v := range crd.Spec.Versions {
			resource(w, &crd, v)
		}
	}
	return nil
}

// resource writes one version of one kind.
func resource(w io.Writer, crd *apiextensions.CustomResourceDefinition, v apiextensions.CustomResourceDefinitionVersion) {
	names, root := crd.Spec.Names, v.Schema.OpenAPIV3Schema
	fmt.Fprintf(w, "\n## %s\n\n%s\n\n`apiVersion: %s/%s`, `kind: %s`", names.Kind, text(root.Description), crd.Spec.Group, v.Name, names.Kind)
	if len(names.ShortNames) > 0 {
		fmt.Fprintf(w, ", short name `%s`", strings.Join(names.ShortNames, "`, `"))
	}
	if len(names.Categories) > 0 {
		fmt.Fprintf(w, ", category `%s`", strings.Join(names.Categories, "`, `"))
	}
	fmt.Fprint(w, "\n\n")
	if len(root.XValidations) > 0 {
		fmt.Fprint(w, "Rules:\n\n")
		rules(w, root)
		fmt.Fprintln(w)
	}
	for _, part := range []string{"spec", "status"} {
		p := root.Properties[part]
		fmt.Fprintf(w, "### %s %s\n\n%s\n\n", names.Kind, part, text(p.Description))
		if len(p.XValidations) > 0 {
			rules(w, &p)
			fmt.Fprintln(w)
		}
		fmt.Fprint(w, "| field | type | description |\n| --- | --- | --- |\n")
		fields(w, "", &p)
		fmt.Fprintln(w)
	}
}

func rules(w io.Writer, s *schema) {
	for _, r := range s.XValidations {
		fmt.Fprintf(w, "- %s\n", cell(r.Message))
	}
}

// fields writes a row for each property of s and what lies below it.
func fields(w io.Writer, prefix string, s *schema) {
	names := make([]string, 0, len(s.Properties))
	for n := range s.Properties {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		p := s.Properties[n]
		path := prefix + n
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", path, kind(n, &p), describe(n, &p, slices.Contains(s.Required, n)))
		if elsewhere(n, &p) != "" {
			continue
		}
		switch {
		case p.Items != nil && p.Items.Schema != nil:
			fields(w, path+"[].", p.Items.Schema)
		default:
			fields(w, path+".", &p)
		}
	}
}

// elsewhere names the type of a field that is described elsewhere, or is empty.
func elsewhere(name string, s *schema) string {
	if s.Type != "object" && s.Type != "array" {
		return ""
	}
	return foreign[name]
}

// kind names a field's type in Kubernetes' terms.
func kind(name string, s *schema) string {
	if f := elsewhere(name, s); f != "" {
		return f
	}
	switch {
	case s.XIntOrString:
		return "quantity"
	case s.Type == "array" && s.Items != nil && s.Items.Schema != nil:
		return "[]" + kind("", s.Items.Schema)
	case s.Type == "object" && s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map of " + kind("", s.AdditionalProperties.Schema)
	case s.Format != "" && s.Type == "string":
		return s.Format
	}
	return s.Type
}

// describe is a field's comment and, after it, what the schema demands.
func describe(name string, s *schema, required bool) string { //nolint:revive // required is data of the row, not a switch
	parts := []string{cell(s.Description)}
	if elsewhere(name, s) != "" {
		return parts[0]
	}
	var demands []string
	if required {
		demands = append(demands, "required")
	}
	if s.Default != nil && string(s.Default.Raw) != "{}" {
		demands = append(demands, "default `"+string(s.Default.Raw)+"`")
	}
	demands = append(demands, limits(s)...)
	if len(demands) > 0 {
		d := strings.Join(demands, "; ")
		parts = append(parts, strings.ToUpper(d[:1])+d[1:]+".")
	}
	for _, r := range messages(s) {
		parts = append(parts, "Rule: "+cell(r)+".")
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

// messages are the sentences of a field's rules and of its items' rules.
func messages(s *schema) []string {
	var out []string
	for _, r := range s.XValidations {
		out = append(out, r.Message)
	}
	if s.Items != nil && s.Items.Schema != nil && len(s.Items.Schema.Properties) == 0 {
		out = append(out, messages(s.Items.Schema)...)
	}
	return out
}

// limits are the bounds that the schema puts on a value.
func limits(s *schema) []string {
	var out []string
	if len(s.Enum) > 0 {
		var vs []string
		for _, e := range s.Enum {
			vs = append(vs, "`"+strings.Trim(string(e.Raw), `"`)+"`")
		}
		out = append(out, "one of "+strings.Join(vs, ", "))
	}
	bound := func(format string, v *int64) {
		if v != nil {
			out = append(out, fmt.Sprintf(format, *v))
		}
	}
	number := func(name string, v *float64) {
		if v != nil {
			out = append(out, name+" "+strconv.FormatFloat(*v, 'f', -1, 64))
		}
	}
	number("at least", s.Minimum)
	number("at most", s.Maximum)
	if !s.XIntOrString && s.Type == "string" && len(s.Enum) == 0 {
		bound("at most %d characters", s.MaxLength)
	}
	if s.MinItems != nil && *s.MinItems == 1 {
		out = append(out, "not empty")
	} else {
		bound("at least %d items", s.MinItems)
	}
	bound("at most %d items", s.MaxItems)
	bound("at most %d entries", s.MaxProperties)
	return out
}

// text is a description as paragraphs.
func text(s string) string { return strings.TrimSpace(s) }

// cell is a description as one line of a table.
func cell(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(s)
}
