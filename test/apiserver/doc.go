// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver starts a real API server with Klaxon's resource definitions
// for tests: etcd and kube-apiserver, no node, no controllers.
//
// The programs come from KUBEBUILDER_ASSETS, or from test/cluster/bin, where
// `make envtest` builds them. A test that lacks them fails and says so; it is
// never skipped.
package apiserver
