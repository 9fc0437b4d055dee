// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers"
	"github.com/klaxon-dev/klaxon/controllers/jwks"
	"github.com/klaxon-dev/klaxon/test/apiserver"
)

const (
	image    = "klaxon:test"
	interval = time.Second // between regular rounds
)

var (
	server *apiserver.Server
	api    client.Client
	node   *fakeNode
	keys   *fakeKeys
)

func TestControllers(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Controllers")
}

var _ = BeforeSuite(func() {
	ctrl.SetLogger(GinkgoLogr)
	SetDefaultEventuallyTimeout(20 * time.Second)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	SetDefaultConsistentlyDuration(2 * time.Second)
	EnforceDefaultTimeoutsWhenUsingContexts()

	var err error
	server, err = apiserver.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return server.Stop() })

	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	api, err = client.New(server.Config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	node, keys = newFakeNode(), newFakeKeys()

	operator := asOperator()
	mgr, err := ctrl.NewManager(operator, ctrl.Options{
		Scheme: scheme, Cache: controllers.CacheOptions(nil), Metrics: metricsserver.Options{BindAddress: "0"},
	})
	Expect(err).NotTo(HaveOccurred())
	ctx, stop := context.WithCancel(context.Background())
	Expect(controllers.Setup(ctx, mgr, controllers.Options{
		Image: image, StatusInterval: interval, Keys: keys, Status: node, JWKS: jwks.Options{Local: true, Log: slog.New(slog.DiscardHandler)},
	})).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	DeferCleanup(func() {
		stop()
		Eventually(ended).Should(Receive(BeNil()))
	})
})

// asOperator is who the operator is in a cluster: a user with the rights of the
// generated role and no others.
func asOperator() *rest.Config {
	GinkgoHelper()
	root, err := apiserver.Root()
	Expect(err).NotTo(HaveOccurred())
	for _, args := range [][]string{
		{"apply", "-f", filepath.Join(root, "config", "rbac", "role.yaml")},
		{"create", "clusterrolebinding", "operator", "--clusterrole=klaxon-operator", "--user=operator"},
	} {
		_, err := server.Kubectl(args...)
		Expect(err).NotTo(HaveOccurred())
	}
	config, err := server.User("operator")
	Expect(err).NotTo(HaveOccurred())
	return config
}

var _ = Describe("The cluster's ServiceAccount keys", func() {
	It("can be read with the operator's rights", func(ctx SpecContext) {
		config, err := server.User("operator")
		Expect(err).NotTo(HaveOccurred())
		source, err := controllers.NewKeySource(config)
		Expect(err).NotTo(HaveOccurred())
		issuer, err := source.ServiceAccountIssuer(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(issuer.Issuer).To(HavePrefix("https://"))
		Expect(string(issuer.JWKS)).To(MatchRegexp(`^{"keys":\[{.*"kid":`))
	})
})

// space is a namespace of one test.
type space string

func newSpace(ctx context.Context) space {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	Expect(api.Create(ctx, ns)).To(Succeed())
	return space(ns.Name)
}

func (s space) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: string(s), Name: name}
}

// channel creates a Channel with a spec in YAML.
func (s space) channel(ctx context.Context, name, spec string) *v1alpha1.Channel {
	ch := &v1alpha1.Channel{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: name}}
	Expect(yaml.UnmarshalStrict([]byte(spec), &ch.Spec)).To(Succeed())
	Expect(api.Create(ctx, ch)).To(Succeed())
	return ch
}

// pusher creates a Pusher with a spec in YAML.
func (s space) pusher(ctx context.Context, name, spec string) *v1alpha1.Pusher {
	p := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: name}}
	Expect(yaml.UnmarshalStrict([]byte(spec), &p.Spec)).To(Succeed())
	Expect(api.Create(ctx, p)).To(Succeed())
	return p
}

// secret creates or replaces a Secret with the key value.
func (s space) secret(ctx context.Context, name, value string, labels map[string]string) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: name, Labels: labels},
		Data:       map[string][]byte{"value": []byte(value)},
	}
	err := api.Create(ctx, secret)
	if err != nil {
		Expect(api.Update(ctx, secret)).To(Succeed())
	}
}

var allowed = map[string]string{v1alpha1.LabelAllow: "true"}

// change edits an object until the API server takes it.
func change[T client.Object](ctx context.Context, obj T, edit func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := api.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		edit(obj)
		return api.Update(ctx, obj)
	}).Should(Succeed())
}

// condition is what a condition says.
type condition struct {
	kind   string
	status metav1.ConditionStatus
	reason string
}

func is(kind, reason string) condition  { return condition{kind, metav1.ConditionTrue, reason} }
func not(kind, reason string) condition { return condition{kind, metav1.ConditionFalse, reason} }
func unknown(kind, reason string) condition {
	return condition{kind, metav1.ConditionUnknown, reason}
}

// says waits until an object's conditions, of its current generation, say all of this.
func says(ctx context.Context, obj client.Object, want ...condition) {
	GinkgoHelper()
	Eventually(func(g Gomega) { saysNow(ctx, g, obj, want...) }).Should(Succeed())
}

func saysNow(ctx context.Context, g Gomega, obj client.Object, want ...condition) {
	GinkgoHelper()
	g.Expect(api.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	for _, w := range want {
		c := meta.FindStatusCondition(conditionsOf(obj), w.kind)
		g.Expect(c).NotTo(BeNil(), "condition %s", w.kind)
		g.Expect(condition{c.Type, c.Status, c.Reason}).To(Equal(w), c.Message)
		g.Expect(c.ObservedGeneration).To(Equal(obj.GetGeneration()), "observedGeneration of %s", w.kind)
	}
}

func conditionsOf(obj client.Object) []metav1.Condition {
	switch o := obj.(type) {
	case *v1alpha1.Channel:
		return o.Status.Conditions
	case *v1alpha1.Pusher:
		return o.Status.Conditions
	}
	panic("no conditions")
}

func message(obj client.Object, kind string) string {
	return meta.FindStatusCondition(conditionsOf(obj), kind).Message
}

// served is what a Channel or Pusher says when all is well.
var served = []condition{is("Accepted", "Accepted"), is("Applied", "Applied"), is("Ready", "Ready")}
