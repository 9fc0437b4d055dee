// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types of Channels and Pushers. All of them are good when True.
const (
	// ConditionAccepted says whether the object's spec can be carried out: it is
	// valid, what it refers to exists and may be used, and nothing else claims
	// its place. False needs somebody to change something.
	ConditionAccepted = "Accepted"

	// ConditionApplied says whether what the spec asks for is what runs. For a
	// Channel: every ready pod of its Pusher, and at least one, serves the
	// Channel's own current revision. For a Pusher: its objects are as rendered
	// and every ready pod serves its current settings.
	ConditionApplied = "Applied"

	// ConditionReady says whether clients can connect now. It stays True while
	// an earlier revision still serves.
	ConditionReady = "Ready"
	// ConditionBrokerReady says whether all nodes of the managed broker are there and
	// have all events, so that any one may be stopped. Whether they are as the Pusher
	// asks for is part of Applied.
	ConditionBrokerReady = "BrokerReady"
)

// Reasons of conditions that are True.
const (
	ReasonAccepted = "Accepted"
	ReasonApplied  = "Applied"
	ReasonReady    = "Ready"
)

// Reasons of Accepted=False.
const (
	// ReasonInvalid: the spec contradicts itself in a way that the schema could not see.
	ReasonInvalid = "Invalid"
	// ReasonPusherNotFound: spec.pusherRef names no Pusher of this namespace.
	ReasonPusherNotFound = "PusherNotFound"
	// ReasonPusherOwned: spec.pusherRef names a Pusher that belongs to another Channel.
	ReasonPusherOwned = "PusherOwned"
	// ReasonConflict: an object of the needed name exists and something else controls it.
	ReasonConflict = "Conflict"
	// ReasonBrokerRequired: more than one replica needs a broker between them.
	ReasonBrokerRequired = "BrokerRequired"
	// ReasonBrokerFixed: another broker was chosen when the Pusher was made, and has its events.
	ReasonBrokerFixed = "BrokerFixed"
	// ReasonSecretNotFound: a referenced Secret does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretNotAllowed: a referenced Secret lacks the label push.klaxon.dev/allow: "true".
	ReasonSecretNotAllowed = "SecretNotAllowed"
	// ReasonSecretInvalid: a referenced Secret lacks the key, or its value cannot be used.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonNamespaceTaken: an older Channel of the Pusher has the Socket.IO namespace.
	ReasonNamespaceTaken = "NamespaceTaken"
	// ReasonKeysUnavailable: an issuer's keys have not been fetched from its jwksURL yet.
	ReasonKeysUnavailable = "KeysUnavailable"
	// ReasonRuleInvalid: a rule of spec.clients.rules is not CEL that can be evaluated.
	ReasonRuleInvalid = "RuleInvalid"
	// ReasonHandlerNotAllowed: a handler's url is not of an origin that the Pusher allows.
	ReasonHandlerNotAllowed = "HandlerNotAllowed"
	// ReasonSettingsTooLarge: the Pusher's settings have no room left for this Channel.
	ReasonSettingsTooLarge = "SettingsTooLarge"
)

// Reasons of Applied and Ready that are not True.
const (
	// ReasonNotAccepted: nothing is applied until Accepted is True.
	ReasonNotAccepted = "NotAccepted"
	// ReasonPaused: spec.paused of the Pusher keeps the operator from changing anything.
	ReasonPaused = "Paused"
	// ReasonPending: the change is on its way to the pods.
	ReasonPending = "Pending"
	// ReasonApplyFailed: the API server refused an object; the message says which and why.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonSettingsRejected: a pod refused its settings and keeps serving the earlier ones.
	ReasonSettingsRejected = "SettingsRejected"
	// ReasonNoReadyPods: no pod of the Pusher is ready.
	ReasonNoReadyPods = "NoReadyPods"
	// ReasonNotWhole: a node of the managed broker is away, or has yet to catch up.
	ReasonNotWhole = "NotWhole"
	// ReasonStatusUnreachable: the operator could not ask the pods what they serve.
	ReasonStatusUnreachable = "StatusUnreachable"
)

// Labels and annotations.
const (
	// LabelMetrics, with the value "true" on a namespace, lets its pods reach the admin ports
	// of push servers, where metrics are.
	LabelMetrics = "push.klaxon.dev/metrics"
	// LabelAllow, with the value "true" on a Secret, lets Channels of the same
	// namespace refer to it.
	LabelAllow = "push.klaxon.dev/allow"
	// LabelPusher, on every object that is rendered for a Pusher, holds its name.
	LabelPusher = "push.klaxon.dev/pusher"
	// LabelAccepting, with the value "true" on a pod, makes the clients Service
	// send it new connections.
	LabelAccepting = "push.klaxon.dev/accepting"
	// AnnotationNudge, on a pod, makes the kubelet look at its volumes at once.
	// Its value is fresh for each attempt.
	AnnotationNudge = "push.klaxon.dev/nudge"
	// AnnotationBroker, on a pod, changes when the way to the broker does, so that the
	// pods are replaced.
	AnnotationBroker = "push.klaxon.dev/broker"
)
