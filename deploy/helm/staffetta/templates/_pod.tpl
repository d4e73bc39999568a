{{/* Who needs the database: a JSON list. */}}
{{- define "staffetta.needStore" -}}
["recorder","dispatcher","delivery","api","migrate","doctor"]
{{- end }}

{{/* The variables of one component: (dict "root" $ "component" "ingress" "service" {…}). */}}
{{- define "staffetta.env" -}}
{{- $root := .root }}
{{- $component := .component }}
{{- if eq $component "simulator" }}
{{- /* It reads no file: the others' speaks of a NATS user whose password it is not given. */}}
- name: STAFFETTA__SIMULATOR__LISTEN
  value: ":{{ include "staffetta.port" (dict "root" $root "section" "simulator") }}"
- name: STAFFETTA__ADMIN__LISTEN
  value: ":{{ include "staffetta.port" (dict "root" $root "section" "admin") }}"
{{- with dig "simulator" "seed" "" $root.Values.config }}
- name: STAFFETTA__SIMULATOR__SEED
  value: {{ int64 . | quote }}
{{- end }}
{{- else }}
- name: STAFFETTA_CONFIG
  value: /etc/staffetta/staffetta.toml
{{- end }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.node.name=$(NODE_NAME)
{{- if ne $component "simulator" }}
{{- $store := include "staffetta.needStore" . | fromJsonArray }}
{{- range $entry := include "staffetta.secrets" $root | fromJsonArray }}
{{- if or (has "all" $entry.for) (and (has "store" $entry.for) (has $component $store)) (has $component $entry.for) }}
- name: {{ $entry.variable }}
  valueFrom:
    secretKeyRef: {name: {{ $entry.secret | quote }}, key: {{ $entry.key | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := .service.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .service.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What is mounted where; the arguments are those of the pod. */}}
{{- define "staffetta.mounts" -}}
{{- $values := .root.Values }}
{{- if ne .component "simulator" }}
- {name: config, mountPath: /etc/staffetta/staffetta.toml, subPath: staffetta.toml, readOnly: true}
{{- if $values.natsTls.caSecret }}
- {name: nats-ca, mountPath: /etc/staffetta/nats-ca, readOnly: true}
{{- end }}
{{- if $values.natsTls.clientSecret }}
- {name: nats-client, mountPath: /etc/staffetta/nats-client, readOnly: true}
{{- end }}
{{- if $values.registry.secrets }}
- {name: registry-secrets, mountPath: /run/secrets, readOnly: true}
{{- end }}
{{- end }}
{{- if .registry }}
- {name: registry, mountPath: /registry, readOnly: true}
{{- end }}
{{- with .service.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The volumes of it. */}}
{{- define "staffetta.volumes" -}}
{{- $values := .root.Values }}
{{- if ne .component "simulator" }}
- name: config
  configMap: {name: {{ .config }}}
{{- with $values.natsTls.caSecret }}
- name: nats-ca
  secret:
    secretName: {{ . }}
    items: [{key: {{ $values.natsTls.caKey | quote }}, path: ca.crt}]
{{- end }}
{{- with $values.natsTls.clientSecret }}
- name: nats-client
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with $values.registry.secrets }}
- name: registry-secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range . }}
      - secret: {{ toJson . }}
      {{- end }}
{{- end }}
{{- end }}
{{- if .registry }}
- name: registry
  projected:
    sources:
      {{- if $values.registry.files }}
      - configMap: {name: {{ include "staffetta.fullname" .root }}-registry}
      {{- end }}
      {{- with $values.registry.existingSecret }}
      - secret: {name: {{ . }}}
      {{- end }}
{{- end }}
{{- with .service.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* How its pods are spread; the arguments are those of the pod. */}}
{{- define "staffetta.spread" -}}
{{- if .service.topologySpreadConstraints }}
{{- toYaml .service.topologySpreadConstraints }}
{{- else }}
{{- range $key, $when := .service.spread }}
{{- if $when }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ $when }}
  # Each revision is spread by itself: the old pods of a rollout are about to go.
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "staffetta.component.selector" (dict "root" $.root "component" $.component) | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The pod of one component, from `spec.` on.
(dict "root" $ "component" "ingress" "service" {…} "args" (list …) "config" <ConfigMap> "account" <service account>
 "registry" <whether /registry is mounted> "server" <whether it serves, and has probes>)
*/}}
{{- define "staffetta.pod" -}}
{{- $root := .root }}
{{- $service := .service }}
{{- $drain := $root.Values.config.drain_seconds | int }}
{{- $preStop := .service.preStopSeconds | default 0 | int }}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $service.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $service.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $service.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- if .server }}
# preStop, then the drain (config.drain_seconds), then ten seconds for the last words.
terminationGracePeriodSeconds: {{ add $drain $preStop 10 }}
{{- else }}
restartPolicy: Never
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ include "staffetta.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: {{ concat .args ($service.args | default list) | toJson }}
    env:
      {{- include "staffetta.env" . | trim | nindent 6 }}
    {{- with $service.extraEnvFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .server }}
    ports:
      {{- if has .component (list "ingress" "api" "simulator") }}
      - name: http
        containerPort: {{ include "staffetta.port" (dict "root" $root "section" .component) }}
      {{- end }}
      - name: admin
        containerPort: {{ include "staffetta.port" (dict "root" $root "section" "admin") }}
    startupProbe:
      httpGet: {path: /readyz, port: admin}
      {{- toYaml $service.startupProbe | nindent 6 }}
    readinessProbe:
      httpGet: {path: /readyz, port: admin}
      {{- toYaml $service.readinessProbe | nindent 6 }}
    livenessProbe:
      httpGet: {path: /livez, port: admin}
      {{- toYaml $service.livenessProbe | nindent 6 }}
    {{- if $preStop }}
    lifecycle:
      preStop:
        # Until every load balancer has heard that this pod goes. By the kubelet: there is no shell in the image.
        sleep: {seconds: {{ $preStop }}}
    {{- end }}
    {{- end }}
    {{- with $service.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $service.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- $mounts := include "staffetta.mounts" . | trim }}
    {{- if $mounts }}
    volumeMounts:
      {{- $mounts | nindent 6 }}
    {{- end }}
{{- with include "staffetta.volumes" . | trim }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- with $service.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $service.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $service.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .server }}
{{- with include "staffetta.spread" . | trim }}
topologySpreadConstraints:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
