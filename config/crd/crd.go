// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crd holds the generated CustomResourceDefinitions, so that programs
// can check manifests by the very rules that the API server applies.
package crd

import "embed"

// Bases are the generated files, in the folder bases.
//
//go:embed bases/*.yaml
var Bases embed.FS
