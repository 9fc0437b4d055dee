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

		var followers []*follower
		for range 12 {
			followers = append(followers, follow(ctx, "fleet", "lorries"))
		}
		for _, f := range followers {
			Eventually(func() int { _, came, _ := f.state(); return came }).Should(Equal(1))
		}
		p := &publisher{pusher: "fleet", channel: "lorries", token: strings.TrimSpace(kubectl("create", "token", "default", "-n", shop, "--audience", "push.klaxon.dev"))}
		while := func(what string, done func() bool) {
			GinkgoHelper()
			begun, from := time.Now(), p.next
			for !done() {
				p.publish()
				Expect(time.Since(begun)).To(BeNumerically("<", 2*time.Minute), what)
				time.Sleep(10 * time.Millisecond)
			}
			AddReportEntry(fmt.Sprintf("published while %s", what), p.next-from)
		}
		some := func() func() bool {
			until := p.next + 50
			return func() bool { return p.next >= until }
		}
		while("nothing happens", some())

		kubectl("patch", "pusher", "-n", shop, "fleet", "--type=merge", "-p", `{"spec":{"podTemplate":{"annotations":{"rolled":"yes"}}}}`)
		while("pods are rolled", func() bool {
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
		while("a pod is deleted", some())
		kubectl("delete", "pod", "-n", shop, podsOf("fleet")[1].Name, "--force", "--grace-period=0")
		while("a pod is killed", some())

		want := make([]int, p.next)
		for i := range want {
			want[i] = i
		}
		for _, f := range followers {
			Eventually(func() int { numbers, _, _ := f.state(); return len(numbers) }).Should(BeNumerically(">=", len(want)))
			numbers, came, lost := f.state()
			Expect(numbers).To(Equal(want))
			Expect(lost).To(BeZero())
			Expect(came).To(BeNumerically(">", 1))
		}
	}, SpecTimeout(8*time.Minute))
})
