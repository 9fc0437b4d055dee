{{- /* Generated from config/rbac/role.yaml and config/admission/pods.yaml by tools/chart. Do not edit. */ -}}

{{/* What the operator may do in the namespaces that it watches. */}}
{{- define "klaxon.rules" -}}
- apiGroups:
  - ""
  resources:
  - pods
  verbs:
  - delete
  - list
  - patch
  - watch
- apiGroups:
  - ""
  resources:
  - secrets
  verbs:
  - create
  - delete
  - get
  - list
  - patch
  - watch
- apiGroups:
  - ""
  resources:
  - serviceaccounts
  - services
  verbs:
  - create
  - get
  - list
  - patch
  - watch
- apiGroups:
  - apps
  resources:
  - deployments
  - statefulsets
  verbs:
  - create
  - get
  - list
  - patch
  - watch
- apiGroups:
  - events.k8s.io
  resources:
  - events
  verbs:
  - create
  - patch
- apiGroups:
  - networking.k8s.io
  resources:
  - networkpolicies
  verbs:
  - create
  - get
  - list
  - patch
  - watch
- apiGroups:
  - policy
  resources:
  - poddisruptionbudgets
  verbs:
  - create
  - get
  - list
  - patch
  - watch
- apiGroups:
  - push.klaxon.dev
  resources:
  - channels
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - push.klaxon.dev
  resources:
  - channels/status
  - pushers/status
  verbs:
  - patch
- apiGroups:
  - push.klaxon.dev
  resources:
  - pushers
  verbs:
  - create
  - get
  - list
  - patch
  - watch
{{- end }}

{{/* What only a ClusterRole can grant. */}}
{{- define "klaxon.nonResourceRules" -}}
[]
{{- end }}

{{/* What the operator may change of a pod. */}}
{{- define "klaxon.podPolicySpec" -}}
failurePolicy: Fail
matchConditions:
- expression: request.userInfo.username == "system:serviceaccount:{{ .Release.Namespace }}:{{ include "klaxon.serviceAccountName" . }}"
  name: operator
matchConstraints:
  resourceRules:
  - apiGroups:
    - ""
    apiVersions:
    - '*'
    operations:
    - UPDATE
    - DELETE
    resources:
    - pods
    - pods/*
validations:
- expression: request.operation != "DELETE" || variables.oldLabels[?"app.kubernetes.io/name"]
    == optional.of("klaxon-broker")
  message: the Klaxon operator may delete only the pods of brokers
- expression: request.?subResource.orValue("") == ""
  message: the Klaxon operator may not change subresources of pods
- expression: variables.oldLabels[?"push.klaxon.dev/pusher"].hasValue()
  message: the Klaxon operator may change only the pods of Pushers
- expression: request.operation == "DELETE" || object.spec == oldObject.spec && object.?status
    == oldObject.?status
  message: the Klaxon operator may not change the spec or status of a pod
- expression: request.operation == "DELETE" || object.metadata.?finalizers == oldObject.metadata.?finalizers
    && object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences
  message: the Klaxon operator may not change the finalizers or owners of a pod
- expression: request.operation == "DELETE" || variables.newLabels.all(k, k.startsWith("push.klaxon.dev/")
    || variables.oldLabels[?k] == optional.of(variables.newLabels[k])) && variables.oldLabels.all(k,
    k.startsWith("push.klaxon.dev/") || k in variables.newLabels)
  message: the Klaxon operator may change only labels of a pod that start with push.klaxon.dev/
- expression: request.operation == "DELETE" || variables.newAnnotations.all(k, k.startsWith("push.klaxon.dev/")
    || variables.oldAnnotations[?k] == optional.of(variables.newAnnotations[k])) &&
    variables.oldAnnotations.all(k, k.startsWith("push.klaxon.dev/") || k in variables.newAnnotations)
  message: the Klaxon operator may change only annotations of a pod that start with
    push.klaxon.dev/
variables:
- expression: oldObject.metadata.?labels.orValue({})
  name: oldLabels
- expression: object.metadata.?labels.orValue({})
  name: newLabels
- expression: oldObject.metadata.?annotations.orValue({})
  name: oldAnnotations
- expression: object.metadata.?annotations.orValue({})
  name: newAnnotations
{{- end }}
