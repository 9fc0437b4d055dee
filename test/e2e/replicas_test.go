// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// follower is a client that comes back whenever its connection ends, to whichever
// pod, and says from where.
type follower struct {
	// Guarded by mu.
	mu      sync.Mutex
	numbers []int
	offset  string
	came    int // connections
	lost    int // that were not recovered
}

func follow(ctx context.Context, pusher, channel string) *follower {
	f := &follower{}
	go func() {
		for ctx.Err() == nil {
			f.connect(ctx, pusher, channel)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return f
}

// connect listens until the connection ends.
func (f *follower) connect(ctx context.Context, pusher, channel string) {
	at, err := address(shop, pusher+"-clients")
	if err != nil {
		return
	}
	f.mu.Lock()
	query := ""
	if f.offset != "" {
		query = "?since=" + f.offset
	}
	f.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, br, _, err := ws.Dial(within, "ws://"+at+"/ws/"+channel+query)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var r interface{ Read([]byte) (int, error) } = conn
	if br != nil {
		r = br
	}
	for {
		frame, err := ws.ReadFrame(r)
		if err != nil || frame.Header.OpCode == ws.OpClose {
			return
		}
		if frame.Header.OpCode == ws.OpPing {
			_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewPongFrame(frame.Payload)))
		}
		f.take(frame.Payload)
	}
}

func (f *follower) take(text []byte) {
	var m struct {
		Type, Offset string
		Recovered    *bool
		Data         int
	}
	if json.Unmarshal(text, &m) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Offset != "" {
		f.offset = m.Offset
	}
	switch m.Type {
	case "welcome":
		f.came++
		if m.Recovered != nil && !*m.Recovered {
			f.lost++
		}
	case "event":
		f.numbers = append(f.numbers, m.Data)
	}
}

func (f *follower) state() (numbers []int, came, lost int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.numbers...), f.came, f.lost
}

// publisher publishes numbers, each until it is taken.
type publisher struct {
	pusher, channel, token, at string
	next                       int
}

func (p *publisher) publish() {
	GinkgoHelper()
	Eventually(func() (int, error) {
		var err error
		if p.at == "" {
			if p.at, err = address(shop, p.pusher+"-events"); err != nil {
				return 0, err
			}
		}
		body := fmt.Sprintf(`{"event":"n","id":"number-%d","data":%d}`, p.next, p.next)
		req, err := http.NewRequest(http.MethodPost, "http://"+p.at+"/v1/channels/"+p.channel+"/events", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+p.token)
		// A connection of its own: each goes to any of the pods.
		resp, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		}}).Do(req)
		if err != nil {
			p.at = ""
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}).Should(Equal(http.StatusOK))
	p.next++
}

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

		c := watchWith(ctx, "convoy", "trucks")
		c.while("nothing happens", c.some())
		kubectl("delete", "pod", "-n", shop, "convoy-broker-0", "--force", "--grace-period=0")
		c.while("a node of the broker is killed", c.some())
		Eventually(broker, time.Minute).Should(Equal("Managed"))

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

		kubectl("delete", "channel/trucks", "pusher/convoy", "-n", shop)
		Eventually(func() string {
			return kubectl("get", "pods,secrets,services,pvc,statefulsets,pdb", "-n", shop, "-l", v1alpha1.LabelPusher+"=convoy", "-o", "name")
		}, 2*time.Minute).Should(BeEmpty())
	}, SpecTimeout(8*time.Minute))
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

// crowd is a Channel's clients and its publisher, while things happen.
type crowd struct {
	followers []*follower
	publisher *publisher
}

func watchWith(ctx context.Context, pusher, channel string) *crowd {
	GinkgoHelper()
	c := &crowd{publisher: &publisher{pusher: pusher, channel: channel, token: strings.TrimSpace(kubectl("create", "token", "default", "-n", shop, "--audience", "push.klaxon.dev"))}}
	for range 12 {
		c.followers = append(c.followers, follow(ctx, pusher, channel))
	}
	for _, f := range c.followers {
		Eventually(func() int { _, came, _ := f.state(); return came }).Should(Equal(1))
	}
	return c
}

// while publishes until something is done.
func (c *crowd) while(what string, done func() bool) {
	GinkgoHelper()
	begun, from := time.Now(), c.publisher.next
	for !done() {
		c.publisher.publish()
		Expect(time.Since(begun)).To(BeNumerically("<", 3*time.Minute), what)
		time.Sleep(10 * time.Millisecond)
	}
	AddReportEntry(fmt.Sprintf("published while %s, in %s", what, time.Since(begun).Round(100*time.Millisecond)), c.publisher.next-from)
}

func (c *crowd) some() func() bool {
	until := c.publisher.next + 50
	return func() bool { return c.publisher.next >= until }
}

// missNothing checks that each client has every event once, in order, without ever
// having been told that it has lost one.
func (c *crowd) missNothing() {
	GinkgoHelper()
	want := make([]int, c.publisher.next)
	for i := range want {
		want[i] = i
	}
	for _, f := range c.followers {
		Eventually(func() int { numbers, _, _ := f.state(); return len(numbers) }).Should(BeNumerically(">=", len(want)))
		numbers, _, lost := f.state()
		Expect(numbers).To(Equal(want))
		Expect(lost).To(BeZero())
	}
}
