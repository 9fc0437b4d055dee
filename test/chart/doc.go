// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart holds the tests of the two ways to install Klaxon: the Helm
// chart (charts/klaxon) and kustomize (config/default). They must agree in every
// object, hold what they promise about rights, and be taken by a real API server.
//
// Helm is the version that tools/helm pins; kustomize is the one in kubectl.
// What needs an API server takes etcd and kube-apiserver from
// KUBEBUILDER_ASSETS (default: test/cluster/bin) and is skipped where neither is.
package chart
