// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/controllers/jwks"
)

var _ = Describe("The keys of clients' issuers", func() {
	It("are fetched from their URLs, and outlive them", func(ctx SpecContext) {
		const published = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"KID","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
		var answer atomic.Value
		answer.Store("")
		issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if answer.Load() == "" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_, _ = io.WriteString(w, answer.Load().(string)) // whoever reads it says so
		}))
		defer issuer.Close()
		s := newSpace(ctx)
		s.pusher(ctx, "edge", "{}")
		pods := node.run(ctx, s, "edge", 1)
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}, clients: {jwt: [{issuer: i, audiences: [a], jwksURL: '"+issuer.URL+"/keys'}]}}")
		says(ctx, ch, not("Accepted", "KeysUnavailable"), not("Ready", "Pending"))
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(ch), ch)).To(Succeed())
			g.Expect(meta.FindStatusCondition(ch.Status.Conditions, "Accepted").Message).To(ContainSubstring("/keys: answers 503"))
		}).Should(Succeed())

		answer.Store(strings.Replace(published, "KID", "first", 1))
		says(ctx, ch, served...)
		keyIn := func() string {
			for _, c := range mounted(ctx, string(s), "edge").Channels {
				for _, j := range c.Clients.JWT {
					return string(j.JWKS)
				}
			}
			return ""
		}
		Expect(keyIn()).To(ContainSubstring("first"))

		By("fetching them again when a pod meets an unknown one, not more than twice a minute")
		answer.Store(strings.Replace(published, "KID", "second", 1))
		node.tell(pods[0], func(p *fakePod) { p.unknownURLs = []string{issuer.URL + "/keys"} })
		Eventually(keyIn).WithTimeout(jwks.Gap + 20*time.Second).Should(ContainSubstring("second"))
		node.tell(pods[0], func(p *fakePod) { p.unknownURLs = nil })
		issuer.Close()
		says(ctx, ch, served...)
	})
})
