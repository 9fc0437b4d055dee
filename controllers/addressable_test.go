// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"encoding/json"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/klaxon-dev/klaxon/pusher/auth"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// issuer is who issues the API server's tokens.
func issuer() *settings.ServiceAccountIssuer {
	GinkgoHelper()
	about, err := server.Kubectl("get", "--raw", "/.well-known/openid-configuration")
	Expect(err).NotTo(HaveOccurred())
	keys, err := server.Kubectl("get", "--raw", "/openid/v1/jwks")
	Expect(err).NotTo(HaveOccurred())
	out := &settings.ServiceAccountIssuer{JWKS: []byte(keys)}
	Expect(json.Unmarshal([]byte(about), out)).To(Succeed())
	return out
}

var _ = Describe("A Channel that is the sink of a Knative source", func() {
	It("is found by its address, and takes the token that its audience asks for", func(ctx SpecContext) {
		s, elsewhere := newSpace(ctx), newSpace(ctx)
		for _, name := range []string{"tick-oidc", "stranger"} {
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: string(elsewhere), Name: name}}
			Expect(api.Create(ctx, account)).To(Succeed())
		}
		ch := s.channel(ctx, "orders", "{publishers: [{serviceAccount: {namespace: "+string(elsewhere)+", name: tick-oidc}}]}")
		node.run(ctx, s, "orders", 1)
		says(ctx, ch, served...)

		// What Knative reads of any object that a source refers to.
		sink := &unstructured.Unstructured{}
		sink.SetAPIVersion("push.klaxon.dev/v1alpha1")
		sink.SetKind("Channel")
		Expect(api.Get(ctx, s.key("orders"), sink)).To(Succeed())
		address, _, err := unstructured.NestedStringMap(sink.Object, "status", "address")
		Expect(err).NotTo(HaveOccurred())
		Expect(address).To(Equal(map[string]string{
			"url":      "http://orders-events." + string(s) + ".svc/v1/channels/orders/events",
			"audience": "push.klaxon.dev/" + string(s) + "/orders",
		}))

		stored, err := load(ctx, string(s), "orders")
		Expect(err).NotTo(HaveOccurred())
		stored.Pusher.ServiceAccounts = issuer() // the operator of this suite has another
		verifier, err := auth.New(stored, time.Now)
		Expect(err).NotTo(HaveOccurred())
		publish := func(account, audience string) error {
			token, err := server.Kubectl("create", "token", account, "-n", string(elsewhere), "--audience", audience)
			Expect(err).NotTo(HaveOccurred())
			_, err = verifier.Publisher("orders", strings.TrimSpace(token))
			return err
		}
		Expect(publish("tick-oidc", address["audience"])).To(Succeed())
		Expect(publish("tick-oidc", "push.klaxon.dev")).To(MatchError(ContainSubstring("audience")))
		Expect(publish("stranger", address["audience"])).To(MatchError(ContainSubstring("may not publish")))
	})
})
