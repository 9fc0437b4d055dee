// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// ManagedBroker is a broker to run.
type ManagedBroker struct {
	Spec *v1alpha1.ManagedBrokerSpec
	// Files are its certificates and credentials, by name.
	Files map[string][]byte
}

const (
	portNATS   = "nats"
	portRoutes = "routes"
	portHealth = "health"

	brokerFiles = "/etc/klaxon/broker" // certificates and credentials
	brokerStore = "/data"
	brokerGrace = 30 // seconds: a node ends after 20 s in any case

	defaultBrokerNodes  = 3
	defaultVolumeSize   = "10Gi"
	defaultBrokerMemory = "256Mi"
	brokerOwnMemory     = "128Mi" // without the events that are kept in memory
	// storedPercent of a volume are for events, the rest for logs of the cluster.
	storedPercent = 90
	// startTries at intervals of startEvery seconds are how long a store may take to
	// be read: half an hour.
	startTries, startEvery = 900, 2
)

// BrokerNodes is the number of nodes of a managed broker.
func BrokerNodes(spec *v1alpha1.ManagedBrokerSpec) int32 {
	if spec.Replicas == nil {
		return defaultBrokerNodes
	}
	return *spec.Replicas
}

// BrokerInMemory reports whether a managed broker has no volumes.
func BrokerInMemory(spec *v1alpha1.ManagedBrokerSpec) bool {
	return spec.Storage != nil && spec.Storage.Type == v1alpha1.ManagedStorageMemory
}

// BrokerSize is how large a node's volume is, or what it keeps in memory.
func BrokerSize(spec *v1alpha1.ManagedBrokerSpec) resource.Quantity {
	switch {
	case spec.Storage != nil && spec.Storage.Size != nil:
		return *spec.Storage.Size
	case BrokerInMemory(spec):
		return resource.MustParse(defaultBrokerMemory)
	}
	return resource.MustParse(defaultVolumeSize)
}

// BrokerStorageClass is the class of a managed broker's volumes; nil: the cluster's default.
func BrokerStorageClass(spec *v1alpha1.ManagedBrokerSpec) *string {
	if spec.Storage == nil {
		return nil
	}
	return spec.Storage.StorageClassName
}

func brokerLabels(pusher string) map[string]string {
	labels := Labels(pusher)
	labels[labelName] = brokerName
	return labels
}

// brokerObjects are those of a managed broker. Nodes must find each other before any
// is ready, and start at the same time, because all are needed to begin. Which is
// replaced when is decided by who asks them first, not by the StatefulSet.
func brokerObjects(in Input) []Object {
	p, labels := in.Pusher, brokerLabels(in.Pusher.Name)
	name := BrokerName(p.Name)
	return []Object{
		serviceAccount(p, name, labels),
		corev1ac.Secret(name, p.Namespace).
			WithLabels(labels).
			WithOwnerReferences(owner(p)).
			WithType(corev1.SecretTypeOpaque).
			WithData(in.Managed.Files),
		service(p, name, labels, corev1ac.ServiceSpec().
			WithType(corev1.ServiceTypeClusterIP).
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true).
			WithSelector(BrokerSelector(p.Name)).
			WithPorts(
				servicePort(portNATS, BrokerClientsPort),
				servicePort(portRoutes, BrokerRoutesPort),
				servicePort(portHealth, BrokerHealthPort))),
		// A node that is not ready may be one that the others cannot do without.
		disruptionBudget(p, name, labels, budget(BrokerSelector(p.Name), policyv1.IfHealthyBudget)),
		statefulSet(in),
	}
}

// budget lets one pod at a time be evicted.
func budget(selector map[string]string, unready policyv1.UnhealthyPodEvictionPolicyType) *policyv1ac.PodDisruptionBudgetSpecApplyConfiguration {
	return policyv1ac.PodDisruptionBudgetSpec().
		WithMaxUnavailable(intstr.FromInt32(1)).
		WithUnhealthyPodEvictionPolicy(unready).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector))
}

func disruptionBudget(p *v1alpha1.Pusher, name string, labels map[string]string, spec *policyv1ac.PodDisruptionBudgetSpecApplyConfiguration) Object {
	return policyv1ac.PodDisruptionBudget(name, p.Namespace).
		WithLabels(labels).
		WithOwnerReferences(owner(p)).
		WithSpec(spec)
}

func statefulSet(in Input) Object {
	p, spec := in.Pusher, in.Managed.Spec
	labels := brokerLabels(p.Name)
	set := appsv1ac.StatefulSetSpec().
		WithReplicas(BrokerNodes(spec)).
		WithServiceName(BrokerName(p.Name)).
		WithPodManagementPolicy(appsv1.ParallelPodManagement).
		WithUpdateStrategy(appsv1ac.StatefulSetUpdateStrategy().WithType(appsv1.OnDeleteStatefulSetStrategyType)).
		WithRevisionHistoryLimit(2).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(BrokerSelector(p.Name))).
		WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).WithSpec(brokerPod(in)))
	if !BrokerInMemory(spec) {
		claim := corev1ac.PersistentVolumeClaimSpec().
			WithAccessModes(corev1.ReadWriteOnce).
			WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: BrokerSize(spec)}))
		claim.StorageClassName = BrokerStorageClass(spec)
		template := corev1ac.PersistentVolumeClaim("data", p.Namespace).WithLabels(labels).WithSpec(claim)
		template.Kind, template.APIVersion, template.Namespace = nil, nil, nil // as the API server keeps it
		set.WithVolumeClaimTemplates(template).
			WithPersistentVolumeClaimRetentionPolicy(appsv1ac.StatefulSetPersistentVolumeClaimRetentionPolicy().
				WithWhenDeleted(appsv1.DeletePersistentVolumeClaimRetentionPolicyType).
				WithWhenScaled(appsv1.RetainPersistentVolumeClaimRetentionPolicyType))
	}
	return appsv1ac.StatefulSet(BrokerName(p.Name), p.Namespace).
		WithLabels(labels).
		WithOwnerReferences(owner(p)).
		WithSpec(set)
}

func brokerPod(in Input) *corev1ac.PodSpecApplyConfiguration {
	p, spec := in.Pusher, in.Managed.Spec
	pod := corev1ac.PodSpec().
		WithServiceAccountName(BrokerName(p.Name)).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(brokerGrace).
		WithSecurityContext(podSecurity().WithFSGroup(userID).WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch)).
		WithContainers(brokerContainer(in)).
		WithVolumes(
			corev1ac.Volume().WithName("files").WithSecret(corev1ac.SecretVolumeSource().WithSecretName(BrokerName(p.Name))),
			corev1ac.Volume().WithName("tmp").WithEmptyDir(corev1ac.EmptyDirVolumeSource())).
		WithAffinity(corev1ac.Affinity().WithPodAntiAffinity(corev1ac.PodAntiAffinity().
			WithPreferredDuringSchedulingIgnoredDuringExecution(apart(p.Name, corev1.LabelHostname, 100), apart(p.Name, corev1.LabelTopologyZone, 50))))
	if len(spec.NodeSelector) > 0 {
		pod.WithNodeSelector(plain(spec.NodeSelector))
	}
	pod.Tolerations = convertAll[corev1ac.TolerationApplyConfiguration](spec.Tolerations)
	if spec.PriorityClassName != "" {
		pod.WithPriorityClassName(spec.PriorityClassName)
	}
	if t := p.Spec.PodTemplate; t != nil {
		pod.ImagePullSecrets = convertAll[corev1ac.LocalObjectReferenceApplyConfiguration](t.ImagePullSecrets)
	}
	return pod
}

// apart asks for nodes of the broker to be apart, where that can be.
func apart(pusher, topology string, weight int32) *corev1ac.WeightedPodAffinityTermApplyConfiguration {
	return corev1ac.WeightedPodAffinityTerm().
		WithWeight(weight).
		WithPodAffinityTerm(corev1ac.PodAffinityTerm().
			WithTopologyKey(topology).
			WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(BrokerSelector(pusher))))
}

func brokerContainer(in Input) *corev1ac.ContainerApplyConfiguration {
	spec := in.Managed.Spec
	health := func(path string) *corev1ac.ProbeApplyConfiguration {
		return corev1ac.Probe().WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(portHealth)))
	}
	c := corev1ac.Container().
		WithName("broker").
		WithImage(in.Image).
		WithCommand("/broker").
		WithArgs(brokerArgs(in.Pusher, spec)...).
		WithEnv(
			corev1ac.EnvVar().WithName("NODE").WithValueFrom(corev1ac.EnvVarSource().WithFieldRef(corev1ac.ObjectFieldSelector().WithFieldPath("metadata.name"))),
			corev1ac.EnvVar().WithName("TMPDIR").WithValue("/tmp")).
		WithPorts(
			containerPort(portNATS, BrokerClientsPort),
			containerPort(portRoutes, BrokerRoutesPort),
			containerPort(portHealth, BrokerHealthPort)).
		WithResources(brokerResources(spec)).
		WithSecurityContext(containerSecurity()).
		WithVolumeMounts(
			corev1ac.VolumeMount().WithName("files").WithMountPath(brokerFiles).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("tmp").WithMountPath("/tmp")).
		WithStartupProbe(health("/startupz").WithPeriodSeconds(startEvery).WithTimeoutSeconds(2).WithFailureThreshold(startTries)).
		WithLivenessProbe(health("/healthz").WithPeriodSeconds(10).WithTimeoutSeconds(5).WithFailureThreshold(3)).
		WithReadinessProbe(health("/readyz").WithPeriodSeconds(2).WithTimeoutSeconds(2).WithFailureThreshold(3))
	if !BrokerInMemory(spec) {
		c.WithVolumeMounts(corev1ac.VolumeMount().WithName("data").WithMountPath(brokerStore))
	}
	return withMemoryLimit(c, spec.Resources)
}

func brokerArgs(p *v1alpha1.Pusher, spec *v1alpha1.ManagedBrokerSpec) []string {
	nodes, size := BrokerNodes(spec), BrokerSize(spec)
	args := []string{"--name=$(NODE)", "--cluster=" + p.Name, "--replicas=" + strconv.Itoa(int(nodes)), "--credentials=" + brokerFiles, "--tls-dir=" + brokerFiles}
	if nodes > 1 {
		hosts := make([]string, 0, nodes)
		for i := range nodes {
			hosts = append(hosts, BrokerHost(p.Namespace, p.Name, i))
		}
		args = append(args, "--peers="+strings.Join(hosts, ","))
	}
	if BrokerInMemory(spec) {
		return append(args, "--max-memory="+strconv.FormatInt(size.Value(), 10))
	}
	return append(args, "--store="+brokerStore, "--max-storage="+strconv.FormatInt(size.Value()/100*storedPercent, 10))
}

// brokerResources are asked for; events that are kept in memory need it, too.
func brokerResources(spec *v1alpha1.ManagedBrokerSpec) *corev1ac.ResourceRequirementsApplyConfiguration {
	if spec.Resources != nil {
		return convert[corev1ac.ResourceRequirementsApplyConfiguration](spec.Resources)
	}
	memory := resource.MustParse(brokerOwnMemory)
	if BrokerInMemory(spec) {
		memory.Add(BrokerSize(spec))
	}
	return corev1ac.ResourceRequirements().WithRequests(corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("100m"),
		corev1.ResourceMemory: memory,
	})
}
