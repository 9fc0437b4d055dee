// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Server is a running API server.
type Server struct {
	// Config of an administrator's client.
	Config *rest.Config
	env    *envtest.Environment
	assets string // folder of the programs
}

// Start starts an API server. Whoever starts it must Stop it.
func Start() (*Server, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		assets = filepath.Join(root, "test", "cluster", "bin")
	}
	for _, program := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if _, err := os.Stat(filepath.Join(assets, program)); err != nil {
			return nil, fmt.Errorf("no %s in %s: run `make envtest`, or set KUBEBUILDER_ASSETS: %w", program, assets, err)
		}
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory: assets,
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	config, err := env.Start()
	if err != nil {
		return nil, fmt.Errorf("start API server: %w", errors.Join(err, env.Stop()))
	}
	config.QPS = -1 // tests are in a hurry
	return &Server{Config: config, env: env, assets: assets}, nil
}

// Stop ends the API server and its store.
func (s *Server) Stop() error { return s.env.Stop() }

// User returns the config of a user who may do nothing but what bindings allow,
// as a ServiceAccount does.
func (s *Server) User(name string) (*rest.Config, error) {
	user, err := s.addUser(name)
	if err != nil {
		return nil, err
	}
	config := user.Config()
	config.QPS = -1
	return config, nil
}

// Kubeconfig is User as a program reads it from a file.
func (s *Server) Kubeconfig(name string) ([]byte, error) {
	user, err := s.addUser(name)
	if err != nil {
		return nil, err
	}
	return user.KubeConfig()
}

func (s *Server) addUser(name string) (*envtest.AuthenticatedUser, error) {
	user, err := s.env.AddUser(envtest.User{Name: name, Groups: []string{"system:serviceaccounts"}}, nil)
	if err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	return user, nil
}

// Kubectl runs kubectl as the administrator and returns what it prints.
func (s *Server) Kubectl(args ...string) (string, error) {
	config, err := os.CreateTemp("", "kubeconfig-*")
	if err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	defer os.Remove(config.Name())
	_, err = config.Write(s.env.KubeConfig)
	if err = errors.Join(err, config.Close()); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	cmd := exec.Command(filepath.Join(s.assets, "kubectl"), append([]string{"--kubeconfig", config.Name()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %v: %w: %s", args, err, out)
	}
	return string(out), nil
}

// Root is the folder of the module that the working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in any parent directory")
		}
		dir = parent
	}
}
