{{/*
What is asked of Prometheus: for how many seconds the oldest item has waited that more replicas would help. 0 if there
is none; no answer at all where no pod of the component is scraped.
(dict "root" $ "component" "dispatcher")
*/}}
{{- define "staffetta.keda.query" -}}
{{- $only := tpl .root.Values.keda.prometheus.selector .root }}
{{- $also := ternary (printf ",%s" $only) "" (ne $only "") }}
{{- $all := ternary (printf "{%s}" $only) "" (ne $only "") }}
{{- if eq .component "recorder" -}}
max(staffetta_stream_oldest_seconds{stream="WEBHOOKS"{{ $also }}})
{{- else if eq .component "dispatcher" -}}
{{- /* A channel that used its rate within a minute waits for the provider, a held one for its owner, and a few commands for
their recipients' turns: one that the provider puts off for an hour would else keep all pods there. */ -}}
max(
  max by (tenant, channel) (staffetta_channel_oldest_seconds{{ $all }})
  and on (tenant, channel) (
    max by (tenant, channel) (max_over_time(staffetta_channel_rate_used{{ $all }}[1m]))
    < 0.9 * max by (tenant, channel) (staffetta_channel_rate_limit{{ $all }})
  )
  and on (tenant, channel) sum by (tenant, channel) (staffetta_channel_waiting{{ $all }}) > 100
  unless on (tenant, channel) max by (tenant, channel) (staffetta_channel_held{{ $all }}) > 0
) or 0 * max(staffetta_dispatcher_parts{{ $all }})
{{- else if eq .component "delivery" -}}
{{- /* An endpoint that is broken or disabled waits for itself, and so does an event that it refuses: a single one, tried for
seven days, would else keep all pods there. */ -}}
max(
  max by (tenant, endpoint_id) (staffetta_endpoint_oldest_seconds{{ $all }})
  and on (tenant, endpoint_id) max by (tenant, endpoint_id) (staffetta_endpoint_state{state="well"{{ $also }}}) > 0
  unless on (tenant, endpoint_id) max by (tenant, endpoint_id) (staffetta_endpoint_parked{{ $all }}) > 0
) or 0 * max(staffetta_delivery_parts{{ $all }})
{{- end }}
{{- end }}
