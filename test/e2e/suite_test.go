// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

const (
	release   = "klaxon"
	operators = "klaxon-system"
	shop      = "shop"
	other     = "elsewhere"
)

var (
	kube    client.Client
	image   = os.Getenv("KLAXON_E2E_IMAGE")
	helmBin = os.Getenv("KLAXON_E2E_HELM")
	kubeBin = os.Getenv("KLAXON_E2E_KUBECTL")
	// direct: this process can reach Services and pods by their addresses.
	direct = os.Getenv("KLAXON_E2E_DIRECT") != ""
)

func TestEndToEnd(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(90 * time.Second)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "end to end")
}

var _ = BeforeSuite(func() {
	for name, value := range map[string]string{
		"KLAXON_E2E_IMAGE": image, "KLAXON_E2E_HELM": helmBin, "KLAXON_E2E_KUBECTL": kubeBin,
		"KUBECONFIG": os.Getenv("KUBECONFIG"),
	} {
		Expect(value).NotTo(BeEmpty(), "%s is not set: run make e2e", name)
	}
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	Expect(err).NotTo(HaveOccurred())
	config.QPS, config.Burst = 200, 200
	kube, err = client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
})

// impersonating is a client that acts as somebody else.
func impersonating(user string) client.Client {
	GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	Expect(err).NotTo(HaveOccurred())
	config.Impersonate.UserName = user
	c, err := client.New(config, client.Options{Scheme: kube.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	return c
}

// run runs a program and returns what it prints; failing fails the test.
func run(stdin, name string, args ...string) string {
	GinkgoHelper()
	out, err := try(stdin, name, args...)
	Expect(err).NotTo(HaveOccurred(), "%s %s:\n%s", filepath.Base(name), strings.Join(args, " "), out)
	return out
}

func try(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func kubectl(args ...string) string {
	GinkgoHelper()
	return run("", kubeBin, args...)
}

func apply(manifest string) string {
	GinkgoHelper()
	return run(manifest, kubeBin, "apply", "-f", "-")
}

func helm(args ...string) string {
	GinkgoHelper()
	return run("", helmBin, args...)
}

func get[T client.Object](obj T, namespace, name string) T {
	GinkgoHelper()
	Expect(kube.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, obj)).To(Succeed())
	return obj
}

func channel(name string) *v1alpha1.Channel {
	GinkgoHelper()
	return get(&v1alpha1.Channel{}, shop, name)
}

// condition shows a Channel's condition as "status reason", of its current
// generation only.
func condition(name, kind string) func() string {
	return func() string {
		c := &v1alpha1.Channel{}
		if err := kube.Get(context.Background(), client.ObjectKey{Namespace: shop, Name: name}, c); err != nil {
			return err.Error()
		}
		return conditionOf(c, kind)
	}
}

func conditionOf(c *v1alpha1.Channel, kind string) string {
	cond := meta.FindStatusCondition(c.Status.Conditions, kind)
	if cond == nil || cond.ObservedGeneration != c.Generation {
		return "not observed yet"
	}
	return fmt.Sprintf("%s %s", cond.Status, cond.Reason)
}

// measured applies a manifest and returns how long it took from kubectl's
// answer until the Channel's current generation was ready and applied.
func measured(name, manifest string) time.Duration {
	GinkgoHelper()
	apply(manifest)
	begun := time.Now()
	Eventually(func() string {
		return condition(name, v1alpha1.ConditionReady)() + ", " + condition(name, v1alpha1.ConditionApplied)()
	}).WithPolling(10 * time.Millisecond).Should(Equal("True Ready, True Applied"))
	took := time.Since(begun)
	AddReportEntry("apply to Ready of "+name, took.Round(time.Millisecond).String())
	return took
}
