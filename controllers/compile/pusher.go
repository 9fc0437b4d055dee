// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// pusherSettings is the part of the document that concerns every Channel.
func pusherSettings(in Input) (settings.Pusher, *Refusal) {
	spec := &in.Pusher.Spec
	p := settings.Pusher{
		Namespace: in.Pusher.Namespace,
		Name:      in.Pusher.Name,
		Heartbeat: settings.Heartbeat{
			Interval: settings.Duration(defaultHeartbeatInterval),
			Timeout:  settings.Duration(defaultHeartbeatTimeout),
		},
		Drain: settings.Drain{
			Period:    settings.Duration(defaultDrainPeriod),
			MaxPeriod: settings.Duration(DrainMaxPeriod(spec)),
		},
		Admin:           settings.Admin{TokenSHA256: in.AdminTokenSHA256},
		ServiceAccounts: in.Issuer,
		OpenPublishing:  in.OpenPublishing,
		Limits:          settings.PusherLimits{AcceptRate: defaultAcceptRate, MemoryPercent: defaultMemoryPercent},
	}
	if l := spec.Limits; l != nil {
		p.Limits.AcceptRate = number(l.AcceptRate, defaultAcceptRate)
		p.Limits.MemoryPercent = number(l.MemoryPercent, defaultMemoryPercent)
		p.Limits.ConnectionsPerAddress = number(l.ConnectionsPerAddress, 0)
	}
	for _, proxy := range spec.TrustedProxies {
		p.TrustedProxies = append(p.TrustedProxies, string(proxy))
	}
	if h := spec.Heartbeat; h != nil {
		p.Heartbeat.Interval = settings.Duration(duration(h.Interval, defaultHeartbeatInterval))
		p.Heartbeat.Timeout = settings.Duration(duration(h.Timeout, defaultHeartbeatTimeout))
	}
	if d := spec.Drain; d != nil {
		p.Drain.Period = settings.Duration(duration(d.Period, defaultDrainPeriod))
	}
	if m := spec.Metrics; m != nil {
		p.Admin.OpenMetrics = m.Access == v1alpha1.MetricsOpen
	}
	var refusal *Refusal
	switch b := spec.Broker; {
	case len(in.SessionKey) == 0:
	case in.Managed != nil:
		p.SessionKey, p.NATS = in.SessionKey, in.Managed
	case b != nil && b.NATS != nil:
		p.SessionKey = in.SessionKey
		p.NATS, refusal = natsSettings(b.NATS, secretReader{namespace: in.Pusher.Namespace, secrets: in.Secrets})
	}
	return p, refusal
}

// natsSettings compiles spec.broker.nats, or says why it cannot be used.
func natsSettings(spec *v1alpha1.NATSSpec, read secretReader) (*settings.NATS, *Refusal) {
	n := &settings.NATS{URL: spec.URL, Replicas: defaultBrokerReplicas, Memory: spec.Storage == v1alpha1.StorageMemory}
	if spec.Replicas != nil {
		n.Replicas = int(*spec.Replicas)
	}
	var user, password []byte
	for _, each := range []struct {
		secret *v1alpha1.SecretRef
		key    string
		to     *[]byte
	}{
		{spec.CredentialsSecretRef, corev1.BasicAuthUsernameKey, &user},
		{spec.CredentialsSecretRef, corev1.BasicAuthPasswordKey, &password},
		{spec.CertificateSecretRef, corev1.TLSCertKey, &n.Certificate},
		{spec.CertificateSecretRef, corev1.TLSPrivateKeyKey, &n.Key},
	} {
		if each.secret == nil {
			continue
		}
		var refusal *Refusal
		if *each.to, refusal = read.small(v1alpha1.SecretKeyRef{Name: each.secret.Name, Key: each.key}); refusal != nil {
			return nil, refusal
		}
	}
	n.User, n.Password = string(user), string(password)
	if spec.CASecretRef != nil {
		var refusal *Refusal
		if n.CA, refusal = read.small(*spec.CASecretRef); refusal != nil {
			return nil, refusal
		}
	}
	return n, nil
}

// DrainMaxPeriod is spec.drain.maxPeriod or its default.
func DrainMaxPeriod(spec *v1alpha1.PusherSpec) time.Duration {
	if spec.Drain == nil {
		return DefaultDrainMaxPeriod
	}
	return duration(spec.Drain.MaxPeriod, DefaultDrainMaxPeriod)
}

func duration(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}
