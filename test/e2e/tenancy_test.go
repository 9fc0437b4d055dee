// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// tenant is a namespace with a Channel of its own, which asks for tokens and has a rule.
func tenant(namespace, key string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: vault-jwt, namespace: %[1]s, labels: {push.klaxon.dev/allow: "true"}}
stringData: {web: %[2]s}
---
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: vault, namespace: %[1]s}
spec:
  clients:
    jwt: [{issuer: "https://id.example.com", audiences: [shop-web], hmacSecretRef: {name: vault-jwt, key: web}}]
    rules: {join: 'room == "user:" + user'}
  limits: {connectionsPerUser: 3}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: author, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{kind: User, name: author-of-%[1]s}]
`, namespace, key)
}

// post publishes an event as a namespace's default ServiceAccount would.
func post(tokenOf, audience, to, channel, path, body string) (int, string) {
	GinkgoHelper()
	token := strings.TrimSpace(kubectl("create", "token", "default", "-n", tokenOf, "--audience", audience))
	at, err := address(to, "vault-events")
	Expect(err).NotTo(HaveOccurred())
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, "http://"+at+"/v1/channels/"+channel+"/"+path, strings.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	Expect(err).NotTo(HaveOccurred())
	return resp.StatusCode, string(b)
}

var _ = Describe("Tenants", Ordered, func() {
	as := func(args ...string) string {
		out, err := try("", kubeBin, append([]string{"--as=author-of-" + shop}, args...)...)
		Expect(err).To(HaveOccurred(), "kubectl %s:\n%s", strings.Join(args, " "), out)
		return out
	}

	It("have Channels of one operator", func() {
		repository, tag := image[:strings.LastIndex(image, ":")], image[strings.LastIndex(image, ":")+1:]
		helm("install", release, "../../charts/klaxon", "-n", operators, "--create-namespace", "--wait",
			"--set", "image.repository="+repository, "--set-string", "image.tag="+tag, "--set", "statusInterval=2s")
		for ns, key := range map[string]string{shop: firstKey, other: secondKey} {
			_, _ = try("", kubeBin, "create", "namespace", ns) // another suite's may be there
			apply(tenant(ns, key))
		}
		for _, ns := range []string{shop, other} {
			kubectl("wait", "-n", ns, "kch/vault", "--for=condition=Ready", "--timeout=120s")
		}
	})

	AfterAll(func() {
		_, _ = try("", kubeBin, "delete", "channels,pushers", "-A", "--all", "--ignore-not-found")
		_, _ = try("", helmBin, "uninstall", release, "-n", operators, "--ignore-not-found", "--wait")
		_, _ = try("", kubeBin, "delete", "namespace", shop, other, operators, "--ignore-not-found")
		_, _ = try("", kubeBin, "delete", "crd", "channels.push.klaxon.dev", "pushers.push.klaxon.dev", "--ignore-not-found")
	})

	It("may do nothing to each other's objects", func() {
		for _, args := range [][]string{
			{"get", "channels", "-n", other},
			{"get", "kpu/vault", "-n", other},
			{"delete", "kch/vault", "-n", other},
			{"get", "secret/vault-settings-0", "-n", other},
			{"patch", "kch/vault", "-n", other, "--type=merge", "-p", `{"spec":{"clients":{"anonymous":true}}}`},
		} {
			Expect(as(args...)).To(ContainSubstring("forbidden"))
		}
	})

	It("cannot refer to what is the other's, nor aim the operator or a push server at it", func() {
		refused := map[string]struct{ spec, reason string }{
			"pusher":  {"{pusherRef: {name: theirs}}", "PusherNotFound"},
			"keys":    {"{clients: {jwt: [{issuer: i, audiences: [a], hmacSecretRef: {name: their-keys, key: web}}]}}", "SecretNotFound"},
			"handler": {fmt.Sprintf(`{clients: {anonymous: true}, handlers: [{events: ["*"], url: "http://vault-events.%s.svc/"}]}`, other), "HandlerNotAllowed"},
			"issuer":  {`{clients: {jwt: [{issuer: i, audiences: [a], jwksURL: "https://kubernetes.default.svc/openid/v1/jwks"}]}}`, "KeysUnavailable"},
		}
		kubectl("create", "secret", "generic", "their-keys", "-n", other, "--from-literal=web="+secondKey)
		apply(strings.Replace(edge, "{name: edge, namespace: shop}", "{name: theirs, namespace: "+other+"}", 1))
		for name, c := range refused {
			apply(fmt.Sprintf("apiVersion: push.klaxon.dev/v1alpha1\nkind: Channel\nmetadata: {name: %s, namespace: %s}\nspec: %s\n", name, shop, c.spec))
			Eventually(condition(name, v1alpha1.ConditionAccepted)).Should(Equal("False "+c.reason), name)
		}
		Eventually(func() string { return fmt.Sprint(channel("issuer").Status.Conditions) }).Should(ContainSubstring("private address"))
		said := kubectl("get", "channels,events", "-n", shop, "-o", "yaml") + kubectl("logs", "-n", operators, strings.TrimSpace(kubectl("get", "deployment", "-n", operators, "-o", "name")))
		for _, key := range []string{firstKey, secondKey} {
			Expect(said).NotTo(ContainSubstring(key))
		}
		for name := range refused {
			kubectl("delete", "kch", "-n", shop, name)
		}
	})

	It("cannot publish to each other, list each other's sessions, nor learn who is there", func() {
		for _, audience := range []string{"push.klaxon.dev", "push.klaxon.dev/" + other + "/vault", "push.klaxon.dev/" + shop + "/vault"} {
			for path, body := range map[string]string{"events": `{"event":"forged"}`, "sessions": "", "events?limit=1": ""} {
				for _, name := range []string{"vault", "nosuch"} { // what is there looks as what is not
					status, answer := post(shop, audience, other, name, path, body)
					Expect(status).To(BeElementOf(http.StatusUnauthorized, http.StatusForbidden), "%s %s %s: %s", audience, name, path, answer)
				}
			}
		}
		status, answer := post(other, "push.klaxon.dev", other, "vault", "events", `{"event":"own"}`)
		Expect(status).To(Equal(http.StatusOK), answer)
	})

	It("do not take each other's users", func() {
		l, err := dialIn(other, "vault", "vault?token="+userToken(firstKey, "ann"))
		Expect(err).NotTo(HaveOccurred())
		Eventually(l.closed).Should(Equal(wire.CloseUnauthorized))
	})

	It("do not starve each other", func() {
		witness, err := dialIn(other, "vault", "vault?room=user:ann&token="+userToken(secondKey, "ann"))
		Expect(err).NotTo(HaveOccurred())
		Eventually(witness.heard).Should(ContainSubstring(`"rooms":["user:ann"]`))
		stop := make(chan struct{})
		var attackers sync.WaitGroup
		for n := range 4 {
			attackers.Go(func() {
				defer GinkgoRecover()
				token := userToken(firstKey, fmt.Sprint("mallory-", n))
				for {
					select {
					case <-stop:
						return
					default:
					}
					if l, err := dial("vault", "vault?token="+token); err == nil {
						_ = l.conn.Close()
					}
				}
			})
		}
		const events = 20
		slowest := time.Duration(0)
		for n := range events {
			began := time.Now()
			status, answer := post(other, "push.klaxon.dev", other, "vault", "events", fmt.Sprintf(`{"event":"tick-%d","rooms":["user:ann"]}`, n))
			Expect(status).To(Equal(http.StatusOK), answer)
			Eventually(func() int { return witness.count(fmt.Sprint("tick-", n)) }).WithPolling(time.Millisecond).Should(Equal(1))
			slowest = max(slowest, time.Since(began))
		}
		close(stop)
		attackers.Wait()
		AddReportEntry("slowest of 20 deliveries beside a tenant under attack, kubectl's token included", slowest.Round(time.Millisecond).String())
	})

	It("bound a user's connections, and say so", func() {
		var held []*listener
		for range 3 {
			l, err := dial("vault", "vault?token="+userToken(firstKey, "bob"))
			Expect(err).NotTo(HaveOccurred())
			Eventually(l.heard).Should(ContainSubstring(`"type":"welcome"`))
			held = append(held, l)
		}
		l, err := dial("vault", "vault?token="+userToken(firstKey, "bob"))
		Expect(err).NotTo(HaveOccurred())
		Eventually(l.closed).Should(Equal(wire.CloseTryLater))

		By("revoking the user")
		kubectl("patch", "kch/vault", "-n", shop, "--type=merge", "-p", `{"spec":{"clients":{"revoked":{"users":["bob"]}}}}`)
		for _, l := range held {
			Eventually(l.closed).Should(Equal(wire.CloseUnauthorized))
		}
	})

	It("have policies for their pods", func() {
		Expect(kubectl("get", "networkpolicy", "-n", other, "vault-pusher", "-o", "jsonpath={.spec.ingress[1].from[*].namespaceSelector.matchLabels}")).To(Equal(
			fmt.Sprintf(`{"kubernetes.io/metadata.name":%q}`, other)))
		Expect(kubectl("get", "networkpolicy", "-n", other, "vault-pusher", "-o", "jsonpath={.spec.ingress[2].from[0].namespaceSelector.matchLabels}")).To(Equal(
			fmt.Sprintf(`{"kubernetes.io/metadata.name":%q}`, operators)))
	})

	It("can have an operator that is confined to one of them", func() {
		repository, tag := image[:strings.LastIndex(image, ":")], image[strings.LastIndex(image, ":")+1:]
		helm("upgrade", release, "../../charts/klaxon", "-n", operators, "--wait", "--reset-values",
			"--set", "image.repository="+repository, "--set-string", "image.tag="+tag, "--set", "statusInterval=2s",
			"--set", "watchNamespaces={"+shop+"}", "--set", "clusterRoles.enabled=false")
		operator := "system:serviceaccount:" + operators + ":" + operatorAccount()
		for _, args := range [][]string{{"get", "secrets"}, {"create", "deployments"}, {"patch", "pods"}, {"list", "channels"}} {
			out, err := try("", kubeBin, "auth", "can-i", args[0], args[1], "-n", other, "--as", operator)
			Expect(err).To(HaveOccurred(), "%v in another namespace: %s", args, out)
		}
		for _, ns := range []string{shop, other} {
			kubectl("patch", "kch/vault", "-n", ns, "--type=merge", "-p",
				`{"spec":{"clients":{"rules":{"publish":"room in rooms"}},"limits":{"roomsPerSession":2}}}`)
		}
		apply(fmt.Sprintf(`
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: notes, namespace: %s}
spec: {clients: {anonymous: true}, handlers: [{events: ["*"], stream: true}]}
`, shop))
		applied := func(ns, name string) func() string {
			return func() string { return conditionOf(get(&v1alpha1.Channel{}, ns, name), v1alpha1.ConditionApplied) }
		}
		Eventually(applied(shop, "vault")).Should(Equal("True Applied"))
		Eventually(applied(shop, "notes"), time.Minute).Should(Equal("True Applied"))
		kubectl("get", "networkpolicy", "-n", shop, "notes-pusher")
		Expect(applied(other, "vault")()).To(Equal("not observed yet"))
	})
})
