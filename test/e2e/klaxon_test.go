// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	k8stypes "k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/wire"
)

const (
	firstKey  = "the-first-key-of-at-least-32-bytes"
	secondKey = "another-key-of-at-least-32-bytes-x"
)

func secret(key string) string {
	return `
apiVersion: v1
kind: Secret
metadata: {name: shop-keys, namespace: shop, labels: {push.klaxon.dev/allow: "true"}}
stringData: {web: ` + key + `}
`
}

const edge = `
apiVersion: push.klaxon.dev/v1alpha1
kind: Pusher
metadata: {name: edge, namespace: shop}
spec: {metrics: {access: Open}}
`

func onEdge(name, more string) string {
	return fmt.Sprintf(`
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: %s, namespace: shop}
spec: {pusherRef: {name: edge}, %s}
`, name, more)
}

const (
	withTokens = `clients: {jwt: [{issuer: "https://id.example.com", audiences: [shop-web], hmacSecretRef: {name: shop-keys, key: web}}]}`
	forAll     = `clients: {anonymous: true}`
)

// podsOf are the pods of a Pusher.
func podsOf(pusher string) []corev1.Pod {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Expect(kube.List(context.Background(), pods, client.InNamespace(shop), client.MatchingLabels{v1alpha1.LabelPusher: pusher})).To(Succeed())
	return pods.Items
}

func uidOf(pods []corev1.Pod) string {
	GinkgoHelper()
	Expect(pods).To(HaveLen(1))
	return string(pods[0].UID)
}

var _ = Describe("Klaxon on a cluster", Ordered, func() {
	var orders, news *listener // connected from the first spec that needs them on
	var edgePod string

	AfterAll(func() {
		_, _ = try("", kubeBin, "delete", "channels,pushers", "-A", "--all", "--ignore-not-found")
		_, _ = try("", helmBin, "uninstall", release, "-n", operators, "--ignore-not-found", "--wait")
		_, _ = try("", kubeBin, "delete", "namespace", shop, other, operators, "--ignore-not-found")
		_, _ = try("", kubeBin, "delete", "crd", "channels.push.klaxon.dev", "pushers.push.klaxon.dev", "--ignore-not-found")
	})

	It("installs by helm", func() {
		repository, tag := image[:strings.LastIndex(image, ":")], image[strings.LastIndex(image, ":")+1:]
		notes := helm("install", release, "../../charts/klaxon", "-n", operators, "--create-namespace", "--wait",
			"--set", "image.repository="+repository, "--set-string", "image.tag="+tag, "--set", "statusInterval=2s", "--set", "replicas=2")
		Expect(notes).To(ContainSubstring("kind: Channel"), "the notes show a first Channel")
		for _, ns := range []string{shop, other} {
			kubectl("create", "namespace", ns)
		}
	})

	It("gives a Channel without a Pusher one of its own", func() {
		measured("ticker", `
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: ticker, namespace: shop}
spec: {clients: {anonymous: true}, pusher: {metrics: {access: Open}}}
`)
		c := channel("ticker")
		Expect(c.Status.URLs.WebSocket).To(Equal("ws://ticker-clients.shop.svc/ws/ticker"))
		Expect(c.Status.URLs.SocketIO).To(Equal("http://ticker-clients.shop.svc/ticker"))
		Expect(c.Status.URLs.EventStream).To(Equal("http://ticker-clients.shop.svc/sse/ticker"))
		Expect(c.Status.Address.URL).To(Equal("http://ticker-events.shop.svc/v1/channels/ticker/events"))
		Expect(get(&v1alpha1.Pusher{}, shop, "ticker").OwnerReferences[0].Name).To(Equal("ticker"))
		listen("ticker", "ticker")
	})

	It("runs push servers that restricted Pod Security lets pass", func() {
		for _, pod := range podsOf("ticker") {
			warning := run("", kubeBin, "label", "--dry-run=server", "--overwrite", "namespace", shop, "pod-security.kubernetes.io/enforce=restricted")
			Expect(warning).NotTo(ContainSubstring(pod.Name))
			Expect(*pod.Spec.AutomountServiceAccountToken).To(BeFalse())
		}
	})

	It("serves every protocol's own clients through a Service", func() {
		measured("prices", `
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: prices, namespace: shop}
spec: {clients: {anonymous: true}, compression: {minBytes: 64}, socketIO: {recovery: true}}
`)
		routed("prices-clients")
		routed("prices-events")
		AddReportEntry("clients", serviceClients("prices"))
	})

	It("lets Channels share a Pusher", func() {
		apply(secret(firstKey))
		apply(edge)
		measured("orders", onEdge("orders", withTokens))
		orders = listen("edge", "orders?room=order:1&token="+userToken(firstKey, "ann", "order:*"))
		edgePod = uidOf(podsOf("edge"))
	})

	It("serves a new Channel of a running Pusher while others keep their sockets", func() {
		measured("news", onEdge("news", forAll))
		news = listen("edge", "news")
		Expect(orders.closed()).To(BeZero())
		Expect(uidOf(podsOf("edge"))).To(Equal(edgePod), "the pod was replaced")
	})

	It("delivers what a pod publishes with its own ServiceAccount token", func() {
		url := channel("orders").Status.Address.URL
		ok, logs := publishPod(shop, "checkout", "push.klaxon.dev", url, "created")
		Expect(ok).To(BeTrue(), logs)
		Eventually(func() int { return orders.count("created") }).Should(Equal(1))
		Expect(news.count("created")).To(BeZero())
	})

	It("refuses publishers that the Channel does not name, and takes those that it does from anywhere", func() {
		measured("ledger", onEdge("ledger", forAll+
			`, publishers: [{serviceAccount: {name: checkout}}, {serviceAccount: {namespace: elsewhere, name: importer}}]`))
		ledger := listen("edge", "ledger")
		address := channel("ledger").Status.Address
		ok, logs := publishPod(shop, "intruder", "push.klaxon.dev", address.URL, "forged")
		Expect(ok).To(BeFalse())
		Expect(logs).To(ContainSubstring("may not publish"))
		ok, logs = publishPod(other, "importer", "push.klaxon.dev", address.URL, "replayable")
		Expect(ok).To(BeFalse(), "a token of another namespace with the common audience was taken: %s", logs)
		ok, logs = publishPod(other, "importer", address.Audience, address.URL, "imported")
		Expect(ok).To(BeTrue(), logs)
		Eventually(func() int { return ledger.count("imported") }).Should(Equal(1))
		Expect(ledger.count("forged") + ledger.count("replayable")).To(BeZero())
	})

	It("changes a Channel under live connections", func() {
		before := channel("news").Status.Revision
		measured("orders", onEdge("orders", withTokens+", limits: {connections: 7, eventBytes: 1Ki}"))
		Expect(channel("news").Status.Revision).To(Equal(before), "another Channel's revision changed")
		Expect(orders.closed()).To(BeZero())
		Expect(news.closed()).To(BeZero())
		Eventually(func() int64 { return channel("orders").Status.Connections }).Should(BeEquivalentTo(1))
	})

	It("reports a Channel that cannot be served, and serves the others", func() {
		apply(onEdge("broken", strings.ReplaceAll(withTokens, "shop-keys", "absent")))
		Eventually(condition("broken", v1alpha1.ConditionAccepted)).Should(Equal("False " + v1alpha1.ReasonSecretNotFound))
		Expect(condition("news", v1alpha1.ConditionApplied)()).To(Equal("True Applied"))
		kubectl("delete", "channel", "-n", shop, "broken")
	})

	It("refuses more than one replica without a broker, and leaves what runs", func() {
		kubectl("scale", "-n", shop, "pusher/edge", "--replicas=2")
		Eventually(func() string {
			return kubectl("get", "-n", shop, "pusher", "edge", "-o", `jsonpath={.status.conditions[?(@.type=="Accepted")].reason}`)
		}).Should(Equal(v1alpha1.ReasonBrokerRequired))
		Expect(uidOf(podsOf("edge"))).To(Equal(edgePod))
		kubectl("scale", "-n", shop, "pusher/edge", "--replicas=1")
		Eventually(condition("orders", v1alpha1.ConditionApplied)).Should(Equal("True Applied"))
		Expect(orders.closed()).To(BeZero())
	})

	It("takes a rotated Secret without a restart", func() {
		apply(secret(secondKey))
		Eventually(func(g Gomega) {
			l, err := dial("edge", "orders?token="+userToken(secondKey, "bob"))
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { _ = l.conn.Close() }()
			g.Eventually(l.heard).WithTimeout(time.Second).Should(ContainSubstring(`"user":"bob"`))
		}).Should(Succeed())
		old, err := dial("edge", "orders?token="+userToken(firstKey, "ann"))
		Expect(err).NotTo(HaveOccurred())
		Eventually(old.closed).Should(Equal(wire.CloseUnauthorized))
		Expect(orders.closed()).To(BeZero(), "a session that stands was closed")
		Expect(uidOf(podsOf("edge"))).To(Equal(edgePod))
	})

	It("puts back what somebody deletes or edits", func() {
		kubectl("delete", "service", "-n", shop, "edge-events")
		Eventually(func() error {
			return kube.Get(context.Background(), client.ObjectKey{Namespace: shop, Name: "edge-events"}, &corev1.Service{})
		}).Should(Succeed())
		kubectl("patch", "service", "-n", shop, "edge-clients", "--type=json", "-p",
			`[{"op":"replace","path":"/spec/ports/0/targetPort","value":9999}]`)
		Eventually(func() string {
			return kubectl("get", "service", "-n", shop, "edge-clients", "-o", "jsonpath={.spec.ports[0].targetPort}")
		}).ShouldNot(Equal("9999"))
	})

	It("holds the operator to its own annotations of pods", func() {
		as := impersonating("system:serviceaccount:" + operators + ":" + operatorAccount())
		patch := func(body string) error {
			return as.Patch(context.Background(), &podsOf("edge")[0], client.RawPatch(k8stypes.MergePatchType, []byte(body)))
		}
		Expect(patch(`{"metadata":{"labels":{"app":"stolen"}}}`)).To(MatchError(ContainSubstring("push.klaxon.dev/")))
		Expect(patch(`{"spec":{"activeDeadlineSeconds":1}}`)).To(MatchError(ContainSubstring("may not change the spec")))
		Expect(patch(`{"metadata":{"annotations":{"push.klaxon.dev/nudge":"test"}}}`)).To(Succeed())
	})

	It("lets another operator take over when the leader goes", func() {
		leader := leaderPod()
		kubectl("delete", "pod", "-n", operators, leader, "--wait=false")
		measured("heir", onEdge("heir", forAll))
		Expect(leaderPod()).NotTo(Equal(leader))
		kubectl("delete", "channel", "-n", shop, "heir")
	})

	It("keeps everything going while no operator runs", func() {
		kubectl("delete", "pod", "-n", operators, "--all", "--wait=true")
		Expect(orders.closed()).To(BeZero())
		kubectl("rollout", "status", "-n", operators, "deployment", "--timeout=60s")
		measured("late", onEdge("late", forAll))
		Expect(orders.closed()).To(BeZero())
		Expect(uidOf(podsOf("edge"))).To(Equal(edgePod), "the restarted operator replaced a pod")
	})

	It("shows columns and tells of transitions", func() {
		table := kubectl("get", "kch,kpu", "-n", shop, "-o", "wide")
		AddReportEntry("kubectl get kch,kpu -o wide", "\n"+table)
		for _, want := range []string{"CONNECTIONS", "ws://edge-clients.shop.svc/ws/orders", "channel.push.klaxon.dev/ticker", "pusher.push.klaxon.dev/edge"} {
			Expect(table).To(ContainSubstring(want))
		}
		events := kubectl("get", "events.events.k8s.io", "-n", shop, "--field-selector", "regarding.kind=Channel,regarding.name=orders")
		Expect(events).To(ContainSubstring("Ready"))
	})

	It("costs little", func() {
		AddReportEntry("resident memory of a push server with 5 Channels and 2 clients", resident(shop, podsOf("edge")[0].Name, 8082))
		AddReportEntry("resident memory of an idle push server", resident(shop, podsOf("ticker")[0].Name, 8082))
		AddReportEntry("resident memory of the operator", resident(operators, leaderPod(), 8080))
	})

	It("tells clients when to come back as a pod is rolled", func() {
		kubectl("patch", "pusher", "-n", shop, "edge", "--type=merge", "-p", `{"spec":{"podTemplate":{"annotations":{"rolled":"yes"}}}}`)
		for _, l := range []*listener{orders, news} {
			Eventually(l.closed).Should(restarted())
			if direct {
				Expect(l.heard()).To(ContainSubstring(`"type":"reconnect"`))
			}
		}
		Eventually(func() bool {
			pods := podsOf("edge")
			return len(pods) == 1 && string(pods[0].UID) != edgePod && pods[0].Annotations["rolled"] == "yes"
		}).Should(BeTrue())
		orders = listen("edge", "orders?token="+userToken(secondKey, "ann", "*"))
		ok, logs := publishPod(shop, "checkout", "push.klaxon.dev", channel("orders").Status.Address.URL, "rolled")
		Expect(ok).To(BeTrue(), logs)
		Eventually(func() int { return orders.count("rolled") }).Should(Equal(1))
	})

	It("replaces a deleted pod", func() {
		old := uidOf(podsOf("edge"))
		kubectl("delete", "pod", "-n", shop, podsOf("edge")[0].Name, "--wait=false")
		Eventually(orders.closed).Should(restarted())
		Eventually(func() bool {
			pods := podsOf("edge")
			return len(pods) == 1 && string(pods[0].UID) != old
		}).Should(BeTrue())
		listen("edge", "orders?token="+userToken(secondKey, "ann", "*"))
		Eventually(condition("orders", v1alpha1.ConditionApplied)).Should(Equal("True Applied"))
	})

	It("ends the sessions of a deleted Channel, and only those", func() {
		doomed, stays := listen("edge", "late"), listen("edge", "news")
		kubectl("delete", "channel", "-n", shop, "late")
		Eventually(doomed.closed).Should(Equal(wire.CloseChannelGone))
		Expect(stays.closed()).To(BeZero())
	})

	It("removes an owned Pusher with its Channel", func() {
		kubectl("delete", "channel", "-n", shop, "ticker")
		Eventually(func() int { return len(podsOf("ticker")) }).Should(BeZero())
		left := kubectl("get", "pushers,deployments,services,serviceaccounts,secrets", "-n", shop, "-l", v1alpha1.LabelPusher+"=ticker", "-o", "name")
		Expect(left).To(BeEmpty())
	})

	It("leaves only the definitions behind", func() {
		kubectl("delete", "channels,pushers", "-n", shop, "--all")
		Eventually(func() string {
			return kubectl("get", "deployments,services,pods,secrets", "-n", shop, "-l", v1alpha1.LabelPusher, "-o", "name")
		}).Should(BeEmpty())
		helm("uninstall", release, "-n", operators, "--wait")
		Eventually(func() []string { return leftovers() }).Should(ConsistOf(
			"customresourcedefinition.apiextensions.k8s.io/channels.push.klaxon.dev",
			"customresourcedefinition.apiextensions.k8s.io/pushers.push.klaxon.dev"))
	})
})

// resident asks a pod for the memory that it holds.
func resident(namespace, pod string, port int) string {
	GinkgoHelper()
	const metric = "process_resident_memory_bytes "
	text := kubectl("get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%d/proxy/metrics", namespace, pod, port))
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, metric); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			Expect(err).NotTo(HaveOccurred())
			return fmt.Sprintf("%.1f MiB", bytes/(1<<20))
		}
	}
	Fail("no " + metric + "in " + text)
	return ""
}

// restarted matches how a client is closed by a pod that ends. A port-forward
// ends with the pod too, and may swallow the close frame.
func restarted() types.GomegaMatcher {
	if direct {
		return Equal(wire.CloseRestart)
	}
	return BeElementOf(wire.CloseRestart, wire.CloseCode(1006))
}

// leaderPod is the pod that holds the operators' lease.
func leaderPod() string {
	GinkgoHelper()
	lease := get(&coordinationv1.Lease{}, operators, release+"-operator")
	Expect(lease.Spec.HolderIdentity).NotTo(BeNil())
	pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	return pod
}

func operatorAccount() string {
	GinkgoHelper()
	list := &appsv1.DeploymentList{}
	Expect(kube.List(context.Background(), list, client.InNamespace(operators))).To(Succeed())
	Expect(list.Items).To(HaveLen(1))
	return list.Items[0].Spec.Template.Spec.ServiceAccountName
}

// leftovers are all objects of the release that are still there.
func leftovers() []string {
	GinkgoHelper()
	out := kubectl("get", "customresourcedefinitions,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings", "-o", "name")
	out += kubectl("get", "all,serviceaccounts,roles,rolebindings,secrets", "-n", operators, "-o", "name")
	var left []string
	for _, name := range strings.Fields(out) {
		if strings.Contains(name, "klaxon") {
			left = append(left, name)
		}
	}
	slices.Sort(left)
	return left
}
