// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// BrokerSpec says what carries events between the replicas of a Pusher and keeps
// them for clients that come back. It outlives the pods: a client that loses its pod
// goes on at another and misses nothing.
type BrokerSpec struct {
	// NATS is a NATS with JetStream that is there already, in version 2.12 or later.
	NATS NATSSpec `json:"nats"`
}

// NATSSpec says where a NATS is and how to log in. Changing it restarts the pods. The
// Pusher has one stream there, klaxon_<namespace>_<name>, which stays when the Pusher
// is deleted.
type NATSSpec struct {
	// URL of NATS, or several with commas between: nats://HOST:PORT, or
	// tls://HOST:PORT to insist on TLS.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(nats|tls)://[A-Za-z0-9._:-]+(,(nats|tls)://[A-Za-z0-9._:-]+)*$')",message="write broker.nats.url as nats://HOST:PORT or tls://HOST:PORT, several with commas between and no spaces; the user and password go into credentialsSecretRef"
	URL string `json:"url"`

	// Replicas is how many of the nodes of NATS keep the events: 1, 3 or 5. Fixed
	// when the stream is made. Default: 1.
	// +kubebuilder:validation:Enum=1;3;5
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// Storage of the events: File, or Memory, which loses them when the nodes that
	// have them restart. Fixed when the stream is made. Default: File.
	// +optional
	Storage BrokerStorage `json:"storage,omitempty"`

	// CredentialsSecretRef names a Secret with the keys username and password, as
	// those of type kubernetes.io/basic-auth have. It must carry the label
	// push.klaxon.dev/allow: "true". Default: nobody asks.
	// +optional
	CredentialsSecretRef *SecretRef `json:"credentialsSecretRef,omitempty"`

	// CASecretRef holds the certificates, in PEM, that vouch for NATS. Default: those
	// that the image trusts, which are none.
	// +optional
	CASecretRef *SecretKeyRef `json:"caSecretRef,omitempty"`

	// CertificateSecretRef names a Secret with the keys tls.crt and tls.key, as those
	// of type kubernetes.io/tls have: the certificate that the pods show. It must
	// carry the label push.klaxon.dev/allow: "true". Default: none.
	// +optional
	CertificateSecretRef *SecretRef `json:"certificateSecretRef,omitempty"`
}

// BrokerStorage is where a broker keeps events.
//
// +kubebuilder:validation:Enum=File;Memory
type BrokerStorage string

const (
	// StorageFile keeps events in files.
	StorageFile BrokerStorage = "File"
	// StorageMemory keeps events in memory.
	StorageMemory BrokerStorage = "Memory"
)

// Brokers, as status.broker names them.
const (
	// BrokerMemory: the memory of the only pod.
	BrokerMemory = "Memory"
	// BrokerNATS: spec.broker.nats.
	BrokerNATS = "NATS"
)
