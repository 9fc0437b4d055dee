// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestManifestsOfThePageOnCloudEvents: the API server takes the Channels that it shows, and
// what Knative is to refer to is one.
func TestManifestsOfThePageOnCloudEvents(t *testing.T) {
	page, err := os.ReadFile("../../docs/cloudevents.md")
	if err != nil {
		t.Fatal(err)
	}
	channels, refs := 0, 0
	for _, block := range yamlBlock.FindAllStringSubmatch(string(page), -1) {
		for _, doc := range strings.Split(block[1], "---\n") {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
				t.Fatalf("%s\n%v", doc, err)
			}
			if u.GetAPIVersion() == v1alpha1.GroupVersion.String() {
				channels++
				u.SetNamespace("default")
				if err := api.Create(t.Context(), u, client.DryRunAll); err != nil {
					t.Errorf("%s\n%v", doc, err)
				}
			}
			for _, at := range []string{"sink", "subscriber"} {
				if ref, ok, _ := unstructured.NestedStringMap(u.Object, "spec", at, "ref"); ok {
					refs++
					if ref["apiVersion"] != v1alpha1.GroupVersion.String() || ref["kind"] != "Channel" {
						t.Errorf("%s refers to %v", u.GetKind(), ref)
					}
				}
			}
		}
	}
	if channels != 2 || refs != 3 {
		t.Errorf("the page shows %d Channels and %d references to one", channels, refs)
	}
}
