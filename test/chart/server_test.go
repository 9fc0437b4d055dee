// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// assets is the folder with etcd, kube-apiserver and kubectl.
func assets(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir != "" {
		return dir
	}
	dir, err := filepath.Abs(root + "/test/cluster/bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kubectl")); err != nil {
		t.Skip("SKIPPED: no API server here: run `make envtest`, or set KUBEBUILDER_ASSETS")
	}
	return dir
}

// apiServer starts a real API server for the test.
func apiServer(t *testing.T) *rest.Config {
	t.Helper()
	env := &envtest.Environment{BinaryAssetsDirectory: assets(t), DownloadBinaryAssets: false}
	config, err := env.Start()
	if err != nil {
		t.Fatalf("start the API server: %v", err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	return config
}

func clientFor(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// apply makes the objects as an installer would.
func apply(t *testing.T, c client.Client, all []*unstructured.Unstructured) {
	t.Helper()
	for _, u := range all {
		err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("test"), client.ForceOwnership)
		if err != nil {
			t.Errorf("%s: %v", key(u), err)
		}
	}
}

func makeNamespaces(t *testing.T, c client.Client, names ...string) {
	t.Helper()
	for _, n := range names {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
		if err := c.Create(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPIServer(t *testing.T) {
	config := apiServer(t)
	admin := clientFor(t, config)
	makeNamespaces(t, admin, namespace, "shop", "team-a", "team-b")
	apply(t, admin, objects(t, klaxon()))
	apply(t, admin, objects(t, tenant("klaxon", "team-a", "shop")))
	apply(t, admin, objects(t, klaxon(`watchNamespaces=["shop"]`, `crds.enabled=false`, `fullnameOverride="confined"`)))
	t.Run("PodSecurity", func(t *testing.T) { testPodSecurity(t, admin) })
	t.Run("PodPolicy", func(t *testing.T) { testPodPolicy(t, config, admin) })
	t.Run("AggregatedRoles", func(t *testing.T) { testAggregatedRoles(t, config, admin) })
	t.Run("Tenant", func(t *testing.T) { testTenant(t, config, admin) })
}

// testPodSecurity: the operator's pod is taken by a namespace that enforces the
// restricted standard.
func testPodSecurity(t *testing.T, admin client.Client) {
	d := find(t, objects(t, klaxon()), deployment)
	spec := at(t, d, "spec", "template", "spec")
	pod := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": map[string]any{"name": "operator", "namespace": namespace},
	}}
	if err := admin.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Error(err)
	}
}

// podPatch is a merge patch of a pod and what becomes of it.
type podPatch struct {
	name, pod, patch string
	says             string // of the refusal; empty: allowed
}

var podPatches = []podPatch{
	{"own annotation", "edge", `{"metadata":{"annotations":{"push.klaxon.dev/nudge":"2"}}}`, ""},
	{"own annotation removed", "edge", `{"metadata":{"annotations":{"push.klaxon.dev/nudge":null}}}`, ""},
	{"own label", "edge", `{"metadata":{"labels":{"push.klaxon.dev/accepting":"false"}}}`, ""},
	{"own label removed", "edge", `{"metadata":{"labels":{"push.klaxon.dev/accepting":null}}}`, ""},
	{"first annotation of a pod", "bare", `{"metadata":{"annotations":{"push.klaxon.dev/nudge":"1"}}}`, ""},
	{"other label", "edge", `{"metadata":{"labels":{"team":"x"}}}`, "only labels of a pod that start with push.klaxon.dev/"},
	{"other label changed", "edge", `{"metadata":{"labels":{"app.kubernetes.io/name":"x"}}}`, "only labels of a pod"},
	{"other label removed", "edge", `{"metadata":{"labels":{"app.kubernetes.io/name":null}}}`, "only labels of a pod"},
	{"other annotation", "edge", `{"metadata":{"annotations":{"note":"x"}}}`, "only annotations of a pod that start with push.klaxon.dev/"},
	{"other annotation changed", "edge", `{"metadata":{"annotations":{"kept":"x"}}}`, "only annotations of a pod"},
	{"other annotation removed", "edge", `{"metadata":{"annotations":{"kept":null}}}`, "only annotations of a pod"},
	{"a name that only looks like ours", "edge", `{"metadata":{"labels":{"push.klaxon.dev.evil/a":"x"}}}`, "only labels of a pod"},
	{"image", "edge", `{"spec":{"containers":[{"name":"pusher","image":"evil"}]}}`, "spec or status"},
	{"deadline", "edge", `{"spec":{"activeDeadlineSeconds":1}}`, "spec or status"},
	{"finalizer", "edge", `{"metadata":{"finalizers":["example.com/stay"]}}`, "finalizers or owners"},
	{"owner", "edge", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"a","uid":"b"}]}}`, "finalizers or owners"},
	{"somebody else's pod", "web", `{"metadata":{"annotations":{"push.klaxon.dev/nudge":"1"}}}`, "only the pods of Pushers"},
	{"making it ours", "web", `{"metadata":{"labels":{"push.klaxon.dev/pusher":"edge"}}}`, "only the pods of Pushers"},
}

// testPodPolicy: the policy lets the operator's ServiceAccount do what it needs
// to a pod and nothing else, and does not concern anybody else.
func testPodPolicy(t *testing.T, config *rest.Config, admin client.Client) {
	ours := map[string]string{"app.kubernetes.io/name": "klaxon-pusher", "push.klaxon.dev/pusher": "edge", "push.klaxon.dev/accepting": "true"}
	makePod(t, admin, metav1.ObjectMeta{Name: "edge", Labels: ours, Annotations: map[string]string{"kept": "1", "push.klaxon.dev/nudge": "1"}})
	makePod(t, admin, metav1.ObjectMeta{Name: "bare", Labels: ours})
	makePod(t, admin, metav1.ObjectMeta{Name: "web"})

	operator := clientFor(t, as(config, "system:serviceaccount:"+namespace+":klaxon-operator"))
	// A new policy takes effect when the API server has seen it.
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		return patch(ctx, operator, podPatches[len(podPatches)-1]) != nil, nil
	})
	if err != nil {
		t.Fatal("the policy is not enforced after 30 s")
	}
	for _, p := range podPatches {
		t.Run(p.name, func(t *testing.T) {
			err := patch(t.Context(), operator, p)
			switch {
			case p.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case p.says != "" && err == nil:
				t.Error("allowed")
			case p.says != "" && !strings.Contains(err.Error(), p.says):
				t.Errorf("refused for another reason: %v", err)
			}
			if err := patch(t.Context(), admin, p); err != nil && !apierrors.IsInvalid(err) {
				t.Errorf("the policy concerns others too: %v", err)
			}
		})
	}
}

func makePod(t *testing.T, c client.Client, meta metav1.ObjectMeta) {
	t.Helper()
	meta.Namespace = "default"
	pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "pusher", Image: "klaxon"}}}}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// patch tries a patch without keeping its result.
func patch(ctx context.Context, c client.Client, p podPatch) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.pod, Namespace: "default"}}
	return c.Patch(ctx, pod, client.RawPatch(types.StrategicMergePatchType, []byte(p.patch)), client.DryRunAll)
}

// as is the same server seen by another user.
func as(config *rest.Config, user string, groups ...string) *rest.Config {
	c := rest.CopyConfig(config)
	c.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	return c
}

// testAggregatedRoles: the built-in roles carry the rights on our resources.
func testAggregatedRoles(t *testing.T, config *rest.Config, admin client.Client) {
	for _, role := range []string{"view", "edit", "admin"} {
		bindRole(t, admin, "default", role, role+"er")
	}
	// kube-controller-manager aggregates roles; it is not here, so do its part.
	aggregate(t, admin)
	for _, c := range []struct { // what is allowed first: when that holds, all roles have been seen
		user, verb, resource string
		want                 bool
	}{
		{"viewer", "list", "channels", true},
		{"viewer", "get", "pushers", true},
		{"editer", "list", "pushers", true},
		{"editer", "create", "channels", true},
		{"adminer", "create", "pushers", true},
		{"adminer", "delete", "channels", true},
		{"adminer", "patch", "channels/status", true},
		{"viewer", "create", "channels", false},
		{"editer", "create", "pushers", false},
		{"adminer", "update", "channels/status", false},
	} {
		t.Run(c.user+" "+c.verb+" "+c.resource, func(t *testing.T) {
			cl := clientFor(t, as(config, c.user))
			got := false
			// What a changed role allows shows when the API server has seen it.
			err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
				got = allowed(t, cl, c.verb, c.resource)
				return got || !c.want, nil
			})
			if err != nil || got != c.want {
				t.Errorf("allowed %v, want %v", got, c.want)
			}
		})
	}
}

// testTenant: who is admin of two namespaces, and nothing else, can install an
// operator there. Runs after testAggregatedRoles.
func testTenant(t *testing.T, config *rest.Config, admin client.Client) {
	for _, ns := range []string{"team-c", "shop-c"} {
		makeNamespaces(t, admin, ns)
		bindRole(t, admin, ns, "admin", "tenant")
	}
	c := clientFor(t, as(config, "tenant"))
	all := objects(t, tenant("klaxon", "team-c", "shop-c"))
	slices.SortStableFunc(all, func(a, b *unstructured.Unstructured) int { // roles before their bindings, as Helm does
		return strings.Compare(a.GetKind(), b.GetKind())
	})
	apply(t, c, all)
}

// bindRole gives a user a ClusterRole in a namespace.
func bindRole(t *testing.T, c client.Client, ns, role, user string) {
	t.Helper()
	apply(t, c, parse(t, `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding",
		"metadata":{"name":"`+role+`","namespace":"`+ns+`"},
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"`+role+`"},
		"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"`+user+`"}]}`))
}

// aggregate fills the built-in roles from those labelled for them, as
// kube-controller-manager does: each role takes in what its selectors match.
func aggregate(t *testing.T, c client.Client) {
	t.Helper()
	for _, name := range []string{"view", "edit", "admin"} {
		role := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}}
		if err := c.Get(t.Context(), types.NamespacedName{Name: name}, role); err != nil {
			t.Fatal(err)
		}
		selectors, _, _ := unstructured.NestedSlice(role.Object, "aggregationRule", "clusterRoleSelectors")
		var rules []any
		for _, s := range selectors {
			var selector metav1.LabelSelector
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(s.(map[string]any), &selector); err != nil {
				t.Fatal(err)
			}
			list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleList"}}
			if err := c.List(t.Context(), list, client.MatchingLabels(selector.MatchLabels)); err != nil {
				t.Fatal(err)
			}
			for i := range list.Items {
				more, _, _ := unstructured.NestedSlice(list.Items[i].Object, "rules")
				rules = append(rules, more...)
			}
		}
		role.Object["rules"] = rules
		if err := c.Update(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
}

// allowed asks the API server whether the client's user may.
func allowed(t *testing.T, c client.Client, verb, resource string) bool {
	t.Helper()
	resource, sub, _ := strings.Cut(resource, "/")
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]any{
			"namespace": "default", "group": "push.klaxon.dev", "verb": verb, "resource": resource, "subresource": sub,
		}},
	}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	ok, _, _ := unstructured.NestedBool(review.Object, "status", "allowed")
	return ok
}
