// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Channel is one declared stream of events: who may connect to it, who may
// publish to it, and within which limits. Applying one gives it a push server
// of its own, or a place on the Pusher that it names.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=kch,categories=klaxon
// +kubebuilder:metadata:labels="duck.knative.dev/addressable=true"
// +kubebuilder:printcolumn:name="Pusher",type=string,JSONPath=`.status.pusher`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Applied",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].status`
// +kubebuilder:printcolumn:name="Connections",type=integer,JSONPath=`.status.connections`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Accepted",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Clients",type=string,priority=1,JSONPath=`.status.urls.webSocket`
// +kubebuilder:printcolumn:name="Publish",type=string,priority=1,JSONPath=`.status.address.url`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name: use at most 40 lowercase letters, digits and '-', starting with a letter and ending with a letter or digit (Services are named after it)"
type Channel struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	Spec   ChannelSpec   `json:"spec"`
	Status ChannelStatus `json:"status,omitempty"`
}

// ChannelList is a list of Channels.
//
// +kubebuilder:object:root=true
type ChannelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Channel `json:"items"`
}

// ChannelSpec is what a Channel's author asks for. Everything is optional; an
// empty spec gives a push server of its own that no client may connect to
// (set clients) and to which the namespace's own ServiceAccounts may publish.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.pusherRef) && has(self.pusher))",message="set pusherRef to join an existing Pusher, or pusher to describe the Channel's own, not both"
// +kubebuilder:validation:XValidation:rule="has(self.pusherRef) == has(oldSelf.pusherRef)",message="pusherRef cannot be added to or removed from an existing Channel, because its clients would lose their URL: create a Channel of another name and move the clients"
// +kubebuilder:validation:XValidation:rule="[has(self.slowClients) && has(self.slowClients.bufferBytes) ? string(self.slowClients.bufferBytes) : '256Ki'].all(b, [has(self.limits) && has(self.limits.eventBytes) ? string(self.limits.eventBytes) : '64Ki'].all(e, !isQuantity(b) || !isQuantity(e) || quantity(b).compareTo(quantity(e)) >= 0))",message="slowClients.bufferBytes (default 256Ki) must be at least limits.eventBytes (default 64Ki), so that one event always fits"
type ChannelSpec struct {
	// PusherRef joins an existing Pusher of the same namespace.
	// Without it the Channel gets a Pusher of its own, of the Channel's name,
	// which is deleted with it.
	// +optional
	PusherRef *PusherRef `json:"pusherRef,omitempty"`

	// Pusher describes the Channel's own Pusher.
	// +optional
	Pusher *PusherSpec `json:"pusher,omitempty"`

	// Clients says who may connect. Without it nobody may.
	// +optional
	Clients *ClientsSpec `json:"clients,omitempty"`

	// Publishers says who may publish. Default: every ServiceAccount of the
	// Channel's own namespace.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Publishers []PublisherSpec `json:"publishers,omitempty"`

	// Limits bounds what clients and publishers can ask of the Channel.
	// +optional
	Limits *LimitsSpec `json:"limits,omitempty"`

	// SlowClients says what happens to a client that reads slower than events come.
	// +optional
	SlowClients *SlowClientsSpec `json:"slowClients,omitempty"`

	// History says how much of what was published is kept, for clients that come
	// back. Without it the defaults below hold.
	// +optional
	History *HistorySpec `json:"history,omitempty"`

	// Presence lets clients watch who is in the Channel, and in rooms that they are
	// in: users by the "sub" of their tokens, and how many sessions there are. A
	// session that is not closed in order is taken to be there for up to 20 seconds.
	// +optional
	Presence bool `json:"presence,omitempty"`

	// TraceContext sends clients, with each event, the traceparent (W3C Trace Context)
	// that its publisher sent: plain clients as a member, Socket.IO clients as one more
	// argument {traceparent}, event streams as a field of that name. Default: false.
	// +optional
	TraceContext bool `json:"traceContext,omitempty"`

	// Handlers are told what clients do: that they connect, what they emit, that they
	// leave. Without them clients only listen.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Handlers []HandlerSpec `json:"handlers,omitempty"`

	// SocketIO says how Socket.IO clients reach the Channel. They can without it
	// as well, at the default namespace.
	// +optional
	SocketIO *SocketIOSpec `json:"socketIO,omitempty"`

	// CloudEvents says whom CloudEvents are for that are published to the Channel.
	// They can be published without it as well.
	// +optional
	CloudEvents *CloudEventsSpec `json:"cloudEvents,omitempty"`

	// Compression compresses WebSocket messages (permessage-deflate, RFC 7692)
	// for clients that offer it, as browsers do. Default: nothing is compressed.
	// +optional
	Compression *CompressionSpec `json:"compression,omitempty"`
}

// PusherRef names a Pusher of the same namespace.
type PusherRef struct {
	Name ObjectName `json:"name"`
}

// LimitsSpec bounds what clients and publishers can ask of a Channel.
type LimitsSpec struct {
	// EventBytes is the largest event that may be published, as the JSON or
	// bytes of its data. From 64 to 1Mi. Default: 64Ki.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && quantity(string(self)).isInteger() && quantity(string(self)).compareTo(quantity('64')) >= 0 && quantity(string(self)).compareTo(quantity('1Mi')) <= 0",message="eventBytes is a whole number of bytes from 64 to 1Mi, for example 64Ki; for larger data publish a link to it"
	// +optional
	EventBytes *resource.Quantity `json:"eventBytes,omitempty"`

	// Connections is the largest number of clients connected at once to one
	// replica. Default: 100000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	// +optional
	Connections *int32 `json:"connections,omitempty"`

	// EmitRate is how many events each client may emit a second, in the long run; twice
	// as many at once. What comes on top is answered with the error rate_limited.
	// Default: 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	EmitRate *int32 `json:"emitRate,omitempty"`

	// TotalEmitRate is how many events all clients of the Channel together may emit a second
	// through one replica, in the long run; twice as many at once. What comes on top is
	// answered with the error rate_limited, whoever it is from. Default: no bound.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	TotalEmitRate *int32 `json:"totalEmitRate,omitempty"`

	// RoomsPerSession is how many rooms a session may be in at once, however it has come
	// there. From 1 to 100. Default: 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	RoomsPerSession *int32 `json:"roomsPerSession,omitempty"`

	// ConnectionsPerUser is the largest number of sessions that one user, by the token's
	// sub, has at once on one replica. Sessions that were there before it was set are not
	// counted. Default: as many as connections allows.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	ConnectionsPerUser *int32 `json:"connectionsPerUser,omitempty"`

	// JoinRate is how many rooms each client may ask to join, leave, watch and unwatch a
	// second, in the long run, any other request counting as one; twice as many at once.
	// What comes on top is answered with the error rate_limited. Default: 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	JoinRate *int32 `json:"joinRate,omitempty"`

	// PublishRate is how many events each publisher may publish a second, in the long
	// run, through one replica; twice as many at once. What comes on top is answered 429 with
	// a time to come back; a stream is slowed down. Default: 10000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	PublishRate *int32 `json:"publishRate,omitempty"`
}

// SlowClientPolicy says what happens when a client's unsent events exceed the buffer.
//
// +kubebuilder:validation:Enum=Disconnect;DropOldest
type SlowClientPolicy string

const (
	// SlowClientDisconnect closes the connection with code 4008; the client may reconnect.
	SlowClientDisconnect SlowClientPolicy = "Disconnect"
	// SlowClientDropOldest drops the oldest unsent events and tells the client
	// how many with a gap message in their place.
	SlowClientDropOldest SlowClientPolicy = "DropOldest"
)

// SlowClientsSpec says what happens to a client that reads slower than events come.
type SlowClientsSpec struct {
	// BufferBytes is how many unsent bytes a client may have outstanding beyond
	// what the kernel's socket buffer holds. From 4Ki to 64Mi. Default: 256Ki.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && quantity(string(self)).isInteger() && quantity(string(self)).compareTo(quantity('4Ki')) >= 0 && quantity(string(self)).compareTo(quantity('64Mi')) <= 0",message="bufferBytes is a whole number of bytes from 4Ki to 64Mi, for example 256Ki"
	// +optional
	BufferBytes *resource.Quantity `json:"bufferBytes,omitempty"`

	// Policy when the buffer is full. Default: Disconnect.
	// +optional
	Policy SlowClientPolicy `json:"policy,omitempty"`
}

// HistorySpec bounds the Channel's log of events. A client that comes back gets
// exactly what it missed, if that is still there, and otherwise is told. There is
// one log for a Channel: what is kept is the same for all of its rooms.
type HistorySpec struct {
	// Size is how many events are kept. 0 keeps none: no client is recovered.
	// Default: 1000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	// +optional
	Size *int32 `json:"size,omitempty"`

	// TTL is how long an event is kept. From 1s to 24h. Default: 5m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="history.ttl is a duration from 1s to 24h, for example 5m; to keep nothing set history.size to 0"
	// +optional
	TTL *metav1.Duration `json:"ttl,omitempty"`

	// Bytes is how much memory or storage the kept events may take in all; the
	// oldest go first. From 1Mi to 1Gi. Default: 8Mi.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && quantity(string(self)).isInteger() && quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('1Gi')) <= 0",message="history.bytes is a whole number of bytes from 1Mi to 1Gi, for example 8Mi; to keep nothing set history.size to 0"
	// +optional
	Bytes *resource.Quantity `json:"bytes,omitempty"`
}

// SocketIOSpec says how Socket.IO clients reach a Channel.
type SocketIOSpec struct {
	// Namespace by which Socket.IO clients name the Channel: "/", or "/" and up
	// to 127 letters, digits and _ . : - in parts that are divided by "/". Of
	// two Channels of one Pusher that want the same, the older one has it and
	// the other is not accepted (NamespaceTaken). Default: "/" and the Channel's
	// name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/|(/[A-Za-z0-9_.:-]+)+)$')",message="write socketIO.namespace as / alone, or as /name or /name/name of letters, digits, '_', '.', ':' and '-', for example /orders"
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Recovery is Socket.IO's connection state recovery: clients get a private
	// session id (pid) when they connect and each event's offset as its last
	// argument; one that comes back by itself within history's bounds has its
	// id, its rooms and what it missed again, and its socket.recovered is true.
	// Handlers of events must expect the additional argument. Default: false.
	// +optional
	Recovery bool `json:"recovery,omitempty"`
}

// CloudEventsRoom is where a CloudEvent's room comes from.
//
// +kubebuilder:validation:Enum=Subject;None
type CloudEventsRoom string

const (
	// CloudEventsRoomSubject makes the subject the room.
	CloudEventsRoomSubject CloudEventsRoom = "Subject"
	// CloudEventsRoomNone leaves it out of account.
	CloudEventsRoomNone CloudEventsRoom = "None"
)

// CloudEventsSpec says whom CloudEvents are for.
type CloudEventsSpec struct {
	// Room of an event that names nobody by the extension attributes klaxonroom,
	// klaxonuser and klaxonsession. Subject: that of the name of its subject; an event
	// without one is for the whole Channel. None: all are for the whole Channel, whatever
	// their subjects. Default: Subject.
	// +optional
	Room CloudEventsRoom `json:"room,omitempty"`
}

// CompressionSpec says which WebSocket messages are compressed.
type CompressionSpec struct {
	// MinBytes is the size from which a message is compressed. From 64 to 1Mi.
	// Default: 1Ki.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && quantity(string(self)).isInteger() && quantity(string(self)).compareTo(quantity('64')) >= 0 && quantity(string(self)).compareTo(quantity('1Mi')) <= 0",message="compression.minBytes is a whole number of bytes from 64 to 1Mi, for example 1Ki; leave compression out to compress nothing"
	// +optional
	MinBytes *resource.Quantity `json:"minBytes,omitempty"`
}
