// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// PublisherSpec allows one publisher: a ServiceAccount with its own projected
// token, or whoever holds a static token or one of another issuer, or everybody. With
// events or rooms it is narrowed: it may publish these and do nothing else, such as
// reading history or ending sessions. Of several entries for one publisher each allows
// what it says.
//
// +kubebuilder:validation:XValidation:rule="[has(self.serviceAccount), has(self.tokenSecretRef), has(self.jwt), has(self.anonymous) && self.anonymous].exists_one(x, x)",message="set exactly one of serviceAccount, tokenSecretRef, jwt and anonymous: true in each publisher"
type PublisherSpec struct {
	// ServiceAccount may publish with a projected token of the audience
	// push.klaxon.dev (same namespace) or status.address.audience (any namespace).
	// +optional
	ServiceAccount *ServiceAccountRef `json:"serviceAccount,omitempty"`

	// TokenSecretRef holds a static token of at least 32 bytes, for publishers
	// outside the cluster.
	// +optional
	TokenSecretRef *SecretKeyRef `json:"tokenSecretRef,omitempty"`

	// Anonymous lets whoever reaches the events port publish without a token, and do
	// nothing else there: for senders that have none, such as Knative's without OIDC.
	// Whoever shows a token is held to it all the same. The
	// operator's NetworkPolicy leaves the port open then: to say who reaches it, have
	// networkPolicy: None in the Pusher and a policy of your own. Default: false.
	// +optional
	Anonymous bool `json:"anonymous,omitempty"`

	// JWT lets those publish who hold tokens of another issuer: workloads of another
	// cluster, of a cloud, of a CI system.
	// +optional
	JWT *PublisherJWT `json:"jwt,omitempty"`

	// Events that it may publish: by name, or by the beginning of their names (order.*).
	// Default: all.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Events []Pattern `json:"events,omitempty"`

	// Rooms that its events may be for, and must be: none for the whole Channel, for users or
	// for sessions. By name, or by the beginning of their names (order:*). Default: its events
	// may be for anybody.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Rooms []Pattern `json:"rooms,omitempty"`
}

// PublisherJWT trusts the tokens of an issuer whose subjects are named.
type PublisherJWT struct {
	JWTIssuer `json:",inline"`

	// Subjects: the token's "sub" must be one of these, or begin as one does that ends
	// with *. ServiceAccounts of other clusters are system:serviceaccount:NAMESPACE:NAME.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=atomic
	Subjects []string `json:"subjects"`
}

// ServiceAccountRef names a ServiceAccount.
type ServiceAccountRef struct {
	// Namespace of the ServiceAccount. Default: the Channel's own.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name of the ServiceAccount.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}
