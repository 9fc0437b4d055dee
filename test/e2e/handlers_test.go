// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// talkative is a Channel with a backend of two pods, which acknowledges what clients emit
// with their own arguments.
func talkative() string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 15
      containers:
      - name: echo
        image: %s
        args: [handle, --addr=:8000, --echo, --lame-duck=2s]
        readinessProbe: {tcpSocket: {port: 8000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec:
  selector: {app: echo}
  ports: [{port: 80, targetPort: 8000}]
---
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: talk, namespace: shop}
spec:
  clients: {anonymous: true}
  handlers:
  - events: [connect, disconnect, "*"]
    service: {name: echo, path: /realtime}
---
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: outside, namespace: shop}
spec:
  clients: {anonymous: true}
  handlers: [{events: ["*"], url: "http://169.254.169.254/latest"}]
`, image)
}

// told is a call as the backend's pods print it.
type told struct {
	ID, Type, Session, Event string
	Args                     []json.RawMessage
}

// printed is what all pods of the backend have printed, also those that are gone.
type printed struct {
	mu    sync.Mutex
	pods  map[string]bool
	calls []told
}

// follow reads the log of every pod there is, until ctx ends.
func (p *printed) follow(ctx context.Context) {
	defer GinkgoRecover()
	for ctx.Err() == nil {
		var pods corev1.PodList
		if err := kube.List(ctx, &pods, client.InNamespace(shop), client.MatchingLabels{"app": "echo"}); err != nil && ctx.Err() == nil {
			fmt.Fprintln(GinkgoWriter, "list the backend's pods:", err)
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if p.pods[pod.Name] || len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Running == nil {
				continue
			}
			p.pods[pod.Name] = true
			go p.read(ctx, pod.Name)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (p *printed) read(ctx context.Context, pod string) {
	cmd := exec.CommandContext(ctx, kubeBin, "logs", "-n", shop, "-f", pod)
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		fmt.Fprintln(GinkgoWriter, "the log of", pod, "cannot be read:", err)
		return
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var t told
		if json.Unmarshal(lines.Bytes(), &t) != nil || t.ID == "" {
			continue
		}
		p.mu.Lock()
		p.calls = append(p.calls, t)
		p.mu.Unlock()
	}
	_ = cmd.Wait()
}

// ids returns the ids of calls, by what they are about: an event's argument or a session.
func (p *printed) ids(typ string) map[string]map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]map[string]int{}
	for _, t := range p.calls {
		if t.Type != "dev.klaxon.client."+typ {
			continue
		}
		about := t.Session
		if len(t.Args) > 0 {
			about = string(t.Args[0])
		}
		if out[about] == nil {
			out[about] = map[string]int{}
		}
		out[about][t.ID]++
	}
	return out
}

// emitter is a client that emits numbered events and counts what comes of them.
type emitter struct {
	*listener
	name string
	sent int
}

func (e *emitter) emit() {
	e.sent++
	ws.MustWriteFrame(e.conn, ws.MaskFrame(ws.NewTextFrame(fmt.Appendf(nil,
		`{"type":"emit","event":"n","data":"%s %d","ref":%d}`, e.name, e.sent, e.sent))))
}

// outcomes returns which events were acknowledged, and with which error others were
// answered.
func (e *emitter) outcomes() (acked map[int]bool, failed map[int]string) {
	acked, failed = map[int]bool{}, map[int]string{}
	for line := range strings.SplitSeq(e.heard(), "\n") {
		var m struct {
			Type, Code string
			Ref        int
			Data       string
		}
		if json.Unmarshal([]byte(line), &m) != nil || m.Ref == 0 {
			continue
		}
		if m.Type == "ack" {
			Expect(m.Data).To(Equal(fmt.Sprintf("%s %d", e.name, m.Ref)))
			acked[m.Ref] = true
		} else {
			failed[m.Ref] = m.Code
		}
	}
	return acked, failed
}

var _ = Describe("Handlers", Ordered, func() {
	It("install", func() {
		repository, tag := image[:strings.LastIndex(image, ":")], image[strings.LastIndex(image, ":")+1:]
		helm("install", release, "../../charts/klaxon", "-n", operators, "--create-namespace", "--wait",
			"--set", "image.repository="+repository, "--set-string", "image.tag="+tag, "--set", "statusInterval=2s")
		_, _ = try("", kubeBin, "create", "namespace", shop) // another suite's may be there
		apply(talkative())
		Eventually(condition("talk", v1alpha1.ConditionApplied)).Should(Equal("True Applied"))
	})

	AfterAll(func() {
		_, _ = try("", kubeBin, "delete", "channels,pushers", "-n", shop, "--all")
		_, _ = try("", kubeBin, "delete", "deployment/echo", "service/echo", "-n", shop, "--ignore-not-found", "--now")
		_, _ = try("", helmBin, "uninstall", release, "-n", operators, "--ignore-not-found", "--wait")
		_, _ = try("", kubeBin, "delete", "namespace", shop, operators, "--ignore-not-found")
		_, _ = try("", kubeBin, "delete", "crd", "channels.push.klaxon.dev", "pushers.push.klaxon.dev", "--ignore-not-found")
	})

	It("may not be elsewhere unless the Pusher allows it", func() {
		Eventually(condition("outside", v1alpha1.ConditionAccepted)).Should(Equal("False HandlerNotAllowed"))
	})

	It("are told of every event, while their pods are rolled and killed", func(ctx SpecContext) {
		kubectl("rollout", "status", "-n", shop, "deployment/echo", "--timeout=60s")
		log := &printed{pods: map[string]bool{}}
		following, stop := context.WithCancel(ctx)
		DeferCleanup(stop)
		go log.follow(following)
		var all []*emitter
		for i := range 8 {
			all = append(all, &emitter{listener: listen("talk", "talk"), name: fmt.Sprint("client", i)})
		}
		emitUntil := func(done func() bool) {
			for !done() {
				for _, e := range all {
					e.emit()
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		some := func() func() bool {
			end := time.Now().Add(2 * time.Second)
			return func() bool { return time.Now().After(end) }
		}
		emitUntil(some())
		kubectl("rollout", "restart", "-n", shop, "deployment/echo")
		rolled := make(chan struct{})
		go func() {
			defer GinkgoRecover()
			defer close(rolled)
			kubectl("rollout", "status", "-n", shop, "deployment/echo", "--timeout=120s")
		}()
		emitUntil(func() bool {
			select {
			case <-rolled:
				return true
			default:
				return false
			}
		})
		emitUntil(some())
		var pods corev1.PodList
		Expect(kube.List(ctx, &pods, client.InNamespace(shop), client.MatchingLabels{"app": "echo"})).To(Succeed())
		kubectl("delete", "pod", "-n", shop, pods.Items[0].Name, "--force", "--grace-period=0")
		emitUntil(some())

		sent, acknowledged, told := 0, 0, map[string]int{}
		for _, e := range all {
			Eventually(func() int {
				acked, failed := e.outcomes()
				return len(acked) + len(failed)
			}).WithTimeout(time.Minute).Should(Equal(e.sent), "every event is answered")
			acked, failed := e.outcomes()
			sent, acknowledged = sent+e.sent, acknowledged+len(acked)
			for _, code := range failed {
				told[code]++
			}
		}
		fmt.Fprintf(GinkgoWriter, "%d events: %d acknowledged, errors %v\n", sent, acknowledged, told)
		Expect(acknowledged).To(BeNumerically(">", sent/2))
		for code := range told {
			Expect(code).To(BeElementOf("unavailable", "busy"))
		}
		Eventually(func(g Gomega) {
			handled := log.ids("event")
			again := 0
			for _, e := range all {
				acked, _ := e.outcomes()
				for n := range acked {
					ids := handled[fmt.Sprintf("%q", fmt.Sprintf("%s %d", e.name, n))]
					g.Expect(ids).To(HaveLen(1), "%s %d is acknowledged, and was handled under one id", e.name, n)
					for _, times := range ids {
						again += times - 1
					}
				}
			}
			fmt.Fprintf(GinkgoWriter, "%d calls were repeated\n", again)
		}).Should(Succeed())
		for about, ids := range log.ids("event") {
			Expect(ids).To(HaveLen(1), about)
		}
		for _, e := range all {
			_ = e.conn.Close()
		}
		Eventually(func() int { return len(log.ids("disconnected")) }).Should(Equal(len(all)))
	}, SpecTimeout(5*time.Minute))
})
