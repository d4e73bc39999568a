{{/*
What no schema can say: values that contradict each other, or that only the platform can know. Each message names the
key and what to do. Included once, by the ConfigMap.
*/}}
{{- define "staffetta.checks" -}}
{{- if not .Values.image.repository }}
{{- fail "\n\nimage.repository: say where the image is. It is built from deploy/Dockerfile." }}
{{- end }}
{{- if and (not .Values.nats.enabled) (not (dig "nats" "url" "" .Values.config)) }}
{{- fail "\n\nconfig.nats.url: say where NATS is, as nats://nats.example:4222, or let the chart install it with nats.enabled=true." }}
{{- end }}
{{- if .Values.nats.enabled }}
{{- $servers := ternary (dig "config" "cluster" "replicas" 3 .Values.nats) 1 (dig "config" "cluster" "enabled" false .Values.nats) }}
{{- $copies := dig "nats" "replicas" 1 .Values.config }}
{{- if gt (int $copies) (int $servers) }}
{{- fail (printf "\n\nconfig.nats.replicas: %d copies of each stream can't lie on %d NATS server(s). Lower it, or raise nats.config.cluster.replicas." (int $copies) (int $servers)) }}
{{- end }}
{{- if and (dig "config" "nats" "tls" "enabled" false .Values.nats) (not .Values.natsTls.caSecret) }}
{{- fail "\n\nnatsTls.caSecret: nats.config.nats.tls is on, so say which Secret holds the authority that signed NATS' certificate." }}
{{- end }}
{{- end }}
{{- range $entry := include "staffetta.secrets" . | fromJsonArray }}
{{- if and $.Values.nats.enabled (eq $entry.variable "STAFFETTA__NATS__PASSWORD") }}
{{- $named := dig "container" "env" "STAFFETTA_NATS_PASSWORD" "valueFrom" "secretKeyRef" (dict) $.Values.nats }}
{{- if or (ne (toString $named.name) $entry.secret) (ne (toString $named.key) $entry.key) }}
{{- fail (printf "\n\nnats.container.env.STAFFETTA_NATS_PASSWORD: NATS takes its password from key %q of Secret %q, and Staffetta from key %q of Secret %q. Name the same one." (toString $named.key) (toString $named.name) $entry.key $entry.secret) }}
{{- end }}
{{- end }}
{{- end }}
{{- $user := or .Values.secrets.natsUser.key (dig "nats" "user" "" .Values.config) }}
{{- if and $user (not .Values.secrets.natsPassword.key) }}
{{- fail "\n\nsecrets.natsPassword.key: there is a user for NATS, so say which key of the Secret holds its password." }}
{{- end }}
{{- if and .Values.secrets.natsPassword.key (not $user) }}
{{- fail "\n\nconfig.nats.user: there is a password for NATS (secrets.natsPassword.key), so say whose, here or by secrets.natsUser.key." }}
{{- end }}
{{- if and .Values.secrets.calloutXkeySeed.key (not .Values.secrets.calloutIssuerSeed.key) }}
{{- fail "\n\nsecrets.calloutIssuerSeed.key: the curve key alone lets nobody in; the issuer's seed is needed too." }}
{{- end }}
{{- range $name, $text := .Values.registry.files }}
{{- if not (hasSuffix ".toml" $name) }}
{{- fail (printf "\n\nregistry.files: %q must end in .toml, or `apply` does not read it." $name) }}
{{- end }}
{{- /* A slip that is easily made; whoever hides it from this finds a way. */}}
{{- $bare := regexReplaceAll "(?m)^\\s*#.*$" $text "" }}
{{- with regexFind "(?m)(^|[\\s{,])(app_secret|verify_token|access_token|secret|ticket|key|api_keys)\\s*=\\s*\\[?\\s*[\"']" $bare }}
{{- fail (printf "\n\nregistry.files: %q holds a literal secret (%s), and a ConfigMap hides nothing. Write { file = \"/run/secrets/…\" } and name the Secret in registry.secrets, or keep the whole file in a Secret: registry.existingSecret." $name (regexFind "[a-z_]+" .)) }}
{{- end }}
{{- end }}
{{- if and .Values.apply.enabled .Values.apply.prune (not (or .Values.registry.files .Values.registry.existingSecret)) }}
{{- fail "\n\napply.prune: without registry.files or registry.existingSecret it would have nothing to keep." }}
{{- end }}
{{- range $component := include "staffetta.services" . | fromJsonArray }}
{{- $service := include "staffetta.service" (dict "root" $ "component" $component) | fromJson }}
{{- if and (dig "autoscaling" "enabled" false $service) (dig "keda" "enabled" false $service) }}
{{- fail (printf "\n\n%s.keda.enabled and %s.autoscaling.enabled: one Deployment can follow only one of them. KEDA looks at processor load too: switch %s.autoscaling off." $component $component $component) }}
{{- end }}
{{- if dig "keda" "enabled" false $service }}
{{- if gt (int $service.keda.minReplicas) (int $service.keda.maxReplicas) }}
{{- fail (printf "\n\n%s.keda.minReplicas is above %s.keda.maxReplicas." $component $component) }}
{{- end }}
{{- if and $service.keda.targetCPUUtilizationPercentage (not (dig "resources" "requests" "cpu" "" $service)) }}
{{- fail (printf "\n\n%s.resources.requests.cpu: %s.keda.targetCPUUtilizationPercentage measures load against it, so it must be there." $component $component) }}
{{- end }}
{{- if not $.Values.keda.prometheus.serverAddress }}
{{- fail (printf "\n\nkeda.prometheus.serverAddress: %s.keda.enabled asks Prometheus how old the oldest item is; say where it is, as http://prometheus-operated.monitoring.svc:9090." $component) }}
{{- end }}
{{- if and (eq $component "recorder") (not $.Values.nats.enabled) (not $.Values.keda.nats.monitoringEndpoint) }}
{{- fail "\n\nkeda.nats.monitoringEndpoint: recorder.keda.enabled asks NATS how much waits; say where its monitoring port is, as nats-headless.nats.svc.cluster.local:8222." }}
{{- end }}
{{- end }}
{{- if dig "autoscaling" "enabled" false $service }}
{{- if gt (int $service.autoscaling.minReplicas) (int $service.autoscaling.maxReplicas) }}
{{- fail (printf "\n\n%s.autoscaling.minReplicas is above %s.autoscaling.maxReplicas." $component $component) }}
{{- end }}
{{- if not (dig "resources" "requests" "cpu" "" $service) }}
{{- fail (printf "\n\n%s.resources.requests.cpu: %s.autoscaling.enabled measures load against it, so it must be there." $component $component) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $component := list "ingress" "api" }}
{{- $expose := (index $.Values $component).expose }}
{{- if and $expose.ingress.enabled (not $expose.ingress.hosts) }}
{{- fail (printf "\n\n%s.expose.ingress.hosts: name at least one host." $component) }}
{{- end }}
{{- if and $expose.gateway.enabled (not $expose.gateway.parentRefs) }}
{{- fail (printf "\n\n%s.expose.gateway.parentRefs: name the Gateway that takes the route." $component) }}
{{- end }}
{{- end }}
{{- end }}
