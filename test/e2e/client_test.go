// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/gobwas/ws"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// address is where this process reaches a Service's first port.
func address(namespace, service string) (string, error) {
	if !direct {
		return forwarded(namespace, service)
	}
	s := &corev1.Service{}
	if err := kube.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: service}, s); err != nil {
		return "", err
	}
	return net.JoinHostPort(s.Spec.ClusterIP, fmt.Sprint(s.Spec.Ports[0].Port)), nil
}

// forwards are the port-forwards under way. They live as long as the suite,
// because connections outlive the spec that made them.
var forwards []*exec.Cmd

var _ = AfterSuite(func() {
	for _, cmd := range forwards {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
})

// forwarded carries a Service's port here. It fails while no pod is ready.
func forwarded(namespace, service string) (string, error) {
	cmd := exec.Command(kubeBin, "port-forward", "-n", namespace, "service/"+service, ":80")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	forwards = append(forwards, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("port-forward to %s: %w", service, err)
	}
	found := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	if found == "" {
		return "", fmt.Errorf("port-forward to %s said %q", service, line)
	}
	return found, nil
}

// routed waits until the node leads to a Service's pods: it learns of them a little later
// than the operator does.
func routed(service string) {
	GinkgoHelper()
	Eventually(func() error {
		at, err := address(shop, service)
		if err != nil {
			return err
		}
		conn, err := net.DialTimeout("tcp", at, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}).Should(Succeed())
}

// listener is a WebSocket client that keeps what it is told.
type listener struct {
	conn net.Conn

	// Guarded by mu.
	mu    sync.Mutex
	texts []string
	code  wire.CloseCode
	ended bool
}

// dial connects to a Channel through its Pusher's clients Service.
func dial(pusher, path string) (*listener, error) { return dialIn(shop, pusher, path) }

func dialIn(namespace, pusher, path string) (*listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	at, err := address(namespace, pusher+"-clients")
	if err != nil {
		return nil, err
	}
	conn, br, _, err := ws.Dial(ctx, "ws://"+at+"/ws/"+path)
	if err != nil {
		return nil, err
	}
	l := &listener{conn: conn}
	var r io.Reader = conn
	if br != nil {
		r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	go l.read(r)
	return l, nil
}

// listen connects and waits for the welcome. The connection stands until the
// suite ends, unless the server ends it.
func listen(pusher, path string) *listener {
	GinkgoHelper()
	var l *listener
	Eventually(func() (err error) {
		l, err = dial(pusher, path)
		return err
	}).Should(Succeed())
	Eventually(l.heard).Should(ContainSubstring(`"type":"welcome"`))
	return l
}

func (l *listener) read(r io.Reader) {
	for {
		f, err := ws.ReadFrame(r)
		l.mu.Lock()
		switch {
		case err != nil:
			l.ended = true
		case f.Header.OpCode == ws.OpText:
			l.texts = append(l.texts, string(f.Payload))
		case f.Header.OpCode == ws.OpClose:
			code, _ := ws.ParseCloseFrameData(f.Payload)
			l.code, l.ended = wire.CloseCode(code), true
			_ = ws.WriteFrame(l.conn, ws.MaskFrame(ws.NewCloseFrame(nil)))
		case f.Header.OpCode == ws.OpPing:
			_ = ws.WriteFrame(l.conn, ws.MaskFrame(ws.NewPongFrame(f.Payload)))
		}
		ended := l.ended
		l.mu.Unlock()
		if ended {
			return
		}
	}
}

// heard is all that has been received, one message a line.
func (l *listener) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.texts, "\n")
}

// closed is the close code, 0 while the connection stands.
func (l *listener) closed() wire.CloseCode {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended && l.code == 0 {
		return wire.CloseCode(1006)
	}
	return l.code
}

// count is how many events of a name were received.
func (l *listener) count(event string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, t := range l.texts {
		var m struct{ Type, Event string }
		if json.Unmarshal([]byte(t), &m) == nil && m.Type == "event" && m.Event == event {
			n++
		}
	}
	return n
}

// userToken signs a client's token.
func userToken(key, user string, rooms ...string) string {
	GinkgoHelper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(key)}, nil)
	Expect(err).NotTo(HaveOccurred())
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: "https://id.example.com", Audience: jwt.Audience{"shop-web"}, Subject: user,
		Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).Claims(map[string]any{"rooms": rooms}).Serialize()
	Expect(err).NotTo(HaveOccurred())
	return token
}

// serviceClients has npm's clients listen to a Channel of its own Pusher while
// events are published, and returns what they say.
func serviceClients(name string) string {
	GinkgoHelper()
	clients, err := address(shop, name+"-clients")
	Expect(err).NotTo(HaveOccurred())
	events, err := address(shop, name+"-events")
	Expect(err).NotTo(HaveOccurred())
	token := strings.TrimSpace(kubectl("create", "token", "default", "-n", shop, "--audience", "push.klaxon.dev"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "service.js", clients, events, name)
	cmd.Dir = "../clients"
	cmd.Env = append(os.Environ(), "PUBLISH_TOKEN="+token)
	out, err := cmd.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
	return string(out)
}

// publishPod runs a pod that publishes one event with its ServiceAccount's
// projected token, and returns whether it succeeded and what it printed.
func publishPod(namespace, account, audience, url, event string) (bool, string) {
	GinkgoHelper()
	name := strings.ToLower("publish-" + event)
	apply(fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[2]s, namespace: %[1]s}
---
apiVersion: v1
kind: Pod
metadata: {name: %[3]s, namespace: %[1]s}
spec:
  serviceAccountName: %[2]s
  automountServiceAccountToken: false
  restartPolicy: Never
  containers:
  - name: publish
    image: %[4]s
    command: [/klaxon, publish, --url, %[5]s, --token-file, /var/run/push/token, --event, %[6]s, --data, '{"from":"a pod"}']
    volumeMounts: [{name: push, mountPath: /var/run/push, readOnly: true}]
  volumes:
  - name: push
    projected:
      sources: [{serviceAccountToken: {audience: %[7]s, expirationSeconds: 600, path: token}}]
`, namespace, account, name, image, url, event, audience))
	phase := func() corev1.PodPhase { return get(&corev1.Pod{}, namespace, name).Status.Phase }
	Eventually(phase).Should(BeElementOf(corev1.PodSucceeded, corev1.PodFailed))
	succeeded := phase() == corev1.PodSucceeded
	logs := kubectl("logs", "-n", namespace, name)
	kubectl("delete", "pod", "-n", namespace, name, "--wait=false")
	return succeeded, logs
}
