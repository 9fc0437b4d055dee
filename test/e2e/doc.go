// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests a whole install on a real cluster: the chart, the operator,
// the push servers, publishers in pods and clients outside. `make e2e` runs it
// on the node of test/cluster, or on the cluster of KUBECONFIG with an IMAGE.
//
// It uses only what users use: helm, kubectl's manifests, URLs from the status.
package e2e
