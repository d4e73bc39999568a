{{/* The chart's name, as labels have it. */}}
{{- define "staffetta.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What the names of all objects begin with. Short enough for `-dispatcher` and a Deployment's own endings. */}}
{{- define "staffetta.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "staffetta.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The labels of an object that belongs to the whole installation. Ours win over `commonLabels`. */}}
{{- define "staffetta.labels" -}}
{{- mergeOverwrite (deepCopy .Values.commonLabels) (dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "staffetta"
) (include "staffetta.selectorLabels" . | fromYaml) | toYaml }}
{{- end }}

{{/* What tells this installation's pods from all others. Never changes: selectors can't. */}}
{{- define "staffetta.selectorLabels" -}}
app.kubernetes.io/name: {{ include "staffetta.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of an object of one component: (dict "root" $ "component" "ingress"). */}}
{{- define "staffetta.component.labels" -}}
{{ include "staffetta.labels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/*
The labels of one component's pods: (dict "root" $ "component" "ingress" "service" {…}). Not the chart's version: a chart
that changes nothing of a pod leaves it alone.
*/}}
{{- define "staffetta.podLabels" -}}
{{- mergeOverwrite (deepCopy .root.Values.commonLabels) (deepCopy .service.podLabels) (dict
  "app.kubernetes.io/version" (.root.Values.image.tag | default .root.Chart.AppVersion | trunc 63)
  "app.kubernetes.io/part-of" "staffetta"
) (include "staffetta.component.selector" . | fromYaml) | toYaml }}
{{- end }}

{{/* What tells one component's pods: (dict "root" $ "component" "ingress"). */}}
{{- define "staffetta.component.selector" -}}
{{ include "staffetta.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The services that run, as a JSON list. */}}
{{- define "staffetta.services" -}}
{{- $services := list "ingress" "recorder" "dispatcher" "delivery" "api" }}
{{- if .Values.simulator.enabled }}{{ $services = append $services "simulator" }}{{ end }}
{{- toJson $services }}
{{- end }}

{{/* What holds for one service, as JSON: `common`, and above it what the service says itself. */}}
{{- define "staffetta.service" -}}
{{- mergeOverwrite (deepCopy .root.Values.common) (deepCopy (index .root.Values .component)) | toJson }}
{{- end }}

{{/* The image, by digest if there is one. */}}
{{- define "staffetta.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The service account of one component: (dict "root" $ "component" "ingress" "service" {…}). */}}
{{- define "staffetta.serviceAccount" -}}
{{- if .service.serviceAccount.name }}
{{- .service.serviceAccount.name }}
{{- else if .service.serviceAccount.create }}
{{- include "staffetta.fullname" .root }}-{{ .component }}
{{- else -}}
default
{{- end }}
{{- end }}

{{/* What the objects of the chart `nats` are called, by that chart's own rule. */}}
{{- define "staffetta.nats.fullname" -}}
{{- with .Values.nats }}
{{- if .fullnameOverride }}
{{- .fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default "nats" .nameOverride }}
{{- ternary $.Release.Name (printf "%s-%s" $.Release.Name $name) (contains $name $.Release.Name) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}
