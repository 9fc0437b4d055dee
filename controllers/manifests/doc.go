// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests reads Channels, Pushers and Secrets from files as a cluster
// would take them from kubectl: strictly, defaulted, and checked by the schema
// and the CEL rules of the very CustomResourceDefinitions that are installed
// there. So what `klaxon validate` passes is what `kubectl apply` passes.
//
// Every problem names its file, its object and what to do; one bad object costs
// the others nothing. It knows no cluster and starts nothing.
package manifests
