// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// userID runs the push server; the image has no names for users.
const userID = 65532

const containerName = "pusher"

// memoryPercent of its container's memory limit is what the Go runtime aims at.
const memoryPercent = 90

func container(in Input, shape *v1alpha1.PodTemplateSpec) *corev1ac.ContainerApplyConfiguration {
	c := corev1ac.Container().
		WithName(containerName).
		WithImage(in.Image).
		WithCommand("/pusher").
		WithArgs("--settings", settingsDir).
		WithPorts(
			containerPort(portClients, ClientsPort),
			containerPort(portEvents, EventsPort),
			containerPort(portAdmin, AdminPort)).
		WithResources(resources(shape.Resources)).
		WithSecurityContext(containerSecurity()).
		WithVolumeMounts(corev1ac.VolumeMount().WithName("settings").WithMountPath(settingsDir).WithReadOnly(true)).
		WithLivenessProbe(probe("/healthz").WithInitialDelaySeconds(5).WithPeriodSeconds(10).WithTimeoutSeconds(5).WithFailureThreshold(3)).
		WithReadinessProbe(probe("/readyz").WithPeriodSeconds(2).WithTimeoutSeconds(2).WithFailureThreshold(3))
	if in.Broker != "" {
		// It could find out by itself, but only once the broker has an address.
		c.WithArgs("--peer-addr", "$(POD_IP)").
			WithEnv(corev1ac.EnvVar().WithName("POD_IP").WithValueFrom(corev1ac.EnvVarSource().WithFieldRef(corev1ac.ObjectFieldSelector().WithFieldPath("status.podIP"))))
	}
	return withMemoryLimit(c, shape.Resources)
}

func containerPort(name string, port int32) *corev1ac.ContainerPortApplyConfiguration {
	return corev1ac.ContainerPort().WithName(name).WithContainerPort(port).WithProtocol(corev1.ProtocolTCP)
}

func probe(path string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(portAdmin)))
}

func resources(r *corev1.ResourceRequirements) *corev1ac.ResourceRequirementsApplyConfiguration {
	if r != nil {
		return convert[corev1ac.ResourceRequirementsApplyConfiguration](r)
	}
	return corev1ac.ResourceRequirements().WithRequests(corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("50m"),
		corev1.ResourceMemory: resource.MustParse("64Mi"),
	})
}

// withMemoryLimit tells the Go runtime to collect harder before the container's
// memory limit is reached. The rest of it is for what the runtime does not
// count, such as the kernel's share of the container. The CPU limit needs no
// telling: the runtime reads it from the cgroup and follows its changes.
func withMemoryLimit(c *corev1ac.ContainerApplyConfiguration, r *corev1.ResourceRequirements) *corev1ac.ContainerApplyConfiguration {
	if r == nil || r.Limits.Memory().IsZero() {
		return c
	}
	// In this order nothing overflows.
	bytes := r.Limits.Memory().Value() / 100 * memoryPercent
	return c.WithEnv(corev1ac.EnvVar().WithName("GOMEMLIMIT").WithValue(strconv.FormatInt(bytes, 10)))
}

func podSecurity() *corev1ac.PodSecurityContextApplyConfiguration {
	return corev1ac.PodSecurityContext().
		WithRunAsNonRoot(true).
		WithRunAsUser(userID).
		WithRunAsGroup(userID).
		WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))
}

func containerSecurity() *corev1ac.SecurityContextApplyConfiguration {
	return corev1ac.SecurityContext().
		WithAllowPrivilegeEscalation(false).
		WithReadOnlyRootFilesystem(true).
		WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))
}
