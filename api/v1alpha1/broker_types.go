// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// BrokerSpec says what carries events between the replicas of a Pusher and keeps
// them for clients that come back. It outlives the pods: a client that loses its pod
// goes on at another and misses nothing.
//
// +kubebuilder:validation:XValidation:rule="has(self.nats) != has(self.managed)",message="set either broker.managed, for a broker that the operator runs, or broker.nats, for a NATS that is there already"
type BrokerSpec struct {
	// Managed is a broker that the operator runs for this Pusher alone.
	// +optional
	Managed *ManagedBrokerSpec `json:"managed,omitempty"`

	// NATS is a NATS with JetStream that is there already, in version 2.12 or later.
	// +optional
	NATS *NATSSpec `json:"nats,omitempty"`
}

// ManagedBrokerSpec shapes a broker that the operator runs: NATS JetStream, from the
// same image as the push servers. It is deleted with its Pusher, and its volumes
// with it. Replicas and storage are fixed when it is made.
//
// +kubebuilder:validation:XValidation:rule="(has(self.replicas) ? self.replicas : 3) == (has(oldSelf.replicas) ? oldSelf.replicas : 3)",message="broker.managed.replicas cannot be changed: make another Pusher"
// +kubebuilder:validation:XValidation:rule="has(self.storage) == has(oldSelf.storage) && (!has(self.storage) || self.storage == oldSelf.storage)",message="broker.managed.storage cannot be changed: make another Pusher"
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.storage.type) || self.storage.type != 'Memory' || !has(self.resources) || !has(self.resources.limits) || !('memory' in self.resources.limits) || [string(self.resources.limits['memory'])].all(l, [has(self.storage.size) ? string(self.storage.size) : '256Mi'].all(s, !isQuantity(l) || !isQuantity(s) || quantity(l).asApproximateFloat() * 0.9 > quantity(s).asApproximateFloat()))",message="storage.size (default 256Mi with Memory) must be less than 90 % of resources.limits.memory, or no node starts: raise the limit or lower the size"
type ManagedBrokerSpec struct {
	// Replicas is the number of nodes: 3, of which one may be gone at any time, or 1,
	// which is away while it restarts. Default: 3.
	// +kubebuilder:validation:Enum=1;3
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// Storage of the events.
	// +optional
	Storage *ManagedStorageSpec `json:"storage,omitempty"`

	// Resources of the broker's container. Default: requests of 100m CPU and 128Mi
	// memory, with Memory storage.size more, and no limits. Changing them restarts the nodes, one at a time.
	// +kubebuilder:validation:XValidation:rule="!has(self.claims)",message="resources.claims: brokers use no devices, leave claims out"
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// NodeSelector restricts the nodes by their labels.
	// +kubebuilder:validation:MaxProperties=32
	// +optional
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// Tolerations of node taints.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// PriorityClassName of the pods.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// ManagedStorageSpec says where a managed broker keeps events, and how many bytes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.storageClassName) || !has(self.type) || self.type == 'Volume'",message="storage.storageClassName is for volumes: leave it out, or set storage.type to Volume"
type ManagedStorageSpec struct {
	// Type is Volume, a PersistentVolume for each node, or Memory, which loses
	// everything when all nodes restart. Default: Volume.
	// +optional
	Type ManagedStorageType `json:"type,omitempty"`

	// Size of each node's volume or, with Memory, of what it keeps in memory, which
	// must be less than 90 % of its memory limit. From 64Mi to 4Ti. Default: 10Gi, with
	// Memory 256Mi.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && quantity(string(self)).isInteger() && quantity(string(self)).compareTo(quantity('64Mi')) >= 0 && quantity(string(self)).compareTo(quantity('4Ti')) <= 0",message="storage.size is a whole number of bytes from 64Mi to 4Ti, for example 10Gi"
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`

	// StorageClassName of the volumes. Default: the cluster's default class.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`
}

// ManagedStorageType is where a managed broker keeps events.
//
// +kubebuilder:validation:Enum=Volume;Memory
type ManagedStorageType string

const (
	// ManagedStorageVolume keeps events in PersistentVolumes.
	ManagedStorageVolume ManagedStorageType = "Volume"
	// ManagedStorageMemory keeps events in the nodes' memory.
	ManagedStorageMemory ManagedStorageType = "Memory"
)

// NATSSpec says where a NATS is and how to log in. Changing it restarts the pods, but
// not for another password or certificate. The Pusher has two streams there,
// klaxon_<namespace>_<name> for events and KV_klaxon_<namespace>_<name>_sessions, which
// stay when the Pusher is deleted.
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
	// BrokerManaged: spec.broker.managed, or a Pusher that was made with several
	// replicas and no broker.
	BrokerManaged = "Managed"
)
