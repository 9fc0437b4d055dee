// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ObjectName is the name of a Channel or Pusher: a DNS-1035 label (RFC 1035
// section 2.3.1) of at most 40 characters, because Services are named after it.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=40
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="use lowercase letters, digits and '-', starting with a letter and ending with a letter or digit"
type ObjectName string

// SecretRef names a Secret in the same namespace.
type SecretRef struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// SecretKeyRef names one key of a Secret in the same namespace. The Secret must
// carry the label push.klaxon.dev/allow: "true": its owner offers it so.
type SecretKeyRef struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Key in the Secret's data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// Pattern is a name of events or rooms, or the beginning of names and a *.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[^*]*[*]?$')",message="a * stands at the end, for example order.*"
type Pattern string
