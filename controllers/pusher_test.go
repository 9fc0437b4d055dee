// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

var _ = Describe("A Pusher's objects", func() {
	It("exist, are owned by it, and are put right when somebody changes them", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		node.run(ctx, s, "edge", 1)
		says(ctx, p, served...)

		objects := map[string]client.Object{
			"edge-pusher": &appsv1.Deployment{}, "edge-clients": &corev1.Service{}, "edge-events": &corev1.Service{},
			"edge-pods": &corev1.Service{}, "edge-settings-0": &corev1.Secret{}, "edge-admin": &corev1.Secret{},
		}
		for name, obj := range objects {
			Expect(api.Get(ctx, s.key(name), obj)).To(Succeed(), name)
			Expect(metav1.GetControllerOf(obj).UID).To(Equal(p.UID), name)
		}
		account := &corev1.ServiceAccount{}
		Expect(api.Get(ctx, s.key("edge-pusher"), account)).To(Succeed())
		Expect(*account.AutomountServiceAccountToken).To(BeFalse())

		By("edits")
		deployment := objects["edge-pusher"].(*appsv1.Deployment)
		change(ctx, deployment, func(d *appsv1.Deployment) {
			d.Spec.Replicas = new(int32(5))
			d.Spec.Template.Spec.Containers[0].Image = "evil"
		})
		change(ctx, objects["edge-clients"].(*corev1.Service), func(o *corev1.Service) { o.Spec.Selector = map[string]string{"a": "b"} })
		change(ctx, objects["edge-settings-0"].(*corev1.Secret), func(o *corev1.Secret) { o.Data["index.json"] = []byte("{}") })
		change(ctx, objects["edge-events"].(*corev1.Service), func(o *corev1.Service) { o.Labels = nil })
		Eventually(func(g Gomega) {
			for name, obj := range objects {
				g.Expect(api.Get(ctx, s.key(name), obj)).To(Succeed(), name)
			}
			g.Expect(*deployment.Spec.Replicas).To(BeEquivalentTo(1))
			g.Expect(deployment.Spec.Template.Spec.Containers[0].Image).To(Equal(image))
			g.Expect(objects["edge-clients"].(*corev1.Service).Spec.Selector).To(HaveKeyWithValue(v1alpha1.LabelAccepting, "true"))
			g.Expect(objects["edge-events"].GetLabels()).To(HaveKeyWithValue(v1alpha1.LabelPusher, "edge"))
			_, err := load(ctx, string(s), "edge")
			g.Expect(err).NotTo(HaveOccurred())
		}).Should(Succeed())

		By("deletions")
		for name, obj := range objects {
			Expect(api.Delete(ctx, obj)).To(Succeed(), name)
		}
		for name, obj := range objects {
			Eventually(func() error { return api.Get(ctx, s.key(name), obj) }).Should(Succeed(), name)
		}
	})

	It("are not looked for where somebody else has them", func(ctx SpecContext) {
		s := newSpace(ctx)
		theirs := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "edge-clients"},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "theirs"}, Ports: []corev1.ServicePort{{Port: 9}}},
		}
		Expect(api.Create(ctx, theirs)).To(Succeed())
		p := s.pusher(ctx, "edge", "{}")
		says(ctx, p, not("Accepted", "Conflict"), not("Applied", "NotAccepted"), not("Ready", "NoReadyPods"))
		Expect(message(p, "Accepted")).To(ContainSubstring("Service edge-clients exists"))
		before := theirs.ResourceVersion
		Expect(api.Get(ctx, s.key("edge-clients"), theirs)).To(Succeed())
		Expect(theirs.ResourceVersion).To(Equal(before))
		Expect(api.Delete(ctx, theirs)).To(Succeed())
		says(ctx, p, is("Accepted", "Accepted"))
	})

	It("leave what the API server refuses to a condition", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{podTemplate: {nodeSelector: {'not a label!': x}}}")
		says(ctx, p, is("Accepted", "Accepted"), not("Applied", "ApplyFailed"))
		Expect(message(p, "Applied")).To(And(ContainSubstring("Deployment edge-pusher"), ContainSubstring("nodeSelector")))
		change(ctx, p, func(p *v1alpha1.Pusher) { p.Spec.PodTemplate = nil })
		node.run(ctx, s, "edge", 1)
		says(ctx, p, served...)
	})

	It("roll out before they count as applied", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		node.run(ctx, s, "edge", 1)
		says(ctx, p, served...)
		change(ctx, p, func(p *v1alpha1.Pusher) {
			p.Spec.Drain = &v1alpha1.DrainSpec{MaxPeriod: &metav1.Duration{Duration: time.Minute}}
		})
		says(ctx, p, not("Applied", "Pending"), is("Ready", "Ready"))
		d := &appsv1.Deployment{}
		Expect(api.Get(ctx, s.key("edge-pusher"), d)).To(Succeed())
		Expect(*d.Spec.Template.Spec.TerminationGracePeriodSeconds).To(BeEquivalentTo(75))
		node.rollOut(ctx, d, 1)
		says(ctx, p, served...)
	})

	It("include an admin credential that stays as it is", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		node.run(ctx, s, "edge", 1)
		says(ctx, p, served...)
		secret := &corev1.Secret{}
		Expect(api.Get(ctx, s.key("edge-admin"), secret)).To(Succeed())
		first := string(secret.Data["token"])
		Expect(first).To(HaveLen(43))
		change(ctx, p, func(p *v1alpha1.Pusher) { p.Spec.Metrics = &v1alpha1.MetricsSpec{Access: v1alpha1.MetricsOpen} })
		says(ctx, p, served...)
		Expect(api.Get(ctx, s.key("edge-admin"), secret)).To(Succeed())
		Expect(string(secret.Data["token"])).To(Equal(first))

		By("a person rotates it")
		change(ctx, secret, func(o *corev1.Secret) { o.Data["token"] = []byte(strings.Repeat("r", 40)) })
		Eventually(func(g Gomega) {
			stored, err := load(ctx, string(s), "edge")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(stored.Pusher.Admin.TokenSHA256).To(HavePrefix("ee1c0118")) // SHA-256 of 40 r
		}).Should(Succeed())
		says(ctx, p, served...) // the pods are made to learn it

		By("somebody deletes it")
		Expect(api.Delete(ctx, secret)).To(Succeed())
		Eventually(func() error { return api.Get(ctx, s.key("edge-admin"), secret) }).Should(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(mounted(ctx, string(s), "edge").Pusher.Admin.TokenSHA256).To(Equal(sha256Hex(secret.Data["token"])))
			saysNow(ctx, g, p, served...)
		}).Should(Succeed())
	})
})

var _ = Describe("A Pusher that may not be changed", func() {
	It("runs several replicas over a NATS, and rolls them when the way there changes", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{replicas: 3, broker: {nats: {url: 'nats://nats.infra:4222', credentialsSecretRef: {name: nats-login}}}}")
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}}")
		says(ctx, p, not("Accepted", "SecretNotFound"))
		login := func(password string) {
			secret := &corev1.Secret{}
			secret.Namespace, secret.Name, secret.Labels = string(s), "nats-login", allowed
			secret.StringData = map[string]string{"username": "edge", "password": password}
			if err := api.Create(ctx, secret); err != nil {
				Expect(api.Update(ctx, secret)).To(Succeed())
			}
		}
		login("first")
		node.run(ctx, s, "edge", 3)
		says(ctx, p, is("Accepted", "Accepted"), is("Applied", "Applied"), is("Ready", "Ready"))
		says(ctx, ch, served...)
		Expect(api.Get(ctx, s.key("edge"), p)).To(Succeed())
		Expect(p.Status.Broker).To(Equal("NATS"))
		d := &appsv1.Deployment{}
		Expect(api.Get(ctx, s.key("edge-pusher"), d)).To(Succeed())
		Expect(d.Spec.Strategy.Type).To(Equal(appsv1.RollingUpdateDeploymentStrategyType))
		before := d.Spec.Template.Annotations[v1alpha1.AnnotationBroker]
		Expect(before).NotTo(BeEmpty())
		login("second")
		Eventually(func() string { return mounted(ctx, string(s), "edge").Pusher.NATS.Password }).Should(Equal("second"))
		Expect(api.Get(ctx, s.key("edge-pusher"), d)).To(Succeed())
		Expect(d.Spec.Template.Annotations[v1alpha1.AnnotationBroker]).To(Equal(before)) // it is used without a restart
		change(ctx, p, func(p *v1alpha1.Pusher) { p.Spec.Broker.NATS.URL = "nats://another.infra:4222" })
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("edge-pusher"), d)).To(Succeed())
			g.Expect(d.Spec.Template.Annotations[v1alpha1.AnnotationBroker]).NotTo(Equal(before))
		}).Should(Succeed())
	})

	It("runs a broker for several replicas that come without one, for good", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{replicas: 3}")
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}}")
		says(ctx, p, is("Accepted", "Accepted"), not("BrokerReady", "NotWhole"), not("Applied", "Pending"))
		node.broker(ctx, s, "edge")
		node.run(ctx, s, "edge", 3)
		says(ctx, p, is("Applied", "Applied"), is("Ready", "Ready"), is("BrokerReady", "Ready"))
		says(ctx, ch, served...)
		Expect(api.Get(ctx, s.key("edge"), p)).To(Succeed())
		Expect(p.Status.Broker).To(Equal("Managed"))

		// What both sides are given fits together.
		files, way := &corev1.Secret{}, mounted(ctx, string(s), "edge").Pusher.NATS
		Expect(api.Get(ctx, s.key("edge-broker"), files)).To(Succeed())
		Expect(string(files.Data["clients"])).To(Equal(way.User + ":" + way.Password + "\n"))
		Expect(files.Data["ca.crt"]).To(Equal(way.CA))
		Expect(way.Replicas).To(Equal(3))
		server, err := tls.X509KeyPair(files.Data["tls.crt"], files.Data["tls.key"])
		Expect(err).NotTo(HaveOccurred())
		roots := x509.NewCertPool()
		Expect(roots.AppendCertsFromPEM(way.CA)).To(BeTrue())
		for _, one := range strings.Split(way.URL, ",") {
			u, err := url.Parse(one)
			Expect(err).NotTo(HaveOccurred())
			_, err = server.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: u.Hostname()})
			Expect(err).NotTo(HaveOccurred())
		}
		_, err = tls.X509KeyPair(way.Certificate, way.Key)
		Expect(err).NotTo(HaveOccurred())

		// Scaling changes nothing of it.
		set := &appsv1.StatefulSet{}
		Expect(api.Get(ctx, s.key("edge-broker"), set)).To(Succeed())
		before := set.Generation
		change(ctx, p, func(p *v1alpha1.Pusher) { p.Spec.Replicas = new(int32(1)) })
		d := &appsv1.Deployment{}
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("edge-pusher"), d)).To(Succeed())
			g.Expect(*d.Spec.Replicas).To(Equal(int32(1)))
		}).Should(Succeed())
		Expect(api.Get(ctx, s.key("edge-broker"), set)).To(Succeed())
		Expect(set.Generation).To(Equal(before))
		again := &corev1.Secret{}
		Expect(api.Get(ctx, s.key("edge-broker"), again)).To(Succeed())
		Expect(again.ResourceVersion).To(Equal(files.ResourceVersion))

		change(ctx, p, func(p *v1alpha1.Pusher) {
			p.Spec.Broker = &v1alpha1.BrokerSpec{NATS: &v1alpha1.NATSSpec{URL: "nats://nats.infra:4222"}}
		})
		says(ctx, p, not("Accepted", "BrokerFixed"))
		change(ctx, p, func(p *v1alpha1.Pusher) {
			p.Spec.Broker = &v1alpha1.BrokerSpec{Managed: &v1alpha1.ManagedBrokerSpec{PriorityClassName: "system-cluster-critical"}}
		})
		says(ctx, p, is("Accepted", "Accepted"))
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("edge-broker"), set)).To(Succeed())
			g.Expect(set.Spec.Template.Spec.PriorityClassName).To(Equal("system-cluster-critical"))
		}).Should(Succeed())
	})

	It("leaves what runs as it is without a broker for several replicas", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}}")
		node.run(ctx, s, "edge", 1)
		says(ctx, ch, served...)
		before := versions(ctx, s, ch)
		_, err := server.Kubectl("scale", "kpu/edge", "--replicas=3", "-n", string(s))
		Expect(err).NotTo(HaveOccurred())
		says(ctx, p, not("Accepted", "BrokerRequired"), not("Applied", "NotAccepted"), is("Ready", "Ready"))
		Expect(versions(ctx, s, ch)).To(Equal(before)) // the Channel is served as before

		late := s.channel(ctx, "late", "{pusherRef: {name: edge}}")
		says(ctx, late, is("Accepted", "Accepted"), not("Applied", "NotAccepted"))
		change(ctx, p, func(p *v1alpha1.Pusher) { p.Spec.Replicas = new(int32(1)) })
		says(ctx, late, served...)
		says(ctx, p, served...)
	})

	It("keeps everything as it is while paused", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}}")
		node.run(ctx, s, "edge", 1)
		says(ctx, ch, served...)
		change(ctx, p, func(p *v1alpha1.Pusher) { p.Spec.Paused = true })
		says(ctx, p, is("Accepted", "Accepted"), not("Applied", "Paused"), is("Ready", "Ready"))
		before := mounted(ctx, string(s), "edge").Revision
		change(ctx, ch, func(ch *v1alpha1.Channel) { ch.Spec.Clients = &v1alpha1.ClientsSpec{Anonymous: true} })
		says(ctx, ch, is("Accepted", "Accepted"), not("Applied", "Paused"), is("Ready", "Ready"))
		Expect(mounted(ctx, string(s), "edge").Revision).To(Equal(before))
		change(ctx, p, func(p *v1alpha1.Pusher) { p.Spec.Paused = false })
		says(ctx, ch, served...)
	})

	It("runs nothing with no replicas", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{replicas: 0}")
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}}")
		node.run(ctx, s, "edge", 0)
		says(ctx, p, is("Accepted", "Accepted"), is("Applied", "Applied"), not("Ready", "NoReadyPods"))
		says(ctx, ch, is("Accepted", "Accepted"), not("Applied", "NoReadyPods"), not("Ready", "NoReadyPods"))
	})
})

var _ = Describe("What pods say", func() {
	It("decides over Applied, not over Ready", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}}")
		pods := node.run(ctx, s, "edge", 2)
		says(ctx, ch, served...)

		By("a pod that cannot be asked")
		node.tell(pods[1], func(p *fakePod) { p.failure = errors.New("no answer in time") })
		says(ctx, ch, is("Accepted", "Accepted"), unknown("Applied", "StatusUnreachable"), is("Ready", "Ready"))
		says(ctx, p, unknown("Applied", "StatusUnreachable"), is("Ready", "Ready"))
		Expect(message(ch, "Applied")).To(Equal("Pod " + pods[1].key.Name + " cannot be asked: no answer in time"))
		node.tell(pods[1], func(p *fakePod) { p.failure = nil })
		says(ctx, ch, served...)

		By("a pod that refuses its settings and keeps the earlier")
		node.tell(pods[0], func(p *fakePod) { p.rejects = "settings: invalid: too odd" })
		change(ctx, ch, func(ch *v1alpha1.Channel) { ch.Spec.Clients = &v1alpha1.ClientsSpec{Anonymous: true} })
		says(ctx, ch, not("Applied", "SettingsRejected"), is("Ready", "Ready"))
		Expect(message(ch, "Applied")).To(ContainSubstring("too odd"))
		node.tell(pods[0], func(p *fakePod) { p.rejects = "" })
		says(ctx, ch, served...)

		By("a pod that is not ready does not count")
		node.ready(ctx, pods[0], corev1.ConditionFalse)
		node.ready(ctx, pods[1], corev1.ConditionFalse)
		says(ctx, ch, not("Applied", "NoReadyPods"), not("Ready", "NoReadyPods"))
		node.ready(ctx, pods[1], corev1.ConditionTrue)
		says(ctx, ch, served...)
		Eventually(func(g Gomega) {
			g.Expect(api.Get(ctx, s.key("edge"), p)).To(Succeed())
			g.Expect([]int32{p.Status.Replicas, p.Status.ReadyReplicas}).To(Equal([]int32{2, 1}))
		}).Should(Succeed())
	})

	It("is asked for at a bounded rate, and pods that are up to date are not nudged", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		pods := node.run(ctx, s, "edge", 1)
		says(ctx, p, served...)
		asked := func() (n int) { node.tell(pods[0], func(p *fakePod) { n = p.asked }); return n }
		start := asked()
		Consistently(asked).Should(BeNumerically("<=", start+5)) // 2s at one round a second, with a margin
		pod := &corev1.Pod{}
		Expect(api.Get(ctx, pods[0].key, pod)).To(Succeed())
		Expect(pod.Annotations).NotTo(HaveKey(v1alpha1.AnnotationNudge))
	})

	It("brings new keys when a pod meets one that it does not know", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		pods := node.run(ctx, s, "edge", 1)
		says(ctx, p, served...)
		keys.rotate("second")
		Expect(string(mounted(ctx, string(s), "edge").Pusher.ServiceAccounts.JWKS)).To(ContainSubstring("first"))
		node.tell(pods[0], func(p *fakePod) { p.unknownKeys = []string{"second"} })
		Eventually(func() string { return string(mounted(ctx, string(s), "edge").Pusher.ServiceAccounts.JWKS) }).
			WithTimeout(30 * time.Second).Should(ContainSubstring("second"))
		node.tell(pods[0], func(p *fakePod) { p.unknownKeys = nil })
		says(ctx, p, served...)
	})
})

var _ = Describe("Settings", func() {
	It("follow the Secrets that Channels refer to", func(ctx SpecContext) {
		s := newSpace(ctx)
		s.pusher(ctx, "edge", "{}")
		other := s.channel(ctx, "other", "{pusherRef: {name: edge}}")
		node.run(ctx, s, "edge", 1)
		says(ctx, other, served...)
		before := other.ResourceVersion
		ch := s.channel(ctx, "orders", "{pusherRef: {name: edge}, publishers: [{tokenSecretRef: {name: key, key: value}}]}")
		says(ctx, ch, not("Accepted", "SecretNotFound"), not("Applied", "NotAccepted"), not("Ready", "Pending"))
		s.secret(ctx, "key", strings.Repeat("a", 32), nil)
		says(ctx, ch, not("Accepted", "SecretNotAllowed"))
		s.secret(ctx, "key", "short", allowed)
		says(ctx, ch, not("Accepted", "SecretInvalid"))
		s.secret(ctx, "key", strings.Repeat("a", 32), allowed)
		says(ctx, ch, served...)
		first := ch.Status.Revision
		s.secret(ctx, "key", strings.Repeat("b", 32), allowed)
		Eventually(func(g Gomega) {
			saysNow(ctx, g, ch, served...)
			g.Expect(ch.Status.Revision).NotTo(Equal(first))
		}).Should(Succeed())
		s.secret(ctx, "key", strings.Repeat("b", 32), nil)
		says(ctx, ch, not("Accepted", "SecretNotAllowed"), not("Ready", "Pending"))
		Expect(channelNames(ctx, s, "edge")).To(ConsistOf("other"))
		Expect(api.Get(ctx, s.key("other"), other)).To(Succeed())
		Expect(other.ResourceVersion).To(Equal(before))
	})

	It("leave no Secret behind that they no longer need", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		says(ctx, p, is("Accepted", "Accepted"))
		old := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: string(s), Name: "edge-settings-2",
			Labels:          map[string]string{"app.kubernetes.io/managed-by": "klaxon", v1alpha1.LabelPusher: "edge"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p, v1alpha1.GroupVersion.WithKind("Pusher"))},
		}}
		theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "edge-settings-3"}}
		Expect(api.Create(ctx, theirs)).To(Succeed())
		Expect(api.Create(ctx, old)).To(Succeed())
		Eventually(func() bool { return apierrors.IsNotFound(api.Get(ctx, s.key(old.Name), old)) }).Should(BeTrue())
		Expect(api.Get(ctx, s.key(theirs.Name), theirs)).To(Succeed())
	})

	It("hold a thousand Channels", func(ctx SpecContext) {
		s := newSpace(ctx)
		p := s.pusher(ctx, "edge", "{}")
		node.run(ctx, s, "edge", 1)
		says(ctx, p, served...)
		start := time.Now()
		for i := range 1000 {
			s.channel(ctx, fmt.Sprintf("channel-%d", i), "{pusherRef: {name: edge}, clients: {anonymous: true}}")
		}
		created := time.Since(start)
		Eventually(func(g Gomega) {
			g.Expect(readyChannels(ctx, s)).To(Equal(1000))
		}).WithTimeout(2 * time.Minute).WithPolling(time.Second).Should(Succeed())
		AddReportEntry("a thousand Channels", fmt.Sprintf("created in %s, all ready %s after the first", created, time.Since(start)))

		start = time.Now()
		late := s.channel(ctx, "late", "{pusherRef: {name: edge}}")
		says(ctx, late, served...)
		AddReportEntry("one more", time.Since(start).String())
	}, SpecTimeout(4*time.Minute))
})

// readyChannels counts the Channels of a space that are ready and applied.
func readyChannels(ctx context.Context, s space) int {
	GinkgoHelper()
	list := &v1alpha1.ChannelList{}
	Expect(api.List(ctx, list, client.InNamespace(string(s)))).To(Succeed())
	n := 0
	for i := range list.Items {
		ok := 0
		for _, c := range list.Items[i].Status.Conditions {
			if c.Status == metav1.ConditionTrue && c.ObservedGeneration == list.Items[i].Generation {
				ok++
			}
		}
		if ok == 3 {
			n++
		}
	}
	return n
}
