// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// Ports of a push server's pod.
const (
	ClientsPort = 8080
	EventsPort  = 8081
	AdminPort   = 8082
)

// Ports of a managed broker's pod.
const (
	BrokerClientsPort = 4222
	BrokerRoutesPort  = 6222
	BrokerHealthPort  = 8222
)

// SeedKey is the key of the seed in its Secret.
const SeedKey = "seed"

// AdminTokenKey is the key of the admin credential in its Secret.
const AdminTokenKey = "token"

const (
	appName    = "klaxon-pusher"
	brokerName = "klaxon-broker"
	managedBy  = "klaxon"

	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelManagedBy = "app.kubernetes.io/managed-by"
)

// DeploymentName is also the name of the ServiceAccount.
func DeploymentName(pusher string) string { return pusher + "-pusher" }

// ClientsService is the Service that clients connect to.
func ClientsService(pusher string) string { return pusher + "-clients" }

// EventsService is the Service that publishers send events to.
func EventsService(pusher string) string { return pusher + "-events" }

// PodsService is the headless Service of all pods.
func PodsService(pusher string) string { return pusher + "-pods" }

// SettingsSecret is the Secret that holds part i of the settings.
func SettingsSecret(pusher string, i int) string { return fmt.Sprintf("%s-settings-%d", pusher, i) }

// AdminSecret is the Secret that holds the admin credential.
func AdminSecret(pusher string) string { return pusher + "-admin" }

// KeysSecret is the Secret that holds the seed of all keys, which only the operator
// reads.
func KeysSecret(pusher string) string { return pusher + "-keys" }

// BrokerName is the name of all objects of a managed broker.
func BrokerName(pusher string) string { return pusher + "-broker" }

// BrokerNode is the name of a node of a managed broker.
func BrokerNode(pusher string, i int32) string { return fmt.Sprintf("%s-broker-%d", pusher, i) }

// BrokerHost is where a node of a managed broker is found.
func BrokerHost(namespace, pusher string, i int32) string {
	return fmt.Sprintf("%s.%s.%s.svc", BrokerNode(pusher, i), BrokerName(pusher), namespace)
}

// BrokerURL is where pushers find the nodes of a managed broker.
func BrokerURL(namespace, pusher string, nodes int32) string {
	urls := make([]string, 0, nodes)
	for i := range nodes {
		urls = append(urls, fmt.Sprintf("tls://%s:%d", BrokerHost(namespace, pusher, i), BrokerClientsPort))
	}
	return strings.Join(urls, ",")
}

// Labels of every object of a Pusher, but those of its broker.
func Labels(pusher string) map[string]string {
	return map[string]string{
		labelName:            appName,
		labelInstance:        pusher,
		labelManagedBy:       managedBy,
		v1alpha1.LabelPusher: pusher,
	}
}

// Selector finds the pods of a Pusher.
func Selector(pusher string) labels.Set {
	return labels.Set{labelName: appName, v1alpha1.LabelPusher: pusher}
}

// BrokerSelector finds the pods of a Pusher's managed broker.
func BrokerSelector(pusher string) labels.Set {
	return labels.Set{labelName: brokerName, v1alpha1.LabelPusher: pusher}
}

// AllSelector finds the objects of every Pusher.
func AllSelector() labels.Set { return labels.Set{labelManagedBy: managedBy} }

// WebSocketURL is where plain WebSocket clients of a Channel connect.
func WebSocketURL(namespace, pusher, channel string) string {
	return fmt.Sprintf("ws://%s.%s.svc/ws/%s", ClientsService(pusher), namespace, channel)
}

// SocketIOURL is what Socket.IO clients of a Channel pass to io(): its path is
// the Channel's Socket.IO namespace.
func SocketIOURL(namespace, pusher, socketIONamespace string) string {
	return fmt.Sprintf("http://%s.%s.svc%s", ClientsService(pusher), namespace, socketIONamespace)
}

// EventStreamURL is where clients of Server-Sent Events connect.
func EventStreamURL(namespace, pusher, channel string) string {
	return fmt.Sprintf("http://%s.%s.svc/sse/%s", ClientsService(pusher), namespace, channel)
}

// PublishURL is where events for a Channel are sent.
func PublishURL(namespace, pusher, channel string) string {
	return fmt.Sprintf("http://%s.%s.svc/v1/channels/%s/events", EventsService(pusher), namespace, channel)
}
