{{/*
The configuration as the services read it: `config`, with what the chart knows better filled in. JSON.
*/}}
{{- define "staffetta.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $nats := $config.nats | default dict }}
{{- if and .Values.nats.enabled (not $nats.url) }}
{{- $tls := dig "config" "nats" "tls" "enabled" false .Values.nats }}
{{- $_ := set $nats "url" (printf "%s://%s:%v" (ternary "tls" "nats" $tls) (include "staffetta.nats.fullname" .) (dig "config" "nats" "port" 4222 .Values.nats)) }}
{{- end }}
{{- if .Values.natsTls.caSecret }}
{{- $_ := set $nats "ca_file" "/etc/staffetta/nats-ca/ca.crt" }}
{{- end }}
{{- if .Values.natsTls.clientSecret }}
{{- $_ := set $nats "certificate_file" "/etc/staffetta/nats-client/tls.crt" }}
{{- $_ := set $nats "key_file" "/etc/staffetta/nats-client/tls.key" }}
{{- end }}
{{- $_ := set $config "nats" $nats }}
{{- if .Values.simulator.enabled }}
{{- $_ := set $config "simulator" (mergeOverwrite (dict "listen" 8082) ($config.simulator | default dict)) }}
{{- $graph := $config.graph | default dict }}
{{- if not $graph.base_url }}
{{- $_ := set $graph "base_url" (printf "http://%s-simulator:%v" (include "staffetta.fullname" .) $config.simulator.listen) }}
{{- end }}
{{- $_ := set $config "graph" $graph }}
{{- end }}
{{- toJson $config }}
{{- end }}

{{/*
A value as TOML. Helm's own `toToml` writes 8081 as 8081.0, because YAML's numbers have become floats by then; the
services refuse that.
*/}}
{{- define "staffetta.toml.value" -}}
{{- if kindIs "string" . }}{{ toJson . }}
{{- else if kindIs "bool" . }}{{ . }}
{{- else if kindIs "slice" . }}[{{ range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "staffetta.toml.value" $item }}{{ end }}]
{{- else if eq (float64 .) (floor .) }}{{ int64 . }}
{{- else }}{{ toJson . }}
{{- end }}
{{- end }}

{{/* A table as TOML, its own keys before its tables: (dict "table" {…} "path" ""). Empty texts and nulls are left out. */}}
{{- define "staffetta.toml.table" -}}
{{- $path := .path }}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{ $key }} = {{ include "staffetta.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if and (kindIs "map" $value) $value }}
{{- $inner := include "staffetta.toml.table" (dict "table" $value "path" (printf "%s%s." $path $key)) }}
{{- if trim $inner }}
{{- if not (hasPrefix "[" (trim $inner)) }}

[{{ $path }}{{ $key }}]
{{- end }}
{{- $inner }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* staffetta.toml. */}}
{{- define "staffetta.toml" -}}
{{- $config := include "staffetta.config" . | fromJson -}}
# Made by Helm from `config`. What is secret comes from the environment.
{{- include "staffetta.toml.table" (dict "table" $config "path" "") }}
{{- end }}

{{/* The port of one of the configuration's `listen`s: (dict "root" $ "section" "ingress"). */}}
{{- define "staffetta.port" -}}
{{- $config := include "staffetta.config" .root | fromJson }}
{{- dig .section "listen" (get (dict "ingress" 8081 "api" 8080 "simulator" 8082 "admin" 9090) .section) $config | int }}
{{- end }}

{{/*
Which key of which Secret becomes which variable: a JSON list of what is set. `for` is who may see it: `all` is
everybody but the simulator, `store` who needs the database, else the component itself. The doctor says whether there is
an operators' key, so it has to know.
*/}}
{{- define "staffetta.secrets" -}}
{{- $all := list }}
{{- range $entry := list
  (dict "value" "masterKey" "variable" "STAFFETTA__MASTER_KEY" "for" "all")
  (dict "value" "previousMasterKey" "variable" "STAFFETTA__PREVIOUS_MASTER_KEY" "for" "all")
  (dict "value" "databaseUrl" "variable" "STAFFETTA__DATABASE__URL" "for" "store")
  (dict "value" "natsUser" "variable" "STAFFETTA__NATS__USER" "for" "all")
  (dict "value" "natsPassword" "variable" "STAFFETTA__NATS__PASSWORD" "for" "all")
  (dict "value" "adminKey" "variable" "STAFFETTA__API__ADMIN_KEY" "for" "api" "too" "doctor")
  (dict "value" "calloutIssuerSeed" "variable" "STAFFETTA__NATS__CALLOUT__ISSUER_SEED" "for" "api")
  (dict "value" "calloutXkeySeed" "variable" "STAFFETTA__NATS__CALLOUT__XKEY_SEED" "for" "api")
}}
{{- $secret := index $.Values.secrets $entry.value }}
{{- if $secret.key }}
{{- $name := $secret.existingSecret | default $.Values.secrets.existingSecret }}
{{- if not $name }}
{{- fail (printf "\n\nsecrets.%s: no Secret is named that holds %q. Set secrets.existingSecret, or secrets.%s.existingSecret. Nothing secret is ever a value of this chart: see docs/kubernetes.md." $entry.value $secret.key $entry.value) }}
{{- end }}
{{- $all = append $all (dict "variable" $entry.variable "secret" $name "key" $secret.key "for" (list $entry.for ($entry.too | default $entry.for))) }}
{{- end }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{/*
Changes when a Secret that becomes a variable does, so that the pods roll. Helm can only tell where it talks to the
cluster (`install`, `upgrade`); elsewhere `secrets.revision` does it.
*/}}
{{- define "staffetta.secrets.checksum" -}}
{{- $seen := list .Values.secrets.revision }}
{{- range $entry := include "staffetta.secrets" . | fromJsonArray }}
{{- $found := lookup "v1" "Secret" $.Release.Namespace $entry.secret }}
{{- $seen = append $seen (dig "data" $entry.key "" ($found | default dict)) }}
{{- end }}
{{- $seen | toJson | sha256sum }}
{{- end }}
