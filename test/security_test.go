// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// TestTheDocumentedRole: docs/security.md says of each thing that the operator may do why,
// and of nothing else.
func TestTheDocumentedRole(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.Unmarshal(raw, &role); err != nil {
		t.Fatal(err)
	}
	var granted []string
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					granted = append(granted, group+" "+resource+" "+verb)
				}
			}
		}
	}
	doc, err := os.ReadFile(filepath.Join("..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "## The operator's role")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z0-9.]+`|core) \\| ([a-z/ ]+) \\| ([a-z ]+) \\| (.+) \\|$").FindAllStringSubmatch(table, -1) {
		group := strings.TrimPrefix(strings.Trim(row[1], "`"), "core")
		for resource := range strings.FieldsSeq(row[2]) {
			for verb := range strings.FieldsSeq(row[3]) {
				documented = append(documented, group+" "+resource+" "+verb)
			}
		}
	}
	slices.Sort(granted)
	slices.Sort(documented)
	if !slices.Equal(granted, documented) {
		t.Errorf("granted is\n%q\ndocumented is\n%q", granted, documented)
	}
}
