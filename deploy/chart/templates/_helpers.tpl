{{/* Names. */}}
{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "penstock.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "penstock.labels" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Gateways alone have this label: jobs and tests of the release must not be endpoints. */}}
{{- define "penstock.gateways" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "penstock.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "penstock.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "penstock.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* "yes" if only the pod itself reaches the admin listener. */}}
{{- define "penstock.adminIsLocal" -}}
{{- if or (hasPrefix "127." .Values.config.admin.host) (eq "::1" .Values.config.admin.host) }}yes{{ end -}}
{{- end -}}

{{- define "penstock.isCluster" -}}
{{- $store := dig "store" "kind" "memory" .Values.config -}}
{{- $log := dig "log" "kind" "journal" .Values.config -}}
{{- if and (eq $store "redis") (eq $log "kafka") }}yes{{ end -}}
{{- end -}}

{{/* The settings file. */}}
{{- define "penstock.settings" -}}
{{- $config := deepCopy .Values.config -}}
{{- $service := printf "%s-admin" (include "penstock.fullname" .) -}}
{{- $names := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) (printf "%s.%s.svc.cluster.local" $service .Release.Namespace) -}}
{{- if not (include "penstock.adminIsLocal" .) -}}
{{- $_ := set $config.admin "hosts" (concat (dig "hosts" list $config.admin) $names | uniq) -}}
{{- end -}}
{{- if and .Values.existingSecret (not (hasKey $config.admin "token_dir")) -}}
{{- $_ := set $config.admin "token_dir" "/run/secrets/penstock" -}}
{{- end -}}
{{ $config | toPrettyJson }}
{{- end -}}

{{/* What the schema of the values cannot say. Each message names the value and what to do. */}}
{{- define "penstock.check" -}}
{{- $config := .Values.config -}}
{{- if and (gt (int .Values.replicas) 1) (not (include "penstock.isCluster" .)) -}}
{{- fail (printf "replicas: %d gateways count in one Redis and write to one Kafka: set config.store.kind to redis and config.log.kind to kafka, or replicas to 1" (int .Values.replicas)) -}}
{{- end -}}
{{- if not (regexMatch "^/var/lib/penstock/[^/].*$" $config.state_dir) -}}
{{- fail (printf "config.state_dir: %s is not in the volume: name a directory beneath /var/lib/penstock, such as /var/lib/penstock/state (the volume's own root belongs to root)" $config.state_dir) -}}
{{- end -}}
{{- if or (hasPrefix "127." $config.listen.host) (eq "::1" $config.listen.host) -}}
{{- fail (printf "config.listen.host: the Service cannot reach %s: use 0.0.0.0, or :: for IPv6" $config.listen.host) -}}
{{- end -}}
{{- if or (eq 0 (int $config.listen.port)) (eq 0 (int $config.admin.port)) -}}
{{- fail "config.listen.port, config.admin.port: 0 takes any free port, which no Service finds: name a port" -}}
{{- end -}}
{{- if eq (int $config.listen.port) (int $config.admin.port) -}}
{{- fail (printf "config.admin.port: %d is the public listener's: name another port" (int $config.admin.port)) -}}
{{- end -}}
{{- if le (int $config.drain.timeout_ms) (int $config.drain.delay_ms) -}}
{{- fail (printf "config.drain.timeout_ms: %d must be more than config.drain.delay_ms (%d)" (int $config.drain.timeout_ms) (int $config.drain.delay_ms)) -}}
{{- end -}}
{{- range $name, $wanted := dict "documents.bundle" (not (empty .Values.documents.bundle)) "podMonitor.enabled" .Values.podMonitor.enabled -}}
{{- if and $wanted (not $.Values.existingSecret) -}}
{{- fail (printf "existingSecret: %s needs a token: kubectl -n %s create secret generic penstock --from-literal=admin-token=$(openssl rand -hex 32) --from-literal=viewer-token=$(openssl rand -hex 32), and existingSecret: penstock" $name $.Release.Namespace) -}}
{{- end -}}
{{- if and $wanted (include "penstock.adminIsLocal" $) -}}
{{- fail (printf "config.admin.host: %s needs to reach the admin listener from another pod, and %s does not let it: use 0.0.0.0" $name $config.admin.host) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.existingSecret (or .Release.IsInstall .Release.IsUpgrade) -}}
{{- /* Without a cluster to ask, as in helm template, the list is empty, too: not even a list without entries. */ -}}
{{- if and (not (lookup "v1" "Secret" .Release.Namespace .Values.existingSecret)) (lookup "v1" "Secret" .Release.Namespace "") -}}
{{- fail (printf "existingSecret: there is no Secret %s in the namespace %s: kubectl -n %s create secret generic %s --from-literal=admin-token=$(openssl rand -hex 32) --from-literal=viewer-token=$(openssl rand -hex 32)" .Values.existingSecret .Release.Namespace .Release.Namespace .Values.existingSecret) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Of each pod. 65532 is the image's user. A later mount must not widen the modes of what the gateway keeps private. */}}
{{- define "penstock.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "penstock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "penstock.secretVolume" -}}
{{- if .Values.existingSecret -}}
- name: secrets
  secret: {secretName: {{ .Values.existingSecret | quote }}, defaultMode: 0440}
{{- end -}}
{{- end -}}

{{/* The admin listener as a job reaches it. */}}
{{- define "penstock.adminUrl" -}}
http://{{ include "penstock.fullname" . }}-admin:{{ .Values.config.admin.port }}
{{- end -}}

{{/* live or ready. Where nobody but the pod reaches the admin listener, a program in it asks. */}}
{{- define "penstock.probe" -}}
{{- $root := index . 0 -}}
{{- $what := index . 1 -}}
{{- if include "penstock.adminIsLocal" $root -}}
exec: {command: [penstock, --config, /etc/penstock/penstock.json, --probe, {{ $what }}]}
{{- else -}}
httpGet: {port: admin, path: {{ ternary "/livez" "/readyz" (eq $what "live") }}}
{{- end -}}
{{- end -}}
