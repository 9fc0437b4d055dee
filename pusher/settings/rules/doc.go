// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rules reads and evaluates the CEL expressions (https://cel.dev) by which a
// Channel's author says who may connect, join and emit.
//
// The operator, klaxon validate and push servers share it: what one accepts the others
// can evaluate. A rule that cannot be evaluated for somebody (a claim is missing, it takes
// too long) allows nothing.
package rules
