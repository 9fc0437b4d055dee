// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

func TestNetworkPolicies(t *testing.T) {
	const (
		operator = "- namespaceSelector:\n        matchLabels:\n          kubernetes.io/metadata.name: klaxon\n    - namespaceSelector:\n        matchLabels:\n          push.klaxon.dev/metrics: \"true\"\n    ports:\n    - port: 8082"
		events   = "- namespaceSelector:\n        matchLabels:\n          kubernetes.io/metadata.name: bank\n    - namespaceSelector:\n        matchLabels:\n          kubernetes.io/metadata.name: shop\n    ports:\n    - port: 8081"
		open     = "  - ports:\n    - port: "
		outside  = "  egress:\n  - {}\n"
	)
	for name, c := range map[string]struct {
		network    Network
		spec       v1alpha1.PusherSpec
		has, lacks []string
	}{
		"as known":      {Network{Publishers: []string{"bank", "shop"}, Operator: "klaxon"}, v1alpha1.PusherSpec{}, []string{operator, events, open + "8080", "port: 53", "podSelector: {}"}, []string{open + "8081", open + "8082", outside}},
		"publishers":    {Network{Operator: "klaxon"}, v1alpha1.PusherSpec{}, []string{operator, open + "8080", open + "8081"}, nil},
		"no operator":   {Network{Publishers: []string{"bank", "shop"}}, v1alpha1.PusherSpec{}, []string{events, open + "8082"}, nil},
		"open metrics":  {Network{Publishers: []string{"bank", "shop"}, Operator: "klaxon"}, v1alpha1.PusherSpec{Metrics: &v1alpha1.MetricsSpec{Access: v1alpha1.MetricsOpen}}, []string{events, open + "8082"}, []string{operator}},
		"calls outside": {Network{Publishers: []string{"shop"}, Operator: "klaxon", Outside: true}, v1alpha1.PusherSpec{}, []string{outside}, []string{"port: 53"}},
		"none":          {Network{}, v1alpha1.PusherSpec{NetworkPolicy: v1alpha1.NetworkPolicyNone}, []string{"push.klaxon.dev/nowhere"}, []string{"app.kubernetes.io/name: klaxon-pusher\n      push"}},
	} {
		p := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge"}, Spec: c.spec}
		b, err := yaml.Marshal(pusherPolicy(Input{Pusher: p, Network: c.network}))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.has {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s: no\n%s\nin\n%s", name, want, b)
			}
		}
		for _, not := range c.lacks {
			if strings.Contains(string(b), not) {
				t.Errorf("%s:\n%s\nin\n%s", name, not, b)
			}
		}
	}
}
