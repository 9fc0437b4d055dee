// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

var _ = Describe("A Pusher's NetworkPolicy", func() {
	It("follows its Channels, is put right, and holds nobody when it is not wanted", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		node.run(ctx, s, "edge", 1)
		policy := &networkingv1.NetworkPolicy{}
		publishers := func() (names []string) {
			if api.Get(ctx, s.key("edge-pusher"), policy) != nil || len(policy.Spec.Ingress) != 3 {
				return nil
			}
			for _, from := range policy.Spec.Ingress[1].From {
				names = append(names, from.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"])
			}
			return names
		}
		Eventually(publishers).Should(Equal([]string{string(s)}))
		Expect(metav1.GetControllerOf(policy).UID).To(Equal(p.UID))
		s.channel(ctx, "orders", "{pusherRef: {name: edge}, publishers: [{serviceAccount: {namespace: aaa, name: x}}]}")
		Eventually(publishers).Should(Equal([]string{"aaa", string(s)}))

		By("an edit")
		change(ctx, policy, func(o *networkingv1.NetworkPolicy) { o.Spec.Ingress = nil })
		Eventually(publishers).Should(Equal([]string{"aaa", string(s)}))

		By("None")
		Expect(api.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
		change(ctx, p, func(o *v1alpha1.Pusher) { o.Spec.NetworkPolicy = v1alpha1.NetworkPolicyNone })
		Eventually(func() map[string]string {
			_ = api.Get(ctx, s.key("edge-pusher"), policy)
			return policy.Spec.PodSelector.MatchLabels
		}).Should(Equal(map[string]string{"push.klaxon.dev/nowhere": "true"}))
	})
})
