// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// Names of the ports, in pods and Services.
const (
	portClients = "clients"
	portEvents  = "events"
	portAdmin   = "admin"
)

func clientsService(p *v1alpha1.Pusher) Object {
	selector := maps.Clone(Selector(p.Name))
	selector[v1alpha1.LabelAccepting] = "true"
	return service(p, ClientsService(p.Name), Labels(p.Name), corev1ac.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).
		WithSelector(selector).
		WithPorts(servicePort(portClients, 80)))
}

func eventsService(p *v1alpha1.Pusher) Object {
	return service(p, EventsService(p.Name), Labels(p.Name), corev1ac.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).
		WithSelector(Selector(p.Name)).
		WithPorts(servicePort(portEvents, 80)))
}

// podsService gives every pod a name, ready or not.
func podsService(p *v1alpha1.Pusher) Object {
	return service(p, PodsService(p.Name), Labels(p.Name), corev1ac.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).
		WithClusterIP(corev1.ClusterIPNone).
		WithPublishNotReadyAddresses(true).
		WithSelector(Selector(p.Name)).
		WithPorts(
			servicePort(portClients, ClientsPort),
			servicePort(portEvents, EventsPort),
			servicePort(portAdmin, AdminPort)))
}

func service(p *v1alpha1.Pusher, name string, labels map[string]string, spec *corev1ac.ServiceSpecApplyConfiguration) Object {
	return corev1ac.Service(name, p.Namespace).
		WithLabels(labels).
		WithOwnerReferences(owner(p)).
		WithSpec(spec)
}

// servicePort leads to the pods' port of the same name.
func servicePort(name string, port int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().
		WithName(name).
		WithProtocol(corev1.ProtocolTCP).
		WithPort(port).
		WithTargetPort(intstr.FromString(name))
}
