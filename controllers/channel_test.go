// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/test/apiserver"
)

var _ = Describe("A Channel of its own", func() {
	It("gets a Pusher that is deleted with it, and tells where it is served", func(ctx SpecContext) {
		s := newSpace(ctx)
		ch := s.channel(ctx, "orders", "{clients: {anonymous: true}, pusher: {heartbeat: {interval: 1500ms}}}")
		says(ctx, ch, is("Accepted", "Accepted"), not("Applied", "NoReadyPods"), not("Ready", "NoReadyPods"))
		p := &v1alpha1.Pusher{}
		Expect(api.Get(ctx, s.key("orders"), p)).To(Succeed())
		Expect(metav1.GetControllerOf(p).UID).To(Equal(ch.UID))
		Expect(p.Spec.Heartbeat.Interval.Duration).To(Equal(1500 * time.Millisecond))

		pods := node.run(ctx, s, "orders", 1)
		node.tell(pods[0], func(p *fakePod) { p.connections = 7 })
		says(ctx, ch, served...)
		says(ctx, p, served...)
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("orders"), ch)).To(Succeed())
			g.Expect(ch.Status.Connections).To(BeEquivalentTo(7))
		}).Should(Succeed())
		Expect(ch.Status.Pusher).To(Equal("orders"))
		Expect(*ch.Status.URLs).To(Equal(v1alpha1.ChannelURLs{
			WebSocket:   "ws://orders-clients." + string(s) + ".svc/ws/orders",
			SocketIO:    "http://orders-clients." + string(s) + ".svc/orders",
			EventStream: "http://orders-clients." + string(s) + ".svc/sse/orders",
		}))
		Expect(ch.Status.Address.URL).To(Equal("http://orders-events." + string(s) + ".svc/v1/channels/orders/events"))
		Expect(ch.Status.Address.Audience).To(Equal("push.klaxon.dev/" + string(s) + "/orders"))
		Expect(ch.Status.Revision).NotTo(BeEmpty())

		out, err := server.Kubectl("get", "kch,kpu", "-o", "wide", "-n", string(s))
		Expect(err).NotTo(HaveOccurred())
		AddReportEntry("kubectl get kch,kpu -o wide", out)
		Expect(out).To(MatchRegexp(`NAME\s+PUSHER\s+READY\s+APPLIED\s+CONNECTIONS\s+AGE\s+ACCEPTED\s+CLIENTS\s+PUBLISH\n` +
			`channel\S+/orders\s+orders\s+True\s+True\s+7\s+\S+\s+Accepted\s+ws://\S+\s+http://\S+\n`))
		Expect(out).To(MatchRegexp(`NAME\s+READY\s+APPLIED\s+REPLICAS\s+CHANNELS\s+CONNECTIONS\s+AGE\s+ACCEPTED\s+REVISION\n` +
			`pusher\S+/orders\s+True\s+True\s+1\s+1\s+7\s+\S+\s+Accepted\s+[0-9a-f]{16}\n`))
	})

	It("passes changes of spec.pusher on, and undoes others' changes of its Pusher", func(ctx SpecContext) {
		s := newSpace(ctx)
		ch := s.channel(ctx, "orders", "{pusher: {drain: {maxPeriod: 1m}}}")
		p := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "orders"}}
		Eventually(func() error { return api.Get(ctx, s.key("orders"), p) }).Should(Succeed())
		change(ctx, ch, func(ch *v1alpha1.Channel) { ch.Spec.Pusher.Paused = true })
		says(ctx, p, not("Applied", "Paused"))
		change(ctx, ch, func(ch *v1alpha1.Channel) { ch.Spec.Pusher = nil })
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("orders"), p)).To(Succeed())
			g.Expect(p.Spec.Paused).To(BeFalse())
			g.Expect(p.Spec.Drain).To(BeNil())
		}).Should(Succeed())
		change(ctx, p, func(p *v1alpha1.Pusher) { p.Spec.Replicas = new(int32(0)) })
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("orders"), p)).To(Succeed())
			g.Expect(*p.Spec.Replicas).To(BeEquivalentTo(1))
		}).Should(Succeed())
	})

	It("says what keeps its own Pusher from being accepted", func(ctx SpecContext) {
		s := newSpace(ctx)
		ch := s.channel(ctx, "orders", "{pusher: {broker: {nats: {url: 'nats://nats:4222', credentialsSecretRef: {name: none}}}}}")
		says(ctx, ch, not("Accepted", "SecretNotFound"), not("Applied", "NotAccepted"), not("Ready", "NoReadyPods"))
	})

	It("never takes over a Pusher that is not its own", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{paused: true}")
		ch := s.channel(ctx, "edge", "{}")
		says(ctx, ch, not("Accepted", "Conflict"), not("Applied", "NotAccepted"), not("Ready", "NotAccepted"))
		Expect(message(ch, "Accepted")).To(ContainSubstring("Pusher edge exists"))
		Expect(api.Get(ctx, s.key("edge"), p)).To(Succeed())
		Expect(p.OwnerReferences).To(BeEmpty())
		Expect(p.Spec.Paused).To(BeTrue())

		Expect(api.Delete(ctx, p)).To(Succeed())
		says(ctx, ch, is("Accepted", "Accepted"))
	})

	It("is tried again when the API server has refused its Pusher", func(ctx SpecContext) {
		s := newSpace(ctx)
		lift := forbidPushers(ctx, s)
		ch := s.channel(ctx, "orders", "{}")
		says(ctx, ch, unknown("Accepted", "Pending"), not("Applied", "ApplyFailed"))
		Expect(message(ch, "Applied")).To(ContainSubstring("no Pushers here"))
		lift()
		says(ctx, ch, is("Accepted", "Accepted"))
	})

	It("tells of transitions in Events", func(ctx SpecContext) {
		s := newSpace(ctx)
		ch := s.channel(ctx, "orders", "{}")
		node.run(ctx, s, "orders", 1)
		says(ctx, ch, served...)
		Eventually(func(g Gomega) {
			list := &eventsv1.EventList{}
			g.Expect(api.List(ctx, list, client.InNamespace(string(s)))).To(Succeed())
			told := map[string]string{}
			for _, e := range list.Items {
				if e.Regarding.UID == ch.UID {
					told[e.Reason] = e.Type + " " + e.Note
				}
			}
			g.Expect(told).To(HaveKeyWithValue("Accepted", HavePrefix("Normal Accepted: ")))
			g.Expect(told).To(HaveKeyWithValue("Ready", HavePrefix("Normal Ready: ")))
			g.Expect(told).To(HaveKeyWithValue("Applied", HavePrefix("Normal Applied: ")))
		}).Should(Succeed())
	})
})

var _ = Describe("A Channel that joins a Pusher", func() {
	It("waits for a Pusher that does not exist", func(ctx SpecContext) {
		s := newSpace(ctx)
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}}")
		says(ctx, ch, not("Accepted", "PusherNotFound"), not("Applied", "NotAccepted"), not("Ready", "NotAccepted"))
		p := s.pusher(ctx, "edge", "{}")
		node.run(ctx, s, "edge", 1)
		says(ctx, ch, served...)
		Expect(api.Delete(ctx, p)).To(Succeed())
		says(ctx, ch, not("Accepted", "PusherNotFound"), not("Ready", "NotAccepted"))
	})

	It("is refused by a Pusher that belongs to another Channel", func(ctx SpecContext) {
		s := newSpace(ctx)
		own := s.channel(ctx, "orders", "{}")
		says(ctx, own, is("Accepted", "Accepted"))
		ch := s.channel(ctx, "guest", "{pusherRef: {name: orders}}")
		says(ctx, ch, not("Accepted", "PusherOwned"))
		Expect(message(ch, "Accepted")).To(ContainSubstring("belongs to Channel orders alone"))
		Expect(channelNames(ctx, s, "orders")).To(ConsistOf("orders"))
	})

	It("may be served by a Pusher that something other than a Channel made", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "edge", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "shop.example.com/v1", Kind: "Shop", Name: "orders", UID: "s", Controller: new(true)},
		}}}
		Expect(api.Create(ctx, p)).To(Succeed())
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}}")
		node.run(ctx, s, "edge", 1)
		says(ctx, ch, served...)
	})

	It("comes, changes and goes without touching the other Channels or anything but settings", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		calm := s.channel(ctx, "calm", "{pusherRef: {name: edge}}")
		node.run(ctx, s, "edge", 2)
		says(ctx, calm, served...)
		says(ctx, p, served...)
		before := versions(ctx, s, calm)

		busy := s.channel(ctx, "busy", "{pusherRef: {name: edge}}")
		says(ctx, busy, served...)
		change(ctx, busy, func(ch *v1alpha1.Channel) { ch.Spec.Clients = &v1alpha1.ClientsSpec{Anonymous: true} })
		says(ctx, busy, served...)
		Expect(channelNames(ctx, s, "edge")).To(ConsistOf("busy", "calm"))
		Expect(api.Delete(ctx, busy)).To(Succeed())
		Eventually(func() []string { return channelNames(ctx, s, "edge") }).Should(ConsistOf("calm"))
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("edge"), p)).To(Succeed())
			g.Expect(p.Status.Channels).To(BeEquivalentTo(1))
		}).Should(Succeed())
		Expect(versions(ctx, s, calm)).To(Equal(before))
	})

	It("waits for its Socket.IO namespace until the older Channel is gone", func(ctx SpecContext) {
		s := newSpace(ctx)
		s.pusher(ctx, "edge", "{}")
		node.run(ctx, s, "edge", 1)
		calm := s.channel(ctx, "calm", "{pusherRef: {name: edge}}")
		says(ctx, calm, served...)
		first := s.channel(ctx, "first", "{pusherRef: {name: edge}, socketIO: {namespace: /shop}}")
		says(ctx, first, served...)
		before := versions(ctx, s, calm)

		// Among Channels of one second the name decides, so the younger has the later one.
		second := s.channel(ctx, "second", "{pusherRef: {name: edge}, socketIO: {namespace: /shop}}")
		says(ctx, second, not("Accepted", "NamespaceTaken"), not("Applied", "NotAccepted"), not("Ready", "Pending"))
		Expect(message(second, "Accepted")).To(And(ContainSubstring("Channel first"), ContainSubstring("/shop"),
			ContainSubstring("spec.socketIO.namespace")))
		Expect(channelNames(ctx, s, "edge")).To(ConsistOf("calm", "first"))
		says(ctx, first, served...)

		Expect(api.Delete(ctx, first)).To(Succeed())
		says(ctx, second, served...)
		Expect(second.Status.URLs.SocketIO).To(Equal("http://edge-clients." + string(s) + ".svc/shop"))
		Expect(versions(ctx, s, calm)).To(Equal(before))
	})

	It("can move to another Pusher", func(ctx SpecContext) {
		s := newSpace(ctx)
		for _, name := range []string{"one", "two"} {
			s.pusher(ctx, name, "{}")
			node.run(ctx, s, name, 1)
		}
		ch := s.channel(ctx, "orders", "{pusherRef: {name: one}}")
		says(ctx, ch, served...)
		change(ctx, ch, func(ch *v1alpha1.Channel) { ch.Spec.PusherRef.Name = "two" })
		says(ctx, ch, served...)
		Expect(ch.Status.Pusher).To(Equal("two"))
		Eventually(func() []string { return channelNames(ctx, s, "one") }).Should(BeEmpty())
	})
})

var _ = Describe("The samples", func() {
	It("are all taken by the API server and accepted by the operator", func(ctx SpecContext) {
		s := newSpace(ctx)
		root, err := apiserver.Root()
		Expect(err).NotTo(HaveOccurred())
		files, err := filepath.Glob(filepath.Join(root, "config", "samples", "*.yaml"))
		Expect(err).NotTo(HaveOccurred())
		Expect(files).NotTo(BeEmpty())
		for _, f := range files {
			Expect(os.ReadFile(f)).NotTo(BeEmpty())
			_, err := server.Kubectl("apply", "--server-side", "-n", string(s), "-f", f)
			Expect(err).NotTo(HaveOccurred())
		}
		list := &v1alpha1.ChannelList{}
		Expect(api.List(ctx, list, client.InNamespace(string(s)))).To(Succeed())
		Expect(list.Items).To(HaveLen(12))
		for i := range list.Items {
			says(ctx, &list.Items[i], is("Accepted", "Accepted"))
		}
	})
})

// forbidPushers has the API server refuse new Pushers in a space until lifted.
func forbidPushers(ctx context.Context, s space) (lift func()) {
	GinkgoHelper()
	manifest := filepath.Join(GinkgoT().TempDir(), "policy.yaml")
	Expect(os.WriteFile(manifest, []byte(strings.ReplaceAll(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: SPACE}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [push.klaxon.dev], apiVersions: ["*"], operations: [CREATE], resources: [pushers]}]
  validations: [{expression: "false", reason: Forbidden, message: no Pushers here}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: SPACE}
spec:
  policyName: SPACE
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: SPACE}}}
`, "SPACE", string(s))), 0o600)).To(Succeed())
	_, err := server.Kubectl("apply", "-f", manifest)
	Expect(err).NotTo(HaveOccurred())
	probe := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "probe"}}
	Eventually(func() error { return api.Create(ctx, probe.DeepCopy(), client.DryRunAll) }).Should(MatchError(ContainSubstring("no Pushers here")))
	return func() {
		_, err := server.Kubectl("delete", "-f", manifest)
		Expect(err).NotTo(HaveOccurred())
	}
}

// channelNames are the Channels in a Pusher's stored settings.
func channelNames(ctx context.Context, s space, pusher string) []string {
	stored, err := load(ctx, string(s), pusher)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, ch := range stored.Channels {
		out = append(out, ch.Name)
	}
	return out
}

// versions are the resourceVersions of a Channel and of all objects of a space
// that no Channel may touch.
func versions(ctx context.Context, s space, ch *v1alpha1.Channel) map[string]string {
	GinkgoHelper()
	Expect(api.Get(ctx, client.ObjectKeyFromObject(ch), ch)).To(Succeed())
	out := map[string]string{"Channel " + ch.Name: ch.ResourceVersion}
	for _, kind := range []string{"Deployment", "Service", "ServiceAccount"} {
		list := &metav1.PartialObjectMetadataList{}
		group := corev1.SchemeGroupVersion
		if kind == "Deployment" {
			group.Group = "apps"
		}
		list.SetGroupVersionKind(group.WithKind(kind + "List"))
		Expect(api.List(ctx, list, client.InNamespace(string(s)))).To(Succeed())
		for _, o := range list.Items {
			out[kind+" "+o.Name] = o.ResourceVersion
		}
	}
	return out
}

var _ = Describe("A Channel's names", func() {
	It("are free again when it is gone", func(ctx SpecContext) {
		s := newSpace(ctx)
		ch := s.channel(ctx, "orders", "{}")
		p := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "orders"}}
		says(ctx, p, is("Accepted", "Accepted"))
		Expect(api.Delete(ctx, ch)).To(Succeed())
		again := s.channel(ctx, "orders", "{}")
		says(ctx, again, not("Applied", "Pending")) // the garbage collector, which this test plays, is not done
		Expect(api.Delete(ctx, p)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("orders"), p)).To(Succeed())
			g.Expect(metav1.IsControlledBy(p, again)).To(BeTrue())
		}).Should(Succeed())
	})
})
