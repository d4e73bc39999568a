{{/* What is not the internet, as `delivery` sees it: services/delivery/src/guard/address.rs. */}}
{{- define "staffetta.private4" -}}
["0.0.0.0/8","10.0.0.0/8","100.64.0.0/10","127.0.0.0/8","168.63.129.16/32","169.254.0.0/16","172.16.0.0/12","192.0.0.0/24","192.0.2.0/24","192.88.99.0/24","192.168.0.0/16","198.18.0.0/15","198.51.100.0/24","203.0.113.0/24","224.0.0.0/3"]
{{- end }}
{{/* The same, of 2000::/3, which is what is given out of IPv6. */}}
{{- define "staffetta.private6" -}}
["2001::/23","2001:db8::/32","3fff::/20"]
{{- end }}

{{/* One rule: (dict "peers" […] "ports" […]), `from` or `to` by "way". No peers: anybody, on these ports. */}}
{{- define "staffetta.network.rule" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .peers }}
  {{ $.way }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Pods of this installation, as a peer: (dict "root" $ "component" "simulator"). */}}
{{- define "staffetta.network.own" -}}
[{"podSelector":{"matchLabels":{{ include "staffetta.component.selector" . | fromYaml | toJson }}}}]
{{- end }}

{{/* The port of an address like http://collector:4318, or what is given for one without. */}}
{{- define "staffetta.network.portOf" -}}
{{- $url := urlParse .url }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $port | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}

{{/*
Who may call one component, and whom it may call: (dict "root" $ "component" "ingress" "annotations" {…}).
*/}}
{{- define "staffetta.networkPolicy" -}}
{{- $root := .root }}
{{- $component := .component }}
{{- $policy := $root.Values.networkPolicy }}
{{- $service := include "staffetta.service" (dict "root" $root "component" $component) | fromJson }}
{{- $config := include "staffetta.config" $root | fromJson }}
{{- $serves := not (has $component (list "migrate" "apply" "doctor")) }}
{{- $provider := has $component (list "dispatcher" "api" "doctor") }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "staffetta.fullname" $root }}-{{ $component }}
  labels:
    {{- include "staffetta.component.labels" (dict "root" $root "component" $component) | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels:
      {{- include "staffetta.component.selector" (dict "root" $root "component" $component) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if $serves }}
  ingress:
    {{- if eq $component "ingress" }}
    # Webhooks, from the ingress controller or the gateway{{ if $root.Values.simulator.enabled }}, and from the simulator{{ end }}.
    {{- $port := include "staffetta.port" (dict "root" $root "section" "ingress") }}
    {{- include "staffetta.network.rule" (dict "way" "from" "ports" (list $port) "peers" $policy.from.webhooks) | nindent 4 }}
    {{- if and $root.Values.simulator.enabled $policy.from.webhooks }}
    {{- include "staffetta.network.rule" (dict "way" "from" "ports" (list $port) "peers" (include "staffetta.network.own" (dict "root" $root "component" "simulator") | fromJsonArray)) | nindent 4 }}
    {{- end }}
    {{- else if eq $component "api" }}
    # Tenants, from the ingress controller or the gateway.
    {{- include "staffetta.network.rule" (dict "way" "from" "ports" (list (include "staffetta.port" (dict "root" $root "section" "api"))) "peers" $policy.from.api) | nindent 4 }}
    {{- else if eq $component "simulator" }}
    # What would call Meta, and nobody else.
    {{- range $caller := list "dispatcher" "api" "doctor" }}
    {{- include "staffetta.network.rule" (dict "way" "from" "ports" (list (include "staffetta.port" (dict "root" $root "section" "simulator"))) "peers" (include "staffetta.network.own" (dict "root" $root "component" $caller) | fromJsonArray)) | nindent 4 }}
    {{- end }}
    {{- end }}
    # Prometheus. Probes come from the node, which no policy keeps away.
    {{- include "staffetta.network.rule" (dict "way" "from" "ports" (list (include "staffetta.port" (dict "root" $root "section" "admin"))) "peers" $policy.from.metrics) | nindent 4 }}
    {{- with $service.networkPolicy.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- else }}
  # Nobody calls it.
  ingress: []
  {{- end }}
  egress:
    # Names.
    - ports:
        {{- range $policy.to.dns.ports }}
        - {port: {{ . }}, protocol: UDP}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
      {{- with $policy.to.dns.peers }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- if eq $component "simulator" }}
    # Its webhooks.
    {{- include "staffetta.network.rule" (dict "way" "to" "ports" (list (include "staffetta.port" (dict "root" $root "section" "ingress"))) "peers" (include "staffetta.network.own" (dict "root" $root "component" "ingress") | fromJsonArray)) | nindent 4 }}
    {{- else }}
    # NATS.
    {{- $nats := $policy.to.nats.peers }}
    {{- if and $root.Values.nats.enabled (not $nats) }}
    {{- $nats = list (dict "podSelector" (dict "matchLabels" (dict "app.kubernetes.io/name" ($root.Values.nats.nameOverride | default "nats") "app.kubernetes.io/instance" $root.Release.Name "app.kubernetes.io/component" "nats"))) }}
    {{- end }}
    {{- include "staffetta.network.rule" (dict "way" "to" "ports" $policy.to.nats.ports "peers" $nats) | nindent 4 }}
    {{- if has $component (include "staffetta.needStore" $root | fromJsonArray) }}
    # PostgreSQL.
    {{- include "staffetta.network.rule" (dict "way" "to" "ports" $policy.to.database.ports "peers" $policy.to.database.peers) | nindent 4 }}
    {{- end }}
    {{- if $provider }}
    {{- if $root.Values.simulator.enabled }}
    # The simulator, in WhatsApp's place.
    {{- include "staffetta.network.rule" (dict "way" "to" "ports" (list (include "staffetta.port" (dict "root" $root "section" "simulator"))) "peers" (include "staffetta.network.own" (dict "root" $root "component" "simulator") | fromJsonArray)) | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- if or $provider (eq $component "delivery") }}
    # {{ if eq $component "delivery" }}Tenants' endpoints{{ else }}The provider{{ end }}: the internet, and nothing private.
    - ports:
        {{- range $policy.to.internet.ports }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
      to:
        - ipBlock:
            cidr: 0.0.0.0/0
            except:
              {{- include "staffetta.private4" $root | fromJsonArray | toYaml | nindent 14 }}
        {{- if $policy.to.internet.ipv6 }}
        - ipBlock:
            cidr: 2000::/3
            except:
              {{- include "staffetta.private6" $root | fromJsonArray | toYaml | nindent 14 }}
        {{- end }}
    {{- end }}
    {{- if eq $component "delivery" }}
    {{- with dig "delivery" "allow_networks" "" $config }}
    # config.delivery.allow_networks, on any port.
    - to:
        {{- range splitList "," . }}
        - ipBlock: {cidr: {{ trim . | quote }}}
        {{- end }}
    {{- end }}
    {{- end }}
    {{- with dig "telemetry" "otlp_endpoint" "" $config }}
    # The collector.
    {{- include "staffetta.network.rule" (dict "way" "to" "ports" (list (include "staffetta.network.portOf" (dict "url" .))) "peers" $policy.to.telemetry.peers) | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with $service.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
