// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ChannelStatus is what the operator has found out about a Channel.
type ChannelStatus struct {
	// Conditions: Accepted, Applied and Ready.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Pusher is the name of the Pusher that serves this Channel.
	// +optional
	Pusher string `json:"pusher,omitempty"`

	// URLs for clients, by transport, as reachable inside the cluster.
	// +optional
	URLs *ChannelURLs `json:"urls,omitempty"`

	// Address is where publishers send events.
	// +optional
	Address *ChannelAddress `json:"address,omitempty"`

	// Connections is the number of clients connected now, over all ready pods.
	// +kubebuilder:default=0
	// +optional
	Connections int64 `json:"connections"`

	// Revision identifies the compiled settings of this Channel.
	// +optional
	Revision string `json:"revision,omitempty"`
}

// ChannelURLs are the URLs of a Channel for clients.
type ChannelURLs struct {
	// WebSocket is the URL for plain WebSocket clients.
	WebSocket string `json:"webSocket"`

	// SocketIO is what Socket.IO clients pass to io(): its path is the
	// Channel's namespace, and they connect to /socket.io/ of the same host.
	// +optional
	SocketIO string `json:"socketIO,omitempty"`

	// EventStream is the URL for clients of Server-Sent Events, such as a
	// browser's EventSource.
	// +optional
	EventStream string `json:"eventStream,omitempty"`
}

// ChannelAddress is where and for whom publishers' tokens must be issued.
type ChannelAddress struct {
	// URL to POST events to.
	URL string `json:"url"`

	// Audience for ServiceAccount tokens of any namespace. Publishers of the
	// Channel's own namespace may use push.klaxon.dev as well.
	Audience string `json:"audience"`
}
