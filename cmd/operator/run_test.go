// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klaxon-dev/klaxon/test/apiserver"
)

// TestConfined runs the program as a release that may see one namespace: with
// the generated rules in a Role there, and no right anywhere else.
func TestConfined(t *testing.T) {
	server, err := apiserver.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	root, err := apiserver.Root()
	if err != nil {
		t.Fatal(err)
	}
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := server.Kubectl(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	sample := filepath.Join(root, "config", "samples", "channel-minimal.yaml")
	kubectl("create", "namespace", "watched")
	kubectl("apply", "-f", filepath.Join(root, "config", "rbac", "role.yaml"))
	kubectl("create", "rolebinding", "operator", "-n", "watched", "--clusterrole=klaxon-operator", "--user=confined")
	kubectl("apply", "-n", "watched", "-f", sample)
	kubectl("apply", "-n", "default", "-f", sample)

	health := freeAddr(t)
	operator, log := start(t, server, "--image=klaxon", "--watch-namespaces=watched",
		"--metrics-addr=0", "--health-addr="+health, "--log-format=text")
	kubectl("wait", "-n", "watched", "kch/ticker", "--for=condition=Accepted", "--timeout=30s")
	kubectl("get", "-n", "watched", "deployment/ticker-pusher", "service/ticker-clients", "secret/ticker-settings-0")
	if out := kubectl("get", "-n", "default", "kch/ticker", "-o", "jsonpath={.status}"); out != "" {
		t.Errorf("the Channel of another namespace has a status: %s", out)
	}
	resp, err := http.Get("http://" + health + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %s, %v", resp.Status, err)
	}
	if err := operator.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := operator.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "level=ERROR") {
			t.Errorf("logged: %s", line)
		}
	}
}

// start runs the program as the user "confined".
func start(t *testing.T, server *apiserver.Server, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "operator")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	kubeconfig, err := server.Kubeconfig("confined")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if t.Failed() {
			t.Logf("operator:\n%s", log)
		}
	})
	return cmd, log
}

// freeAddr is an address on loopback that nothing listens on. On 127.0.0.1
// somebody's outgoing connection may take its port before the process does.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.10.20.31:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
