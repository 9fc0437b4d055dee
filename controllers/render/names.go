// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// Ports of a push server's pod.
const (
	ClientsPort = 8080
	EventsPort  = 8081
	AdminPort   = 8082
)

// AdminTokenKey is the key of the admin credential in its Secret.
const AdminTokenKey = "token"

const (
	appName   = "klaxon-pusher"
	managedBy = "klaxon"

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

// Labels of every object of a Pusher.
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

// AllSelector finds the objects of every Pusher.
func AllSelector() labels.Set { return labels.Set{labelName: appName} }

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
