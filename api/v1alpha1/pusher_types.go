// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pusher is a fleet of identical push-server pods that serves one or many Channels.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=kpu,categories=klaxon
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Applied",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].status`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Channels",type=integer,JSONPath=`.status.channels`
// +kubebuilder:printcolumn:name="Connections",type=integer,JSONPath=`.status.connections`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Accepted",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Revision",type=string,priority=1,JSONPath=`.status.revision`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name: use at most 40 lowercase letters, digits and '-', starting with a letter and ending with a letter or digit (Services are named after it)"
type Pusher struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	Spec   PusherSpec   `json:"spec"`
	Status PusherStatus `json:"status,omitempty"`
}

// PusherList is a list of Pushers.
//
// +kubebuilder:object:root=true
type PusherList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Pusher `json:"items"`
}

// PusherSpec describes the push servers. Everything is optional.
type PusherSpec struct {
	// Replicas is the number of pods. More than one needs a broker between them. A
	// Pusher that is made with several and no broker gets a managed one; one that was
	// made with one keeps its events in memory, and is not accepted with more
	// (BrokerRequired): what runs is left as it is.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// Broker carries events between the pods. Without it, status.broker says what
	// does: Memory, where events end with the only pod, or Managed. That is decided
	// once, when the Pusher is made; scaling never changes it.
	// +optional
	Broker *BrokerSpec `json:"broker,omitempty"`

	// Paused keeps the operator from changing anything that runs for this
	// Pusher, its Channels' settings included. Default: false.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// Heartbeat finds connections whose other end is gone.
	// +optional
	Heartbeat *HeartbeatSpec `json:"heartbeat,omitempty"`

	// Drain says how a pod that must go parts with its clients.
	// +optional
	Drain *DrainSpec `json:"drain,omitempty"`

	// AllowedHandlerOrigins lists where the Channels' handlers may be by url, for
	// example https://hooks.example.com or https://*.example.com ("*." stands for
	// one or more labels); "*" allows every origin. Addresses of the pod itself, link-local
	// and metadata addresses are refused all the same. Default: handlers are Services of
	// the Channel's namespace only.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	AllowedHandlerOrigins []Origin `json:"allowedHandlerOrigins,omitempty"`

	// Limits bounds what each pod takes from whoever reaches its clients listener.
	// +optional
	Limits *PusherLimitsSpec `json:"limits,omitempty"`

	// TrustedProxies are the networks, such as 10.0.0.0/8, of the proxies in front of the
	// pods, whose X-Forwarded-For says who clients are: for limits, rules, handlers and the list of
	// sessions. What others write into that header means nothing. Default: none; clients are
	// who connects.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	TrustedProxies []CIDR `json:"trustedProxies,omitempty"`

	// NetworkPolicy Restricted holds the pods, and a managed broker's, by NetworkPolicies to
	// whom they have to do with: clients from anywhere; publishers from the namespaces that Channels
	// name, or from anywhere when some have no ServiceAccount; the operator, and namespaces with
	// the label push.klaxon.dev/metrics: "true", to the admin port; calls to pods of the namespace and
	// DNS, or anywhere when handlers have a url or the broker is somebody else's. None leaves that
	// to policies of yours. Default: Restricted.
	// +optional
	NetworkPolicy NetworkPolicyMode `json:"networkPolicy,omitempty"`

	// Metrics says who may read the pods' metrics.
	// +optional
	Metrics *MetricsSpec `json:"metrics,omitempty"`

	// PodTemplate shapes the pods.
	// +optional
	PodTemplate *PodTemplateSpec `json:"podTemplate,omitempty"`
}

// NetworkPolicyMode says whether the operator keeps NetworkPolicies.
//
// +kubebuilder:validation:Enum=Restricted;None
type NetworkPolicyMode string

const (
	// NetworkPolicyRestricted holds pods to whom they have to do with.
	NetworkPolicyRestricted NetworkPolicyMode = "Restricted"
	// NetworkPolicyNone holds nobody.
	NetworkPolicyNone NetworkPolicyMode = "None"
)

// CIDR is a network, for example 10.0.0.0/8 or fd00::/8.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="write a network as ADDRESS/BITS, for example 10.0.0.0/8"
type CIDR string

// PusherLimitsSpec bounds what each pod takes.
type PusherLimitsSpec struct {
	// AcceptRate is how many new connections a pod lets in a second, in the long run, twice as
	// many at once, so that a storm of them leaves time for those that are connected.
	// Others are answered 503 with a time to come back (event streams: 200 with one).
	// Default: 5000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	AcceptRate *int32 `json:"acceptRate,omitempty"`

	// ConnectionsPerAddress is the largest number of connections that a pod has from one
	// IP address at once. Behind proxies set trustedProxies, too: otherwise all clients have the
	// proxies' addresses. Default: no bound.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	ConnectionsPerAddress *int32 `json:"connectionsPerAddress,omitempty"`

	// MemoryPercent is how much of the memory that it may have (nine tenths of
	// podTemplate.resources.limits.memory; without one nobody looks) a pod uses when it is full:
	// it leaves the clients Service until it uses 10 percent of the whole less, as long as at
	// least half of the ready pods stay in it. Half-way from there to all of it a pod lets
	// nobody in, and closes its slowest clients. Default: 80.
	// +kubebuilder:validation:Minimum=20
	// +kubebuilder:validation:Maximum=95
	// +optional
	MemoryPercent *int32 `json:"memoryPercent,omitempty"`
}

// HeartbeatSpec finds connections whose other end is gone.
type HeartbeatSpec struct {
	// Interval after which a client that has sent nothing is pinged. From 100ms to
	// 10m; keep it below the idle timeout of proxies in between. Default: 25s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') && duration(self) >= duration('100ms') && duration(self) <= duration('10m')",message="heartbeat.interval is a duration from 100ms to 10m, for example 25s"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`

	// Timeout after a ping within which the client must answer. From 100ms to
	// 10m. Default: 20s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') && duration(self) >= duration('100ms') && duration(self) <= duration('10m')",message="heartbeat.timeout is a duration from 100ms to 10m, for example 20s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// DrainSpec says how a pod that must go parts with its clients.
//
// +kubebuilder:validation:XValidation:rule="(has(self.period) ? self.period : '30s').matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') && (has(self.maxPeriod) ? self.maxPeriod : '10m').matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') ? duration(has(self.period) ? self.period : '30s') <= duration(has(self.maxPeriod) ? self.maxPeriod : '10m') : true",message="drain.period (default 30s) must not exceed drain.maxPeriod (default 10m)"
type DrainSpec struct {
	// Period over which a pod that goes moves its clients, a few at a time.
	// Changing it restarts nothing. With the in-memory broker a pod closes its
	// clients within 2s at most, because its events live nowhere else. Default: 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') && duration(self) >= duration('0s') && duration(self) <= duration('1h')",message="drain.period is a duration from 0s to 1h, for example 30s"
	// +optional
	Period *metav1.Duration `json:"period,omitempty"`

	// MaxPeriod bounds period and sets the pods' termination grace period
	// (maxPeriod plus 15s). Changing it restarts the pods. From 1s to 1h. Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="drain.maxPeriod is a duration from 1s to 1h, for example 10m"
	// +optional
	MaxPeriod *metav1.Duration `json:"maxPeriod,omitempty"`
}

// MetricsAccess says who may read metrics.
//
// +kubebuilder:validation:Enum=Credential;Open
type MetricsAccess string

const (
	// MetricsCredential asks for the bearer token in the Secret <pusher>-admin.
	MetricsCredential MetricsAccess = "Credential"
	// MetricsOpen lets whoever reaches the admin port read metrics.
	MetricsOpen MetricsAccess = "Open"
)

// MetricsSpec says who may read the pods' metrics.
type MetricsSpec struct {
	// Access to /metrics on the admin port. Default: Credential.
	// +optional
	Access MetricsAccess `json:"access,omitempty"`
}

// PodTemplateSpec shapes the pods of a Pusher. Changing it restarts them.
type PodTemplateSpec struct {
	// Labels added to the pods.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('push.klaxon.dev/') && !k.startsWith('app.kubernetes.io/'))",message="labels that start with push.klaxon.dev/ or app.kubernetes.io/ belong to the operator: use a prefix of your own"
	// +optional
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// Annotations added to the pods.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('push.klaxon.dev/'))",message="annotations that start with push.klaxon.dev/ belong to the operator: use a prefix of your own"
	// +optional
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`

	// Resources of the push-server container. Default: requests of 50m CPU and
	// 64Mi memory, no limits.
	// +kubebuilder:validation:XValidation:rule="!has(self.claims)",message="resources.claims: push servers use no devices, leave claims out"
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

	// Affinity to nodes and other pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// TopologySpreadConstraints spread the pods over zones or nodes.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// ImagePullSecrets for the push server's image.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// PriorityClassName of the pods.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// AnnotationValue is the value of an annotation.
//
// +kubebuilder:validation:MaxLength=4096
type AnnotationValue string

// PusherStatus is what the operator has found out about a Pusher.
type PusherStatus struct {
	// Conditions: Accepted, Applied, Ready and, of a managed broker, BrokerReady.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Replicas is the number of pods that exist.
	// +kubebuilder:default=0
	// +optional
	Replicas int32 `json:"replicas"`

	// ReadyReplicas is the number of pods that are ready.
	// +kubebuilder:default=0
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`

	// Broker that carries the events: Memory, NATS or Managed.
	// +optional
	Broker string `json:"broker,omitempty"`

	// Selector of the pods, for the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty"`

	// Channels is the number of accepted Channels that this Pusher serves.
	// +kubebuilder:default=0
	// +optional
	Channels int32 `json:"channels"`

	// Connections is the number of clients connected now, over all ready pods.
	// +kubebuilder:default=0
	// +optional
	Connections int64 `json:"connections"`

	// Revision identifies the compiled settings of the whole Pusher.
	// +optional
	Revision string `json:"revision,omitempty"`
}
