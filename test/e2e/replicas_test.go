// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// natsNode is a NATS of the cluster's own, and the Secret by which its owner offers it.
func natsNode() string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: nats-clients, namespace: shop}
stringData: {clients: "fleet:a-password-of-many-bytes"}
---
apiVersion: v1
kind: Secret
metadata: {name: nats-login, namespace: shop, labels: {push.klaxon.dev/allow: "true"}}
type: kubernetes.io/basic-auth
stringData: {username: fleet, password: a-password-of-many-bytes}
---
apiVersion: v1
kind: Service
metadata: {name: nats, namespace: shop}
spec:
  selector: {app: nats}
  ports: [{port: 4222}]
---
apiVersion: v1
kind: Pod
metadata: {name: nats, namespace: shop, labels: {app: nats}}
spec:
  containers:
  - name: nats
    image: %s
    command: [/broker, --name=nats, --credentials=/etc/nats]
    readinessProbe: {httpGet: {path: /readyz, port: 8222}, periodSeconds: 1}
    volumeMounts: [{name: clients, mountPath: /etc/nats, readOnly: true}, {name: tmp, mountPath: /tmp}]
  volumes: [{name: clients, secret: {secretName: nats-clients}}, {name: tmp, emptyDir: {}}]
`, image)
}

const fleet = `
apiVersion: push.klaxon.dev/v1alpha1
kind: Pusher
metadata: {name: fleet, namespace: shop}
spec:
  replicas: 3
  broker: {nats: {url: "nats://nats.shop.svc:4222", storage: Memory, credentialsSecretRef: {name: nats-login}}}
  drain: {period: 2s, maxPeriod: 10s}
---
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: lorries, namespace: shop}
spec: {pusherRef: {name: fleet}, clients: {anonymous: true}, history: {size: 10000}}
`

var _ = Describe("Several replicas", Ordered, func() {
	It("installs", func() {
		repository, tag := image[:strings.LastIndex(image, ":")], image[strings.LastIndex(image, ":")+1:]
		helm("install", release, "../../charts/klaxon", "-n", operators, "--create-namespace", "--wait",
			"--set", "image.repository="+repository, "--set-string", "image.tag="+tag, "--set", "statusInterval=2s")
		_, _ = try("", kubeBin, "create", "namespace", shop) // the other suite's may be there
	})

	AfterAll(func() {
		_, _ = try("", kubeBin, "delete", "channels,pushers", "-n", shop, "--all")
		_, _ = try("", kubeBin, "delete", "pod/nats", "service/nats", "-n", shop, "--ignore-not-found", "--now")
		_, _ = try("", helmBin, "uninstall", release, "-n", operators, "--ignore-not-found", "--wait")
		_, _ = try("", kubeBin, "delete", "namespace", shop, operators, "--ignore-not-found")
		_, _ = try("", kubeBin, "delete", "crd", "channels.push.klaxon.dev", "pushers.push.klaxon.dev", "--ignore-not-found")
	})

	It("behave as one over a NATS, while they are rolled, deleted and killed", func(ctx SpecContext) {
		apply(natsNode())
		apply(fleet)
		Eventually(condition("lorries", v1alpha1.ConditionApplied)).Should(Equal("True Applied"))
		ready := func() int {
			return int(get(&v1alpha1.Pusher{}, shop, "fleet").Status.ReadyReplicas)
		}
		Eventually(ready).Should(Equal(3))
		Expect(get(&v1alpha1.Pusher{}, shop, "fleet").Status.Broker).To(Equal("NATS"))

		c := watchWith(ctx, "fleet", "lorries")
		c.while("nothing happens", c.some())

		kubectl("patch", "pusher", "-n", shop, "fleet", "--type=merge", "-p", `{"spec":{"podTemplate":{"annotations":{"rolled":"yes"}}}}`)
		c.while("pods are rolled", func() bool {
			rolled := 0
			for _, pod := range podsOf("fleet") {
				if pod.Annotations["rolled"] != "yes" {
					return false
				}
				rolled++
			}
			return rolled == 3 && ready() == 3
		})
		kubectl("delete", "pod", "-n", shop, podsOf("fleet")[0].Name, "--wait=false")
		c.while("a pod is deleted", c.some())
		kubectl("delete", "pod", "-n", shop, podsOf("fleet")[1].Name, "--force", "--grace-period=0")
		c.while("a pod is killed", c.some())
		c.missNothing()
		for _, f := range c.followers {
			_, came, _ := f.state()
			Expect(came).To(BeNumerically(">", 1))
		}
	}, SpecTimeout(8*time.Minute))

	It("get a broker that the operator runs, and miss nothing while its nodes are killed and replaced", func(ctx SpecContext) {
		apply(convoy)
		Eventually(condition("trucks", v1alpha1.ConditionApplied), 3*time.Minute).Should(Equal("True Applied"))
		broker := func() string {
			p := get(&v1alpha1.Pusher{}, shop, "convoy")
			for _, name := range []string{v1alpha1.ConditionBrokerReady, v1alpha1.ConditionApplied} {
				c := meta.FindStatusCondition(p.Status.Conditions, name)
				if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != p.Generation {
					return fmt.Sprintf("%s: %+v", name, c)
				}
			}
			return p.Status.Broker
		}
		Eventually(broker).Should(Equal("Managed"))
		for _, pod := range podsOf("convoy") {
			Expect(pod.Status.ContainerStatuses[0].RestartCount).To(BeZero(), pod.Name)
		}

		c := watchWith(ctx, "convoy", "trucks")
		c.while("nothing happens", c.some())
		kubectl("delete", "pod", "-n", shop, "convoy-broker-0", "--force", "--grace-period=0")
		c.while("a node of the broker is killed", c.some())
		Eventually(broker, time.Minute).Should(Equal("Managed"))
		kubectl("delete", "pods", "-n", shop, "-l", brokerPods, "--force", "--grace-period=0")
		c.while("all nodes of the broker are killed at once", func() bool { return broker() == "Managed" })

		before := kubectl("get", "pods", "-n", shop, "-l", brokerPods, "-o", "jsonpath={.items[*].metadata.uid}")
		kubectl("patch", "pusher", "-n", shop, "convoy", "--type=merge", "-p", `{"spec":{"broker":{"managed":{"resources":{"requests":{"cpu":"51m"}}}}}}`)
		c.while("the nodes are replaced", func() bool { return broker() == "Managed" })
		after := kubectl("get", "pods", "-n", shop, "-l", brokerPods, "-o", "jsonpath={.items[*].metadata.uid}")
		for _, uid := range strings.Fields(before) {
			Expect(after).NotTo(ContainSubstring(uid))
		}
		kubectl("scale", "pusher/convoy", "-n", shop, "--replicas=1")
		c.while("it is scaled down to one replica", func() bool {
			p := get(&v1alpha1.Pusher{}, shop, "convoy")
			return p.Status.Replicas == 1 && broker() == "Managed"
		})
		c.missNothing()

		as := impersonating("system:serviceaccount:" + operators + ":" + operatorAccount())
		for _, pod := range podsOf("convoy") {
			if !pod.DeletionTimestamp.IsZero() {
				continue // that is allowed to everybody: it changes nothing
			}
			deleting := Expect(as.Delete(ctx, &pod, client.DryRunAll))
			if pod.Labels["app.kubernetes.io/name"] == "klaxon-broker" {
				deleting.To(Succeed())
			} else {
				deleting.To(MatchError(ContainSubstring("may delete only the pods of brokers")))
			}
		}

		kubectl("delete", "channel/trucks", "pusher/convoy", "-n", shop)
		Eventually(func() string {
			return kubectl("get", "pods,secrets,services,pvc,statefulsets,pdb", "-n", shop, "-l", v1alpha1.LabelPusher+"=convoy", "-o", "name")
		}, 2*time.Minute).Should(BeEmpty())
	}, SpecTimeout(8*time.Minute))

	It("go on with a broker of one node that keeps events in memory, after it was replaced", func(ctx SpecContext) {
		apply(couriers)
		Eventually(condition("couriers", v1alpha1.ConditionApplied), 2*time.Minute).Should(Equal("True Applied"))
		token := strings.TrimSpace(kubectl("create", "token", "default", "-n", shop, "--audience", "push.klaxon.dev"))
		c := &crowd{publisher: &publisher{pusher: "couriers", channel: "couriers", token: token}}
		c.while("nothing happens", c.some())
		before := get(&corev1.Pod{}, shop, "couriers-broker-0").UID
		kubectl("patch", "channel", "-n", shop, "couriers", "--type=merge", "-p", `{"spec":{"pusher":{"broker":{"managed":{"resources":{"requests":{"cpu":"51m"}}}}}}}`)
		Eventually(func(g Gomega) {
			node := &corev1.Pod{}
			g.Expect(kube.Get(ctx, client.ObjectKey{Namespace: shop, Name: "couriers-broker-0"}, node)).To(Succeed())
			g.Expect(node.UID).NotTo(Equal(before))
			p := get(&v1alpha1.Pusher{}, shop, "couriers")
			g.Expect(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionBrokerReady)).To(BeTrue())
		}, time.Minute).Should(Succeed())
		f := follow(ctx, "couriers", "couriers")
		Eventually(func() int { _, came, _ := f.state(); return came }).Should(Equal(1))
		first := c.publisher.next
		c.while("the node has been replaced", c.some())
		want := make([]int, 0, c.publisher.next-first)
		for i := first; i < c.publisher.next; i++ {
			want = append(want, i)
		}
		Eventually(func() []int { numbers, _, _ := f.state(); return numbers }).Should(Equal(want))

		By("pods that are full: clients are sent to the other, never to none")
		accepting := func() (n int) {
			pods := &corev1.PodList{}
			Expect(kube.List(ctx, pods, client.InNamespace(shop), client.MatchingLabels{
				v1alpha1.LabelPusher: "couriers", "app.kubernetes.io/name": "klaxon-pusher", v1alpha1.LabelAccepting: "true",
			})).To(Succeed())
			return len(pods.Items)
		}
		Expect(accepting()).To(Equal(2))
		limit := func(percent int) {
			kubectl("patch", "channel", "-n", shop, "couriers", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"pusher":{"limits":{"memoryPercent":%d}}}}`, percent))
		}
		limit(20) // they use more when they have nothing to do
		Eventually(accepting).Should(Equal(1))
		Consistently(accepting, "5s").Should(Equal(1))
		Expect(get(&v1alpha1.Pusher{}, shop, "couriers").Status.ReadyReplicas).To(BeEquivalentTo(2))
		limit(95)
		Eventually(accepting).Should(Equal(2))
		kubectl("delete", "channel/couriers", "-n", shop)
	}, SpecTimeout(4*time.Minute))
})

const brokerPods = "app.kubernetes.io/name=klaxon-broker,push.klaxon.dev/pusher=convoy"

const convoy = `
apiVersion: push.klaxon.dev/v1alpha1
kind: Pusher
metadata: {name: convoy, namespace: shop}
spec:
  replicas: 2
  drain: {period: 2s, maxPeriod: 10s}
---
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: trucks, namespace: shop}
spec: {pusherRef: {name: convoy}, clients: {anonymous: true}, history: {size: 10000}}
`

const couriers = `
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: couriers, namespace: shop}
spec:
  clients: {anonymous: true}
  pusher: {replicas: 2, broker: {managed: {replicas: 1, storage: {type: Memory}}}, drain: {period: 2s, maxPeriod: 10s}, podTemplate: {resources: {limits: {memory: 24Mi}}}}
`
