// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// Network says who a Pusher's pods have to do with, besides clients, who may be anywhere.
type Network struct {
	// Publishers are the namespaces that publishers are in, sorted. Nil: they may be anywhere.
	Publishers []string
	// Outside: pods call what is not in their namespace: handlers by url, a broker
	// of somebody else's.
	Outside bool
	// Operator is the namespace of the operator. Empty: it is not known, and whoever has the
	// admin credential may be anywhere.
	Operator string
}

type (
	rule   = networkingv1ac.NetworkPolicyIngressRuleApplyConfiguration
	egress = networkingv1ac.NetworkPolicyEgressRuleApplyConfiguration
	peer   = networkingv1ac.NetworkPolicyPeerApplyConfiguration
)

// nowhere is a label that no pod has: where there is to be no policy, it holds nobody.
const nowhere = "push.klaxon.dev/nowhere"

// networkPolicies hold the Pusher's pods, and those of its broker, to whom they have to
// do with.
func networkPolicies(in Input) []Object {
	p := in.Pusher
	out := []Object{pusherPolicy(in)}
	if in.Managed == nil {
		return out
	}
	name := BrokerName(p.Name)
	spec := policySpec(p, BrokerSelector(p.Name)).
		WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
		WithIngress(
			from([]int32{BrokerClientsPort}, pods(Selector(p.Name))),
			from([]int32{BrokerRoutesPort}, pods(BrokerSelector(p.Name))),
			fromOperator(in, BrokerHealthPort)).
		WithEgress(
			toDNS(),
			networkingv1ac.NetworkPolicyEgressRule().WithTo(pods(BrokerSelector(p.Name))))
	return append(out, policy(p, name, brokerLabels(p.Name), spec))
}

func pusherPolicy(in Input) Object {
	p, n := in.Pusher, in.Network
	events := from([]int32{EventsPort})
	for _, ns := range n.Publishers {
		events.WithFrom(namespace(ns))
	}
	admin := fromOperator(in, AdminPort)
	if m := p.Spec.Metrics; m != nil && m.Access == v1alpha1.MetricsOpen {
		admin.From = nil
	}
	spec := policySpec(p, Selector(p.Name)).
		WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
		WithIngress(from([]int32{ClientsPort}), events, admin)
	if n.Outside {
		spec.WithEgress(networkingv1ac.NetworkPolicyEgressRule())
	} else {
		// Handlers, the managed broker and the other replicas are in the namespace.
		spec.WithEgress(toDNS(), networkingv1ac.NetworkPolicyEgressRule().WithTo(pods(nil)))
	}
	return policy(p, DeploymentName(p.Name), Labels(p.Name), spec)
}

func policy(p *v1alpha1.Pusher, name string, labels map[string]string, spec *networkingv1ac.NetworkPolicySpecApplyConfiguration) Object {
	return networkingv1ac.NetworkPolicy(name, p.Namespace).
		WithLabels(labels).
		WithOwnerReferences(owner(p)).
		WithSpec(spec)
}

// policySpec selects the pods, or none where there is to be no policy.
func policySpec(p *v1alpha1.Pusher, selector map[string]string) *networkingv1ac.NetworkPolicySpecApplyConfiguration {
	if p.Spec.NetworkPolicy == v1alpha1.NetworkPolicyNone {
		selector = map[string]string{nowhere: "true"}
	}
	return networkingv1ac.NetworkPolicySpec().WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(selector))
}

// fromOperator lets in the operator, and whoever scrapes metrics.
func fromOperator(in Input, port int32) *rule {
	if in.Network.Operator == "" {
		return from([]int32{port})
	}
	return from([]int32{port}, namespace(in.Network.Operator), networkingv1ac.NetworkPolicyPeer().
		WithNamespaceSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{v1alpha1.LabelMetrics: "true"})))
}

// from lets peers in at ports; without peers, everybody.
func from(ports []int32, peers ...*peer) *rule {
	r := networkingv1ac.NetworkPolicyIngressRule().WithFrom(peers...)
	for _, port := range ports {
		r.WithPorts(networkingv1ac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(port)))
	}
	return r
}

// toDNS lets pods ask for names, wherever the cluster answers.
func toDNS() *egress {
	r := networkingv1ac.NetworkPolicyEgressRule()
	for _, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
		r.WithPorts(networkingv1ac.NetworkPolicyPort().WithProtocol(protocol).WithPort(intstr.FromInt32(53)))
	}
	return r
}

// pods are those of the namespace that have all labels.
func pods(labels map[string]string) *peer {
	return networkingv1ac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(labels))
}

func namespace(name string) *peer {
	return networkingv1ac.NetworkPolicyPeer().
		WithNamespaceSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{corev1.LabelMetadataName: name}))
}
