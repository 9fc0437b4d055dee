// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/cmd/broker/status"
	"github.com/klaxon-dev/klaxon/controllers"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// fakeNode stands for what an API server alone does not have: the Deployment
// controller, the kubelet and the push servers in their pods. Its pods read
// their settings when they start and when they are nudged, and never else.
type fakeNode struct {
	mu   sync.Mutex
	pods map[string]*fakePod // by IP
	next int

	brokers map[string]*status.Node // by IP
}

// fakePod is a push server.
type fakePod struct {
	key         client.ObjectKey
	pusher      string
	nudge       string // the last that was seen
	served      *settings.Settings
	connections int64
	failure     error  // what asking it gives
	rejects     string // why it refuses every later settings
	refused     bool   // it has refused settings
	unknownKeys []string
	unknownURLs []string
	asked       int
}

func newFakeNode() *fakeNode {
	return &fakeNode{pods: map[string]*fakePod{}, brokers: map[string]*status.Node{}}
}

// run starts n ready pods of a Pusher and reports its Deployment as rolled out.
func (n *fakeNode) run(ctx context.Context, s space, pusher string, count int) []*fakePod {
	GinkgoHelper()
	deployment := &appsv1.Deployment{}
	Eventually(func() error { return api.Get(ctx, s.key(pusher+"-pusher"), deployment) }).Should(Succeed())
	var out []*fakePod
	for range count {
		out = append(out, n.start(ctx, deployment, pusher))
	}
	n.rollOut(ctx, deployment, int32(count))
	return out
}

// rollOut reports a Deployment as rolled out.
func (n *fakeNode) rollOut(ctx context.Context, d *appsv1.Deployment, pods int32) {
	GinkgoHelper()
	Eventually(func() error {
		if err := api.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
			return err
		}
		d.Status.ObservedGeneration = d.Generation
		d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas = pods, pods, pods
		return api.Status().Update(ctx, d)
	}).Should(Succeed())
}

func (n *fakeNode) start(ctx context.Context, d *appsv1.Deployment, pusher string) *fakePod {
	GinkgoHelper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, GenerateName: d.Name + "-", Labels: maps.Clone(d.Spec.Template.Labels)},
		Spec:       d.Spec.Template.Spec,
	}
	pod.Spec.ServiceAccountName = "" // no admission adds it, none is needed
	Expect(api.Create(ctx, pod)).To(Succeed())
	p := &fakePod{key: client.ObjectKeyFromObject(pod), pusher: pusher, served: mounted(ctx, d.Namespace, pusher)}
	n.mu.Lock()
	n.next++
	ip := fmt.Sprintf("10.0.%d.%d", n.next/250, n.next%250+1)
	n.pods[ip] = p
	n.mu.Unlock()
	pod.Status.Phase = corev1.PodRunning
	pod.Status.PodIP, pod.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	Expect(api.Status().Update(ctx, pod)).To(Succeed())
	return p
}

// broker starts the three nodes of a Pusher's managed broker, as whole as can be.
func (n *fakeNode) broker(ctx context.Context, s space, pusher string) {
	GinkgoHelper()
	set := &appsv1.StatefulSet{}
	Eventually(func() error { return api.Get(ctx, s.key(pusher+"-broker"), set) }).Should(Succeed())
	for i := range *set.Spec.Replicas {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: set.Namespace, Name: fmt.Sprintf("%s-%d", set.Name, i), Labels: maps.Clone(set.Spec.Template.Labels)},
			Spec:       set.Spec.Template.Spec,
		}
		pod.Labels[appsv1.ControllerRevisionHashLabelKey] = "first"
		pod.Spec.ServiceAccountName = ""
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		Expect(api.Create(ctx, pod)).To(Succeed())
		n.mu.Lock()
		n.next++
		ip := fmt.Sprintf("10.1.%d.%d", n.next/250, n.next%250+1)
		n.brokers[ip] = &status.Node{Name: pod.Name, Replicas: int(*set.Spec.Replicas), Phase: status.Running, Ready: true, MetaLeader: set.Name + "-0"}
		n.mu.Unlock()
		pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		Expect(api.Status().Update(ctx, pod)).To(Succeed())
	}
	Eventually(func() error {
		if err := api.Get(ctx, client.ObjectKeyFromObject(set), set); err != nil {
			return err
		}
		set.Status.ObservedGeneration, set.Status.UpdateRevision, set.Status.Replicas = set.Generation, "first", *set.Spec.Replicas
		return api.Status().Update(ctx, set)
	}).Should(Succeed())
}

// ready sets whether a pod is ready.
func (n *fakeNode) ready(ctx context.Context, p *fakePod, status corev1.ConditionStatus) {
	GinkgoHelper()
	Eventually(func() error {
		pod := &corev1.Pod{}
		if err := api.Get(ctx, p.key, pod); err != nil {
			return err
		}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
		return api.Status().Update(ctx, pod)
	}).Should(Succeed())
}

// tell changes how a pod behaves.
func (n *fakeNode) tell(p *fakePod, f func(*fakePod)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(p)
}

// NodeStatus is what a node of a broker answers on /status.
func (n *fakeNode) NodeStatus(_ context.Context, ip, _ string) (*status.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if answer := n.brokers[ip]; answer != nil {
		copied := *answer
		return &copied, nil
	}
	return nil, errors.New("no route to host")
}

// PodStatus is what a push server answers on /status.
func (n *fakeNode) PodStatus(ctx context.Context, ip, token string) (*settings.Status, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pods[ip]
	if p == nil {
		return nil, errors.New("no route to host")
	}
	p.asked++
	if p.failure != nil {
		return nil, p.failure
	}
	if err := p.look(ctx); err != nil {
		return nil, err
	}
	if sha256Hex([]byte(token)) != p.served.Pusher.Admin.TokenSHA256 {
		return nil, controllers.ErrUnauthorized
	}
	out := &settings.Status{
		Revision: p.served.Revision, Connections: p.connections, UnknownKeyIDs: p.unknownKeys, UnknownKeyURLs: p.unknownURLs,
		Channels: map[string]settings.ChannelStatus{},
	}
	if p.refused {
		out.SettingsError = p.rejects
	}
	for _, ch := range p.served.Channels {
		out.Channels[ch.Name] = settings.ChannelStatus{Revision: ch.Revision, Connections: p.connections / int64(len(p.served.Channels))}
	}
	return out, nil
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// look reads the settings again if the pod was nudged.
func (p *fakePod) look(ctx context.Context) error {
	pod := &corev1.Pod{}
	if err := api.Get(ctx, p.key, pod); err != nil {
		return err
	}
	nudge := pod.Annotations[v1alpha1.AnnotationNudge]
	if nudge == p.nudge {
		return nil
	}
	p.nudge = nudge
	if p.rejects != "" {
		p.refused = true
		return nil
	}
	s, err := load(ctx, pod.Namespace, p.pusher)
	if err != nil {
		return err
	}
	p.served, p.refused = s, false
	return nil
}

func mounted(ctx context.Context, namespace, pusher string) *settings.Settings {
	GinkgoHelper()
	s, err := load(ctx, namespace, pusher)
	Expect(err).NotTo(HaveOccurred())
	return s
}

// load reads a Pusher's settings as its pods do, from a directory of files.
func load(ctx context.Context, namespace, pusher string) (*settings.Settings, error) {
	dir, err := os.MkdirTemp("", "settings-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for i := range settings.MaxParts {
		secret := &corev1.Secret{}
		err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: fmt.Sprintf("%s-settings-%d", pusher, i)}, secret)
		if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		for file, content := range secret.Data {
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
				return nil, err
			}
		}
	}
	return settings.Load(dir)
}

// fakeKeys is the cluster's identity.
type fakeKeys struct {
	mu  sync.Mutex
	kid string
}

func newFakeKeys() *fakeKeys { return &fakeKeys{kid: "first"} }

func (k *fakeKeys) rotate(kid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kid = kid
}

// ServiceAccountIssuer returns one key.
func (k *fakeKeys) ServiceAccountIssuer(context.Context) (*settings.ServiceAccountIssuer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return &settings.ServiceAccountIssuer{
		Issuer: "https://kubernetes.default.svc",
		JWKS:   json.RawMessage(fmt.Sprintf(`{"keys":[{"kid":%q}]}`, k.kid)),
	}, nil
}
