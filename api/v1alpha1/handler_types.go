// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HandlerSpec names a backend that is told what clients do, and may answer: an HTTP
// service that gets CloudEvents, or whoever reads a stream of them. Of several that name
// the same event, the first with a service or url is asked; every stream gets it.
//
// +kubebuilder:validation:XValidation:rule="[has(self.service), has(self.url), has(self.stream) && self.stream].filter(x, x).size() == 1",message="set exactly one of service, url and stream: true in each handler"
// +kubebuilder:validation:XValidation:rule="has(self.events) || has(self.rooms)",message="name the events or the rooms that each handler wants to know of"
// +kubebuilder:validation:XValidation:rule="!(has(self.stream) && self.stream) || !(has(self.timeout) || has(self.concurrency) || has(self.signingSecretRefs))",message="a handler with stream: true is not called: leave timeout, concurrency and signingSecretRefs out"
type HandlerSpec struct {
	// Events it wants to know of: connect (it then decides who may connect),
	// disconnect, and events that clients emit, by name, by the beginning of their
	// names (order.*), or * for all of them. The events join, leave, watch,
	// unwatch and auth, which push servers answer otherwise, must be named in full.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	Events []Pattern `json:"events,omitempty"`

	// Rooms of which it wants to know when somebody comes to them and when everybody
	// has left, over all pods: by name, by the beginning of their names (game:*), or
	// * for all of them.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	Rooms []Pattern `json:"rooms,omitempty"`

	// Service of the Channel's namespace.
	// +optional
	Service *HandlerService `json:"service,omitempty"`

	// URL of a backend elsewhere. Its origin must be among the Pusher's
	// allowedHandlerOrigins. Redirects are not followed.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && self.matches('^https?://[^/?#@]+(/[^#]*)?$')",message="write a handler's url as https://HOST/PATH, without a user or fragment"
	// +optional
	URL string `json:"url,omitempty"`

	// Stream lets backends read what clients do at
	// /v1/channels/CHANNEL/client-events of the events listener, instead of being
	// called. Who may publish may read.
	// +optional
	Stream bool `json:"stream,omitempty"`

	// Timeout of a call, with the wait for its turn and repetitions. From 100ms to
	// 30s. Default: 5s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|m|s)|[0-9]{1,6}ms){1,4}$') && duration(self) >= duration('100ms') && duration(self) <= duration('30s')",message="a handler's timeout is a duration from 100ms to 30s, for example 5s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Concurrency is how many calls each pod has under way. Ten times as many may
	// wait; clients are told that the backend is busy for what comes on top.
	// Default: 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	Concurrency *int32 `json:"concurrency,omitempty"`

	// SigningSecretRefs hold the keys that sign calls, as Standard Webhooks has it:
	// whsec_ and 24 to 64 bytes in base64, or the bytes themselves. With two, both
	// sign, while one replaces the other. Default: calls are not signed.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +listType=atomic
	// +optional
	SigningSecretRefs []SecretKeyRef `json:"signingSecretRefs,omitempty"`
}

// HandlerService is a Service of the Channel's namespace.
type HandlerService struct {
	// Name of the Service.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="a Service's name has lowercase letters, digits and '-'"
	Name string `json:"name"`

	// Port of the Service. Default: 80.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port *int32 `json:"port,omitempty"`

	// Path that is POSTed to. Default: /.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[^#]*$')",message="a handler's path begins with / and has no fragment"
	// +optional
	Path string `json:"path,omitempty"`
}
