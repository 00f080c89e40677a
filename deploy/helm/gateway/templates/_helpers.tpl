{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{- end -}}
{{- end -}}

{{- define "gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "gateway.fullname" .) .Values.serviceAccount.name }}
{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{- end -}}
{{- end -}}

{{- define "gateway.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}{{ default (printf "%s-tls" (include "gateway.fullname" .)) .Values.tls.existingSecret }}
{{- else -}}{{ .Values.tls.existingSecret }}{{- end -}}
{{- end -}}

{{- define "gateway.redisSecret" -}}
{{- if .Values.redis.existingSecret -}}{{ .Values.redis.existingSecret }}
{{- else if .Values.redis.bundled.enabled -}}{{ include "gateway.fullname" . }}-redis{{- end -}}
{{- end -}}

{{- define "gateway.redisSecretKey" -}}
{{- if .Values.redis.existingSecret -}}{{ .Values.redis.existingSecretKey }}{{- else -}}redis{{- end -}}
{{- end -}}

{{- define "gateway.clusterSecret" -}}
{{- default (printf "%s-cluster" (include "gateway.fullname" .)) .Values.cluster.existingSecret -}}
{{- end -}}

{{/* What cannot work is said before anything is installed. */}}
{{- define "gateway.check" -}}
{{- if and (not (include "gateway.redisSecret" .)) (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) -}}
{{- fail "More than one replica needs Redis: set redis.existingSecret (a secret with a connection string), or redis.bundled.enabled for trying out, or replicaCount=1." -}}
{{- end -}}
{{- if and (not (include "gateway.tlsSecret" .)) (eq (int .Values.service.httpPort) 0) -}}
{{- fail "There is nothing to listen on: set tls.existingSecret, tls.certManager.enabled, or service.httpPort." -}}
{{- end -}}
{{- if and .Values.redis.existingSecret .Values.redis.bundled.enabled -}}
{{- fail "redis.existingSecret and redis.bundled.enabled exclude each other: leave one out." -}}
{{- end -}}
{{- end -}}

{{/* Seconds as the gateway writes durations. */}}
{{- define "gateway.duration" -}}
{{- printf "%02d:%02d:%02d" (div (int .) 3600) (mod (div (int .) 60) 60) (mod (int .) 60) -}}
{{- end -}}

{{/* gateway.json: the chart's settings, then the user's. */}}
{{- define "gateway.config" -}}
{{- $tls := include "gateway.tlsSecret" . -}}
{{- $config := dict
  "Edge" (dict "Domains" .Values.domains)
  "Listen" (dict "Http" (ternary "*:8080" "" (gt (int .Values.service.httpPort) 0)) "Https" (ternary "*:8443" "" (ne $tls "")) "Admin" "*:8081"
    "DrainDelay" (include "gateway.duration" .Values.drain.delaySeconds) "DrainTimeout" (include "gateway.duration" .Values.drain.timeoutSeconds))
  "Storage" (dict "DataDirectory" "/var/lib/gateway")
  "Telemetry" (dict "Logs" (dict "Format" "Json") "Otlp" (dict "Endpoint" .Values.otlp.endpoint) "Traces" (dict "Ratio" .Values.otlp.traceRatio))
-}}
{{- if include "gateway.redisSecret" . -}}
{{- $_ := set $config "Cluster" (dict "Listen" "*:8444") -}}
{{- end -}}
{{- if $tls -}}
{{- $_ := set $config "Certificates" (dict "File" "/etc/gateway-tls/tls.crt" "KeyFile" "/etc/gateway-tls/tls.key") -}}
{{- end -}}
{{- mustMergeOverwrite $config (deepCopy .Values.config) | mustToPrettyJson -}}
{{- end -}}
