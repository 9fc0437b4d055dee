// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/cmd/broker/status"
	"github.com/klaxon-dev/klaxon/controllers/keys"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// fakeBroker is a managed broker of three nodes with its StatefulSet controller.
type fakeBroker struct {
	client   client.Client
	gathered *gathered
	leader   string
	answers  map[string]*status.Node // by IP; nil: none
	made     int
}

func (f *fakeBroker) PodStatus(context.Context, string, string) (*settings.Status, error) {
	return nil, errors.New("no push server here")
}

func (f *fakeBroker) NodeStatus(_ context.Context, ip, _ string) (*status.Node, error) {
	if n := f.answers[ip]; n != nil {
		n.MetaLeader = f.leader
		return n, nil
	}
	return nil, errors.New("no route to host")
}

func newFakeBroker(t *testing.T) *fakeBroker {
	t.Helper()
	replicas := int32(3)
	f := &fakeBroker{
		client: fake.NewClientBuilder().Build(), leader: "edge-broker-0", answers: map[string]*status.Node{},
		gathered: &gathered{
			pusher: &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge"}},
			brokerSet: &appsv1.StatefulSet{
				Spec:   appsv1.StatefulSetSpec{Replicas: &replicas},
				Status: appsv1.StatefulSetStatus{UpdateRevision: "old"},
			},
		},
	}
	for i := range 3 {
		f.start(t, i)
	}
	return f
}

// start makes the pod of a node anew, as the StatefulSet controller would.
func (f *fakeBroker) start(t *testing.T, i int) {
	t.Helper()
	f.made++
	name, ip := fmt.Sprintf("edge-broker-%d", i), fmt.Sprintf("10.0.0.%d", f.made)
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(fmt.Sprint("pod", f.made)),
			Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: f.gathered.brokerSet.Status.UpdateRevision},
		},
		Status: corev1.PodStatus{PodIP: ip, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	if err := f.client.Create(t.Context(), pod.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	f.answers[ip] = &status.Node{Name: name, Replicas: 3, Phase: status.Running, Ready: true}
	for at := range f.gathered.brokerPods {
		if f.gathered.brokerPods[at].Name == name {
			f.gathered.brokerPods[at] = pod
			return
		}
	}
	f.gathered.brokerPods = append(f.gathered.brokerPods, pod)
}

// round is one look at the broker. It returns the pod that was deleted, if any.
func (f *fakeBroker) round(t *testing.T, b *brokers) (deleted string, view *brokerView) {
	t.Helper()
	r := &round{pusher: f.gathered.pusher, managed: &managedBroker{spec: &v1alpha1.ManagedBrokerSpec{}}}
	if err := b.observe(t.Context(), f.gathered, r); err != nil {
		t.Fatal(err)
	}
	for i := range f.gathered.brokerPods {
		pod := &f.gathered.brokerPods[i]
		err := f.client.Get(t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{})
		if err != nil {
			deleted = pod.Name
		}
	}
	return deleted, r.broker
}

func TestNodesAreReplacedOneAtATimeAndTheLeaderLast(t *testing.T) {
	f := newFakeBroker(t)
	b := newBrokers(f.client, f)
	if deleted, view := f.round(t, b); deleted != "" || view.problem != nil || view.replacing() {
		t.Fatalf("nothing is to be done, and %s was deleted; %+v", deleted, view)
	}
	f.gathered.brokerSet.Status.UpdateRevision = "new"
	for n, want := range []string{"edge-broker-1", "edge-broker-2", "edge-broker-0"} {
		deleted, _ := f.round(t, b)
		if deleted != want {
			t.Fatalf("deleted %s, want %s", deleted, want)
		}
		// As long as the cache has the old pod, nothing is known of the new one.
		f.leader = "edge-broker-2"
		if again, _ := f.round(t, b); again != want {
			t.Fatalf("then deleted %s", again)
		}
		f.leader = "edge-broker-0"
		f.start(t, int(want[len(want)-1]-'0'))
		// It has to catch up first.
		node := f.answers[fmt.Sprintf("10.0.0.%d", f.made)]
		node.Ready, node.Reason = false, "reads its store"
		if deleted, view := f.round(t, b); deleted != "" || view.problem == nil {
			t.Fatalf("deleted %s while a node catches up", deleted)
		}
		node.Ready = true
		f.answers[f.gathered.brokerPods[0].Status.PodIP].BehindCount = 1
		if deleted, _ := f.round(t, b); deleted != "" {
			t.Fatalf("deleted %s while a follower is behind", deleted)
		}
		f.answers[f.gathered.brokerPods[0].Status.PodIP].BehindCount = 0
		if n == 2 {
			break
		}
	}
	if deleted, view := f.round(t, b); deleted != "" || view.replacing() || view.verdict().status != metav1.ConditionTrue {
		t.Fatalf("in the end %s was deleted, %+v", deleted, view)
	}
}

// TestANodeThatCannotStart is replaced when it is outdated, and holds up the others
// when it is not.
func TestANodeThatCannotStart(t *testing.T) {
	f := newFakeBroker(t)
	b := newBrokers(f.client, f)
	f.gathered.brokerSet.Status.UpdateRevision = "broken"
	if deleted, _ := f.round(t, b); deleted != "edge-broker-1" {
		t.Fatalf("deleted %s", deleted)
	}
	f.start(t, 1)
	pod := &f.gathered.brokerPods[1]
	delete(f.answers, pod.Status.PodIP)
	pod.Status.Conditions[0].Status = corev1.ConditionFalse
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
	deleted, view := f.round(t, b)
	if deleted != "" || !strings.Contains(view.verdict().message, "edge-broker-1: ImagePullBackOff") {
		t.Fatalf("deleted %s; %+v", deleted, view.verdict())
	}
	if view.next(time.Minute) != brokerPace {
		t.Error("it is not looked at again soon")
	}
	f.gathered.brokerSet.Status.UpdateRevision = "mended"
	if deleted, _ := f.round(t, b); deleted != "edge-broker-1" {
		t.Fatalf("with a mended template %s was deleted", deleted)
	}
}

// unready makes a node run without ever getting ready.
func (f *fakeBroker) unready(i int) {
	pod := &f.gathered.brokerPods[i]
	pod.Status.Conditions[0].Status = corev1.ConditionFalse
	node := f.answers[pod.Status.PodIP]
	node.Ready, node.Reason = false, "no other node answers"
	for _, n := range f.answers {
		if n.Name != pod.Name {
			n.BehindCount, n.Behind = 1, []status.Follower{{Node: pod.Name}}
		}
	}
}

// TestANodeThatNeverGetsReady is replaced as soon as the template is another, if the
// others do without it.
func TestANodeThatNeverGetsReady(t *testing.T) {
	f := newFakeBroker(t)
	b := newBrokers(f.client, f)
	f.gathered.brokerSet.Status.UpdateRevision = "broken"
	if deleted, _ := f.round(t, b); deleted != "edge-broker-1" {
		t.Fatalf("deleted %s", deleted)
	}
	f.start(t, 1)
	f.unready(1)
	if deleted, view := f.round(t, b); deleted != "" || view.verdict().status != metav1.ConditionFalse {
		t.Fatalf("deleted %s; %+v", deleted, view.verdict())
	}
	f.gathered.brokerSet.Status.UpdateRevision = "mended"
	other := f.answers["10.0.0.3"]
	other.Ready = false
	if deleted, _ := f.round(t, b); deleted != "" {
		t.Fatalf("%s was deleted while another node is not ready", deleted)
	}
	other.Ready, other.MetaLeader, f.leader = true, "", "edge-broker-1"
	if deleted, _ := f.round(t, b); deleted != "" {
		t.Fatalf("%s was deleted, which leads", deleted)
	}
	f.leader = "edge-broker-0"
	if deleted, _ := f.round(t, b); deleted != "edge-broker-1" {
		t.Fatalf("with a mended template %q was deleted", deleted)
	}
}

// TestNodesThatCannotBeAsked are asked ever more seldom, and nothing is said of them
// that is not known.
func TestNodesThatCannotBeAsked(t *testing.T) {
	f := newFakeBroker(t)
	b, now := newBrokers(f.client, f), time.Now()
	b.now = func() time.Time { return now }
	delete(f.answers, "10.0.0.3")
	var waits []time.Duration
	for range 4 {
		_, view := f.round(t, b)
		if v := view.verdict(); v.status != metav1.ConditionUnknown || v.reason != v1alpha1.ReasonStatusUnreachable || !strings.Contains(v.message, "edge-broker-2 cannot be asked: no route to host") {
			t.Fatalf("%+v", v)
		}
		waits = append(waits, view.next(10*time.Second))
		now = now.Add(15 * time.Second)
	}
	if want := []time.Duration{brokerPace, 3750 * time.Millisecond, 7500 * time.Millisecond, 10 * time.Second}; !slices.Equal(waits, want) {
		t.Errorf("looked again after %v, want %v", waits, want)
	}
	// What is known to be wrong is said first, and looked at soon.
	f.unready(0)
	if _, view := f.round(t, b); view.unknown || view.next(10*time.Second) != brokerPace {
		t.Errorf("%+v, again after %v", view.verdict(), view.next(10*time.Second))
	}
}

func TestABrokerIsLeftAlone(t *testing.T) {
	for name, change := range map[string]func(*fakeBroker, *round){
		"while paused":                        func(_ *fakeBroker, r *round) { r.pusher.Spec.Paused = true },
		"while its objects cannot be applied": func(_ *fakeBroker, r *round) { r.failure = &verdict{} },
		"while its StatefulSet is not seen":   func(_ *fakeBroker, r *round) { r.brokerGeneration = 7 },
		"while a pod ends": func(f *fakeBroker, _ *round) {
			f.gathered.brokerPods[2].DeletionTimestamp = &metav1.Time{Time: time.Now()}
		},
		"while a node cannot be asked":         func(f *fakeBroker, _ *round) { delete(f.answers, "10.0.0.3") },
		"while nobody leads":                   func(f *fakeBroker, _ *round) { f.leader = "" },
		"while there are fewer than there are": func(f *fakeBroker, _ *round) { f.gathered.brokerPods = f.gathered.brokerPods[:2] },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeBroker(t)
			f.gathered.brokerSet.Status.UpdateRevision = "new"
			r := &round{pusher: f.gathered.pusher, managed: &managedBroker{spec: &v1alpha1.ManagedBrokerSpec{}}}
			change(f, r)
			if err := newBrokers(f.client, f).observe(t.Context(), f.gathered, r); err != nil {
				t.Fatal(err)
			}
			left := &corev1.PodList{}
			if err := f.client.List(t.Context(), left); err != nil || len(left.Items) != 3 {
				t.Errorf("%d pods are left (%v)", len(left.Items), err)
			}
		})
	}
}

// TestARenewalRestartsNobody: other certificates in time, and nothing else that is new.
func TestARenewalRestartsNobody(t *testing.T) {
	in := &gathered{pusher: &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge"}}, seed: keys.NewSeed(), now: time.Now()}
	before := makeBroker(in, &v1alpha1.ManagedBrokerSpec{})
	if again := makeBroker(in, &v1alpha1.ManagedBrokerSpec{}); !reflect.DeepEqual(again.files, before.files) || !reflect.DeepEqual(again.way, before.way) {
		t.Error("two brokers at one time")
	}
	in.now = in.now.AddDate(0, 0, 40)
	after := makeBroker(in, &v1alpha1.ManagedBrokerSpec{})
	var changed []string
	for name := range after.files {
		if !bytes.Equal(after.files[name], before.files[name]) {
			changed = append(changed, name)
		}
	}
	if slices.Sort(changed); !slices.Equal(changed, []string{status.CertFile, status.KeyFile}) {
		t.Errorf("nodes are given other %v", changed)
	}
	if bytes.Equal(before.way.Certificate, after.way.Certificate) || before.way.Password != after.way.Password {
		t.Error("push servers are to have another certificate, and the same password")
	}
	fingerprint := func(m *managedBroker) string {
		return settings.Pusher{NATS: m.way, SessionKey: in.seed}.BrokerFingerprint()
	}
	if fingerprint(before) != fingerprint(after) {
		t.Error("push servers are restarted")
	}
}

func TestTheBrokerIsChosenOnce(t *testing.T) {
	one, three := int32(1), int32(3)
	nats := &v1alpha1.BrokerSpec{NATS: &v1alpha1.NATSSpec{URL: "nats://nats:4222"}}
	managed := &v1alpha1.BrokerSpec{Managed: &v1alpha1.ManagedBrokerSpec{}}
	lone := &v1alpha1.BrokerSpec{Managed: &v1alpha1.ManagedBrokerSpec{Replicas: &one}}
	memory := &v1alpha1.BrokerSpec{Managed: &v1alpha1.ManagedBrokerSpec{Storage: &v1alpha1.ManagedStorageSpec{Type: v1alpha1.ManagedStorageMemory}}}
	storage := func(size, class string) *v1alpha1.BrokerSpec {
		s := &v1alpha1.ManagedStorageSpec{Size: new(resource.MustParse(size))}
		if class != "" {
			s.StorageClassName = &class
		}
		return &v1alpha1.BrokerSpec{Managed: &v1alpha1.ManagedBrokerSpec{Storage: s}}
	}
	claim := corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")},
	}}}
	runs := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &three, VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim}}}
	for name, tc := range map[string]struct {
		chosen   string
		replicas *int32
		spec     *v1alpha1.BrokerSpec
		set      *appsv1.StatefulSet
		kind     string
		reason   string
	}{
		"one replica":                        {"", nil, nil, nil, "Memory", ""},
		"several replicas":                   {"", &three, nil, nil, "Managed", ""},
		"scaled up on memory":                {"Memory", &three, nil, nil, "Memory", "BrokerRequired"},
		"scaled up on memory, with a broker": {"Memory", &three, managed, nil, "Managed", ""},
		"scaled down":                        {"Managed", &one, nil, runs, "Managed", ""},
		"a status that was lost":             {"", &one, nil, runs, "Managed", ""},
		"a NATS":                             {"", &three, nats, nil, "NATS", ""},
		"a NATS that is gone":                {"NATS", &three, nil, nil, "NATS", "BrokerFixed"},
		"from a NATS to a managed one":       {"NATS", &three, managed, nil, "Managed", "BrokerFixed"},
		"from a managed one to a NATS":       {"Managed", &three, nats, runs, "NATS", "BrokerFixed"},
		"with other nodes":                   {"Managed", &three, lone, runs, "Managed", "BrokerFixed"},
		"with other storage":                 {"Managed", &three, memory, runs, "Managed", "BrokerFixed"},
		"with larger volumes":                {"Managed", &three, storage("20Gi", ""), runs, "Managed", "BrokerFixed"},
		"with volumes of another class":      {"Managed", &three, storage("10Gi", "fast"), runs, "Managed", "BrokerFixed"},
		"in other words":                     {"Managed", &three, storage("10240Mi", ""), runs, "Managed", ""},
		"as it is":                           {"Managed", &three, managed, runs, "Managed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := &gathered{pusher: &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge"}}, brokerSet: tc.set, seed: keys.NewSeed(), now: time.Now()}
			in.pusher.Status.Broker, in.pusher.Spec.Replicas, in.pusher.Spec.Broker = tc.chosen, tc.replicas, tc.spec
			kind, m, refusal := chooseBroker(in)
			reason := ""
			if refusal != nil {
				reason = refusal.Reason
			}
			if kind != tc.kind || reason != tc.reason || (m != nil) != (kind == "Managed") && reason == "" {
				t.Errorf("chose %s, %q; want %s, %q", kind, reason, tc.kind, tc.reason)
			}
		})
	}
}
