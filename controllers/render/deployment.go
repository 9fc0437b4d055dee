// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// graceBeyondDrain is what a pod has to end in once its drain is over.
const graceBeyondDrain = 15 * time.Second

// settingsDir is where a pod finds its settings.
const settingsDir = "/etc/klaxon/settings"

// deployment recreates rather than rolls, if there is no broker: an event that
// reaches one pod does not reach the clients of another. With a broker it adds a pod
// before it takes one away.
func deployment(in Input) Object {
	p, strategy := in.Pusher, appsv1ac.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)
	if in.Broker != "" {
		strategy = appsv1ac.DeploymentStrategy().WithType(appsv1.RollingUpdateDeploymentStrategyType).
			WithRollingUpdate(appsv1ac.RollingUpdateDeployment().WithMaxSurge(intstr.FromInt32(1)).WithMaxUnavailable(intstr.FromInt32(0)))
	}
	return appsv1ac.Deployment(DeploymentName(p.Name), p.Namespace).
		WithLabels(Labels(p.Name)).
		WithOwnerReferences(owner(p)).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(Replicas(p)).
			WithRevisionHistoryLimit(2).
			WithStrategy(strategy).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(Selector(p.Name))).
			WithTemplate(podTemplate(in)))
}

// Replicas is the number of pods that a Pusher asks for.
func Replicas(p *v1alpha1.Pusher) int32 {
	if p.Spec.Replicas == nil {
		return 1
	}
	return *p.Spec.Replicas
}

func podTemplate(in Input) *corev1ac.PodTemplateSpecApplyConfiguration {
	p := in.Pusher
	shape := p.Spec.PodTemplate
	if shape == nil {
		shape = &v1alpha1.PodTemplateSpec{}
	}
	labels := plain(shape.Labels)
	maps.Copy(labels, Labels(p.Name))
	labels[v1alpha1.LabelAccepting] = "true"
	annotations := plain(shape.Annotations)
	if in.Broker != "" {
		annotations[v1alpha1.AnnotationBroker] = in.Broker // a pod learns of another broker only when it starts
	}
	return corev1ac.PodTemplateSpec().
		WithLabels(labels).
		WithAnnotations(annotations).
		WithSpec(podSpec(in, shape))
}

func podSpec(in Input, shape *v1alpha1.PodTemplateSpec) *corev1ac.PodSpecApplyConfiguration {
	p := in.Pusher
	spec := corev1ac.PodSpec().
		WithServiceAccountName(DeploymentName(p.Name)).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(graceSeconds(p)).
		WithSecurityContext(podSecurity()).
		WithContainers(container(in, shape)).
		WithVolumes(settingsVolume(p.Name))
	if len(shape.NodeSelector) > 0 {
		spec.WithNodeSelector(plain(shape.NodeSelector))
	}
	spec.Tolerations = convertAll[corev1ac.TolerationApplyConfiguration](shape.Tolerations)
	spec.TopologySpreadConstraints = convertAll[corev1ac.TopologySpreadConstraintApplyConfiguration](shape.TopologySpreadConstraints)
	spec.ImagePullSecrets = convertAll[corev1ac.LocalObjectReferenceApplyConfiguration](shape.ImagePullSecrets)
	if shape.Affinity != nil {
		spec.WithAffinity(convert[corev1ac.AffinityApplyConfiguration](shape.Affinity))
	}
	if shape.PriorityClassName != "" {
		spec.WithPriorityClassName(shape.PriorityClassName)
	}
	return spec
}

// graceSeconds is how long a pod may take to end: a fixed function of
// drain.maxPeriod, because it cannot be changed in a running pod.
func graceSeconds(p *v1alpha1.Pusher) int64 {
	d := compile.DrainMaxPeriod(&p.Spec) + graceBeyondDrain
	return int64((d + time.Second - 1) / time.Second)
}

// settingsVolume joins all Secrets that settings can ever need, so that their
// growth never changes the pod template.
func settingsVolume(pusher string) *corev1ac.VolumeApplyConfiguration {
	joined := corev1ac.ProjectedVolumeSource()
	for i := range settings.MaxParts {
		joined.WithSources(corev1ac.VolumeProjection().WithSecret(
			corev1ac.SecretProjection().WithName(SettingsSecret(pusher, i)).WithOptional(true)))
	}
	return corev1ac.Volume().WithName("settings").WithProjected(joined)
}
