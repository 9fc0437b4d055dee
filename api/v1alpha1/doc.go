// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is what a user may say to Klaxon: the Channel and Pusher
// resources of the group push.klaxon.dev, their validation, and the condition
// types, reasons, labels and annotations that the operator answers with.
//
// A Channel is what developers write; a Pusher is what platform teams write, as
// with HTTPRoute and Gateway. The schema and its CEL rules refuse bad input at
// `kubectl apply`, each with a sentence that says what to do. What a schema
// cannot see (Secrets, other objects) the operator reports in conditions.
//
// Defaults that may change are not written into the schema: the operator
// applies them when it compiles settings, and each field's comment states them.
//
// +kubebuilder:object:generate=true
// +groupName=push.klaxon.dev
package v1alpha1
