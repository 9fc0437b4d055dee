// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"crypto/x509"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/cmd/broker/status"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/controllers/keys"
	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// managedBroker is a broker that the operator runs, and how pushers get there.
type managedBroker struct {
	spec  *v1alpha1.ManagedBrokerSpec
	files map[string][]byte // its certificates and credentials
	way   *settings.NATS
}

// Names to log in with.
const (
	brokerClient = "pusher"
	brokerNode   = "node"
)

// chooseBroker says what carries a Pusher's events. It was chosen when the Pusher was
// made: another broker would not have its events.
func chooseBroker(in *gathered) (kind string, m *managedBroker, refusal *compile.Refusal) {
	p := in.pusher
	chosen := p.Status.Broker
	if chosen == "" && in.brokerSet != nil {
		chosen = v1alpha1.BrokerManaged // its status was lost
	}
	asked, spec := "", &v1alpha1.ManagedBrokerSpec{}
	switch b := p.Spec.Broker; {
	case b != nil && b.NATS != nil:
		asked = v1alpha1.BrokerNATS
	case b != nil && b.Managed != nil:
		asked, spec = v1alpha1.BrokerManaged, b.Managed
	case chosen != "":
		asked = chosen
	case render.Replicas(p) > 1:
		asked = v1alpha1.BrokerManaged
	default:
		asked = v1alpha1.BrokerMemory
	}
	switch n := render.Replicas(p); {
	case asked == v1alpha1.BrokerMemory && n > 1:
		return asked, nil, &compile.Refusal{Reason: v1alpha1.ReasonBrokerRequired, Message: fmt.Sprintf(
			"spec.replicas is %d: more than one replica needs a broker between them; set spec.broker.managed or spec.broker.nats, or replicas to 1", n)}
	case asked == v1alpha1.BrokerNATS && (p.Spec.Broker == nil || p.Spec.Broker.NATS == nil):
		return asked, nil, fixed("The events are in the NATS of spec.broker.nats, which is gone from the spec: put it back, or make another Pusher")
	case chosen == v1alpha1.BrokerManaged && asked != chosen:
		return asked, nil, fixed("The events are in the broker that the operator runs: set spec.broker.managed, or make another Pusher")
	case chosen == v1alpha1.BrokerNATS && asked != chosen:
		return asked, nil, fixed("The events are in the NATS that spec.broker.nats has named: put it back, or make another Pusher")
	case asked != v1alpha1.BrokerManaged:
		return asked, nil, nil
	}
	return asked, makeBroker(in, spec), fits(in.brokerSet, spec)
}

func fixed(message string) *compile.Refusal {
	return &compile.Refusal{Reason: v1alpha1.ReasonBrokerFixed, Message: message}
}

// fits says what of a broker that runs is not as it is asked for and cannot be made so.
func fits(set *appsv1.StatefulSet, spec *v1alpha1.ManagedBrokerSpec) *compile.Refusal {
	if set == nil {
		return nil
	}
	if n := render.BrokerNodes(spec); set.Spec.Replicas != nil && *set.Spec.Replicas != n {
		return fixed(fmt.Sprintf("The broker was made with %d nodes, not %d: set spec.broker.managed.replicas, or make another Pusher", *set.Spec.Replicas, n))
	}
	claims := set.Spec.VolumeClaimTemplates
	if (len(claims) == 0) != render.BrokerInMemory(spec) {
		return fixed("The broker was made with another storage.type: set spec.broker.managed.storage, or make another Pusher")
	}
	if len(claims) == 0 {
		return nil
	}
	if made, asked := claims[0].Spec.Resources.Requests.Storage(), render.BrokerSize(spec); made.Cmp(asked) != 0 {
		return fixed(fmt.Sprintf("The broker was made with volumes of %s, not %s: set spec.broker.managed.storage.size, or make another Pusher", made, &asked))
	}
	if made, asked := className(claims[0].Spec.StorageClassName), className(render.BrokerStorageClass(spec)); made != asked {
		return fixed(fmt.Sprintf("The broker was made with volumes of %s, not of %s: set spec.broker.managed.storage.storageClassName, or make another Pusher", made, asked))
	}
	return nil
}

func className(name *string) string {
	if name == nil {
		return "the default class"
	}
	return "class " + *name
}

// makeBroker makes all that a broker and its clients need to know.
func makeBroker(in *gathered, spec *v1alpha1.ManagedBrokerSpec) *managedBroker {
	p, nodes := in.pusher, render.BrokerNodes(spec)
	var hosts []string
	for i := range nodes {
		hosts = append(hosts, render.BrokerHost(p.Namespace, p.Name, i))
	}
	authority := keys.NewAuthority(in.seed)
	server := authority.Issue("broker node", hosts, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, in.now)
	client := authority.Issue("broker client", nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, in.now)
	password := keys.Password(in.seed, "broker client")
	return &managedBroker{
		spec: spec,
		files: map[string][]byte{
			status.CertFile:    server.Certificate,
			status.KeyFile:     server.Key,
			status.CAFile:      authority.Certificate(),
			status.ClientsFile: []byte(brokerClient + ":" + password + "\n"),
			status.RoutesFile:  []byte(brokerNode + ":" + keys.Password(in.seed, "broker node") + "\n"),
			status.AdminFile:   []byte(tokenSHA256(in.adminToken) + "\n"),
		},
		way: &settings.NATS{
			URL: render.BrokerURL(p.Namespace, p.Name, nodes), Replicas: int(nodes), Memory: render.BrokerInMemory(spec),
			User: brokerClient, Password: password,
			CA: authority.Certificate(), Certificate: client.Certificate, Key: client.Key,
		},
	}
}
