{{/* Name of the release's objects. At most 40 characters: the longest suffix is -operator-leader-election. */}}
{{- define "klaxon.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 38 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 38 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "klaxon.operator" -}}
{{ include "klaxon.fullname" . }}-operator
{{- end }}

{{- define "klaxon.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "klaxon.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name an existing ServiceAccount, or set serviceAccount.create" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "klaxon.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- define "klaxon.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: klaxon
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "klaxon.operatorSelector" -}}
app.kubernetes.io/name: klaxon
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "klaxon.operatorLabels" -}}
{{ include "klaxon.labels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Refuses values that a schema cannot relate to each other. */}}
{{- define "klaxon.check" -}}
{{- if and (not .Values.clusterRoles.enabled) (not .Values.watchNamespaces) -}}
{{- fail "clusterRoles.enabled is false: set watchNamespaces to the namespaces that the operator may serve" -}}
{{- end -}}
{{- if and (not .Values.leaderElection.enabled) (gt (int .Values.replicas) 1) -}}
{{- fail "replicas is more than 1: set leaderElection.enabled, so that only one of them acts" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
{{- fail "metrics.serviceMonitor needs metrics.service.enabled" -}}
{{- end -}}
{{- end }}
