// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const deployment = "Deployment klaxon-system/klaxon-operator"

// tenant is an install that asks for no right outside its own namespaces.
func tenant(release, ns, watch string) install {
	return install{release, ns, []string{"crds.enabled=false", "clusterRoles.enabled=false", `watchNamespaces=["` + watch + `"]`}}
}

func TestLint(t *testing.T) {
	if out, err := runHelm(t, "lint", "--strict", chartDir); err != nil {
		t.Fatal(out, err)
	}
}

func TestDefaultInstall(t *testing.T) {
	got := keys(objects(t, klaxon()))
	slices.Sort(got)
	want := []string{
		"ClusterRole klaxon-addressable",
		"ClusterRole klaxon-admin",
		"ClusterRole klaxon-edit",
		"ClusterRole klaxon-operator",
		"ClusterRole klaxon-view",
		"ClusterRoleBinding klaxon-operator",
		"CustomResourceDefinition channels.push.klaxon.dev",
		"CustomResourceDefinition pushers.push.klaxon.dev",
		"Deployment klaxon-system/klaxon-operator",
		"Role klaxon-system/klaxon-operator-leader-election",
		"RoleBinding klaxon-system/klaxon-operator-leader-election",
		"Service klaxon-system/klaxon-operator-metrics",
		"ServiceAccount klaxon-system/klaxon-operator",
		"ValidatingAdmissionPolicy klaxon-operator-pods",
		"ValidatingAdmissionPolicyBinding klaxon-operator-pods",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTenant: what is rendered for a tenant lies in the tenant's namespaces.
func TestTenant(t *testing.T) {
	all := objects(t, tenant("klaxon", "team-a", "shop"))
	for _, u := range all {
		if ns := u.GetNamespace(); ns != "team-a" && ns != "shop" {
			t.Errorf("%s lies outside the tenant's namespaces", key(u))
		}
	}
	role := find(t, all, "Role shop/klaxon-operator.team-a")
	everywhere := find(t, objects(t, klaxon()), "ClusterRole klaxon-operator")
	if want, got := rules(everywhere, namespacedRule), rules(role, namespacedRule); !slices.Equal(want, got) {
		t.Errorf("rules of the Role\n%s\nwant those of the ClusterRole\n%s", got, want)
	}
	if a := args(t, all, "Deployment team-a/klaxon-operator"); !slices.Contains(a, "--watch-namespaces=shop") {
		t.Errorf("arguments %q do not confine the operator", a)
	}
	subject := at(t, find(t, all, "RoleBinding shop/klaxon-operator.team-a"), "subjects").([]any)[0].(map[string]any)
	if subject["namespace"] != "team-a" || subject["name"] != "klaxon-operator" {
		t.Errorf("the Role is bound to %v", subject)
	}
}

// TestSideBySide: releases of several tenants, and a cluster-wide one, share no name.
func TestSideBySide(t *testing.T) {
	seen := map[string]string{}
	for _, in := range []install{
		klaxon(),
		tenant("klaxon", "team-a", "shop"),
		tenant("klaxon", "team-b", "shop"),
		tenant("klaxon-c", "team-b", "blog"),
		tenant("other", "team-b", "team-b"),
	} {
		for _, k := range keys(objects(t, in)) {
			if by, ok := seen[k]; ok {
				t.Errorf("%s is rendered by %s and %s/%s", k, by, in.namespace, in.release)
			}
			seen[k] = in.namespace + "/" + in.release
		}
	}
}

// TestWatchedNamespaces: with the right to make ClusterRoles, a confined
// operator still gets none over the namespaced resources.
func TestWatchedNamespaces(t *testing.T) {
	all := objects(t, klaxon(`watchNamespaces=["a","b"]`))
	for _, u := range all {
		if key(u) == "ClusterRole klaxon-operator" && len(rules(u, namespacedRule)) > 0 {
			t.Error("a ClusterRole grants what the Roles are for")
		}
	}
	find(t, all, "Role a/klaxon-operator.klaxon-system")
	find(t, all, "Role b/klaxon-operator.klaxon-system")
	find(t, all, "ValidatingAdmissionPolicy klaxon-operator-pods")
}

func TestArguments(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a1", 32)
	for _, c := range []struct {
		name    string
		set     []string
		has     []string
		without []string
	}{
		{"default", nil, []string{"--image=klaxon:0.1.0", "--leader-elect", "--log-level=info", "--log-format=json", "--metrics-addr=:8080", "--health-addr=:8081"}, []string{"--watch-namespaces", "--status-interval", "--jwks-private-hosts"}},
		{"tag", []string{`image.repository="r.test/k"`, `image.tag="v9"`}, []string{"--image=r.test/k:v9"}, nil},
		{"digest", []string{`image.tag="v9"`, `image.digest="` + digest + `"`}, []string{"--image=klaxon@" + digest}, nil},
		{"namespaces", []string{`watchNamespaces=["a","b"]`}, []string{"--watch-namespaces=a,b"}, nil},
		{"issuers", []string{`jwks.privateHosts=["id.corp","*.idp.svc"]`}, []string{"--jwks-private-hosts=id.corp,*.idp.svc"}, nil},
		{"alone", []string{"leaderElection.enabled=false"}, nil, []string{"--leader-elect"}},
		{"logs", []string{`log={"level":"debug","format":"text"}`}, []string{"--log-level=debug", "--log-format=text"}, nil},
		{"status", []string{`statusInterval="3s"`}, []string{"--status-interval=3s"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := objects(t, klaxon(c.set...))
			got := args(t, all, deployment)
			for _, a := range c.has {
				if !slices.Contains(got, a) {
					t.Errorf("%q lacks %s", got, a)
				}
			}
			for _, a := range c.without {
				if slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, a) }) {
					t.Errorf("%q has %s", got, a)
				}
			}
			if image := container(t, all, deployment)["image"]; !slices.Contains(got, "--image="+image.(string)) {
				t.Errorf("the operator runs %s but starts push servers from another image: %q", image, got)
			}
		})
	}
}

func TestSwitches(t *testing.T) {
	for _, c := range []struct {
		set  string
		gone []string
	}{
		{"crds.enabled=false", []string{"CustomResourceDefinition"}},
		{"aggregatedRoles.enabled=false", []string{"ClusterRole klaxon-view", "ClusterRole klaxon-edit", "ClusterRole klaxon-admin", "ClusterRole klaxon-addressable"}},
		{"admissionPolicy.enabled=false", []string{"ValidatingAdmissionPolicy"}},
		{"leaderElection.enabled=false", []string{"Role klaxon-system/", "RoleBinding klaxon-system/"}},
		{"metrics.service.enabled=false", []string{"Service klaxon-system/"}},
		{`serviceAccount={"create":false,"name":"mine"}`, []string{"ServiceAccount "}},
	} {
		t.Run(c.set, func(t *testing.T) {
			before, after := keys(objects(t, klaxon())), keys(objects(t, klaxon(c.set)))
			for _, k := range before {
				gone := slices.ContainsFunc(c.gone, func(p string) bool { return strings.HasPrefix(k, p) })
				if slices.Contains(after, k) == gone {
					t.Errorf("%s: rendered %v", k, !gone)
				}
			}
		})
	}
}

// TestAddressable: Knative finds Channels, and may read their addresses, by a label of
// the definition and of a role, and by nothing else.
func TestAddressable(t *testing.T) {
	const label = "duck.knative.dev/addressable"
	var got []string
	for _, u := range objects(t, klaxon()) {
		if u.GetLabels()[label] == "true" {
			got = append(got, key(u))
		}
	}
	slices.Sort(got)
	if want := []string{"ClusterRole klaxon-addressable", "CustomResourceDefinition channels.push.klaxon.dev"}; !slices.Equal(got, want) {
		t.Errorf("labelled are %q, want %q", got, want)
	}
	role := find(t, objects(t, klaxon()), "ClusterRole klaxon-addressable")
	all := func(map[string]any) bool { return true }
	if got, want := rules(role, all), []string{"push.klaxon.dev channels,channels/status  get,list,watch"}; !slices.Equal(got, want) {
		t.Errorf("the role grants %q, want %q", got, want)
	}
}

func TestKeepPolicy(t *testing.T) {
	for keep, want := range map[string]string{"true": "keep", "false": ""} {
		for _, u := range objects(t, klaxon("crds.keep="+keep)) {
			if u.GetKind() == "CustomResourceDefinition" && u.GetAnnotations()["helm.sh/resource-policy"] != want {
				t.Errorf("crds.keep=%s: %s has annotations %v", keep, key(u), u.GetAnnotations())
			}
		}
	}
}

func TestPodSettings(t *testing.T) {
	all := objects(t, klaxon(
		`podLabels={"team":"push"}`, `podAnnotations={"note":"n"}`, `nodeSelector={"disk":"ssd"}`, `priorityClassName="high"`,
		`tolerations=[{"operator":"Exists"}]`, `affinity={"nodeAffinity":{}}`, `topologySpreadConstraints=[{"maxSkew":1}]`,
		`imagePullSecrets=[{"name":"pull"}]`, `resources={"limits":{"memory":"1Gi"}}`, `replicas=2`,
	))
	d := find(t, all, deployment)
	for path, want := range map[string]any{
		"spec.replicas":                           float64(2),
		"spec.template.metadata.labels.team":      "push",
		"spec.template.spec.priorityClassName":    "high",
		"spec.template.spec.nodeSelector.disk":    "ssd",
		"spec.template.metadata.annotations.note": "n",
	} {
		if got := at(t, d, strings.Split(path, ".")...); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	for _, f := range []string{"tolerations", "affinity", "topologySpreadConstraints", "imagePullSecrets"} {
		at(t, d, "spec", "template", "spec", f)
	}
	if s := at(t, d, "spec", "selector", "matchLabels").(map[string]any); s["team"] != nil {
		t.Error("podLabels reached the selector, which cannot change")
	}
}

func TestServiceMonitor(t *testing.T) {
	all := objects(t, klaxon("metrics.serviceMonitor.enabled=true", `metrics.serviceMonitor.labels={"release":"p"}`))
	m := find(t, all, "ServiceMonitor klaxon-system/klaxon-operator")
	if m.GetLabels()["release"] != "p" {
		t.Errorf("labels %v", m.GetLabels())
	}
	service := find(t, all, "Service klaxon-system/klaxon-operator-metrics")
	for k, v := range at(t, m, "spec", "selector", "matchLabels").(map[string]any) {
		if service.GetLabels()[k] != v {
			t.Errorf("the ServiceMonitor selects %s=%v, the Service has %v", k, v, service.GetLabels())
		}
	}
}

// TestRefused: nonsense is refused with words that name the value.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		set  []string
		says string
	}{
		{[]string{`replicas="two"`}, "/replicas"},
		{[]string{`replicaCount=2`}, "replicaCount"},
		{[]string{`image.tag="a b"`}, "/image/tag"},
		{[]string{`image.digest="sha256:12"`}, "/image/digest"},
		{[]string{`image.repository=""`}, "/image/repository"},
		{[]string{`image.pullPolicy="Sometimes"`}, "/image/pullPolicy"},
		{[]string{`watchNamespaces=["Not A Name"]`}, "/watchNamespaces/0"},
		{[]string{`watchNamespaces="shop"`}, "/watchNamespaces"},
		{[]string{`log.level="loud"`}, "/log/level"},
		{[]string{`statusInterval="often"`}, "/statusInterval"},
		{[]string{`statusInterval="500ms"`}, "/statusInterval"}, // the operator refuses less than 1s
		{[]string{`crds.install=true`}, "install"},
		{[]string{`clusterRoles.enabled=false`}, "set watchNamespaces"},
		{[]string{`replicas=2`, `leaderElection.enabled=false`}, "set leaderElection.enabled"},
		{[]string{`metrics={"service":{"enabled":false},"serviceMonitor":{"enabled":true}}`}, "metrics.service.enabled"},
		{[]string{`serviceAccount.create=false`}, "serviceAccount.name"},
	} {
		t.Run(strings.Join(c.set, " "), func(t *testing.T) {
			a := []string{"template", "klaxon", chartDir}
			for _, s := range c.set {
				a = append(a, "--set-json", s)
			}
			out, err := runHelm(t, a...)
			if err == nil {
				t.Fatalf("was rendered:\n%.300s", out)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("the refusal does not speak of %q: %v", c.says, err)
			}
		})
	}
}

func TestNotes(t *testing.T) {
	for _, in := range []install{klaxon(), tenant("klaxon", "team-a", "shop")} {
		a := []string{"install", in.release, chartDir, "--namespace", in.namespace, "--dry-run=client"}
		for _, s := range in.set {
			a = append(a, "--set-json", s)
		}
		out, err := runHelm(t, a...)
		if err != nil {
			t.Fatal(err)
		}
		_, notes, ok := strings.Cut(out, "NOTES:\n")
		if !ok {
			t.Fatal("no NOTES")
		}
		_, channel, _ := strings.Cut(notes, "<<EOF\n")
		channel, _, _ = strings.Cut(channel, "\nEOF\n") // at the start of a line, so that it can be pasted
		if us := parse(t, channel); len(us) != 1 || us[0].GetKind() != "Channel" {
			t.Errorf("the NOTES show no Channel:\n%s", notes)
		}
		if want := "-n shop "; len(in.set) > 0 && !strings.Contains(notes, want) {
			t.Errorf("the NOTES use another namespace than the watched one:\n%s", notes)
		}
	}
}

// namespacedRule keeps rules that a Role can grant.
func namespacedRule(r map[string]any) bool { return r["nonResourceURLs"] == nil }

// rules are an object's rules that keep accepts, each as one line, sorted.
func rules(u *unstructured.Unstructured, keep func(map[string]any) bool) []string {
	var out []string
	list, _, _ := unstructured.NestedSlice(u.Object, "rules")
	for _, r := range list {
		if r := r.(map[string]any); keep(r) {
			out = append(out, join(r["apiGroups"])+" "+join(r["resources"])+" "+join(r["nonResourceURLs"])+" "+join(r["verbs"]))
		}
	}
	slices.Sort(out)
	return out
}

func join(v any) string {
	list, _ := v.([]any)
	var out []string
	for _, s := range list {
		out = append(out, s.(string))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
