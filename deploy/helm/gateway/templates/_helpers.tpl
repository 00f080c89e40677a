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

{{/* Whether the gateway listens with TLS. */}}
{{- define "gateway.tls" -}}
{{- if or (include "gateway.tlsSecret" .) .Values.tls.acme.enabled -}}true{{- end -}}
{{- end -}}

{{/* Whether the gateway orders certificates, and keeps their keys in Redis. */}}
{{- define "gateway.orders" -}}
{{- if or .Values.tls.acme.enabled .Values.tls.onDemand -}}true{{- end -}}
{{- end -}}

{{/* Whether the gateway answers DNS. */}}
{{- define "gateway.dns" -}}
{{- if and .Values.tls.acme.enabled .Values.tls.acme.dnsService (eq .Values.tls.acme.challenge "Dns") -}}true{{- end -}}
{{- end -}}

{{- define "gateway.encryptionSecret" -}}
{{- default (printf "%s-certificates" (include "gateway.fullname" .)) .Values.tls.encryptionKey.existingSecret -}}
{{- end -}}

{{/* What visitors see: the Service's ports, not the containers'. */}}
{{- define "gateway.origin" -}}
{{- $scheme := "http" -}}{{- $port := int .Values.service.httpPort -}}{{- $usual := 80 -}}
{{- if include "gateway.tls" . -}}{{- $scheme = "https" -}}{{- $port = int .Values.service.httpsPort -}}{{- $usual = 443 -}}
{{- else if or .Values.ingress.enabled .Values.gatewayApi.enabled -}}{{- $scheme = ternary "https" "http" (or .Values.gatewayApi.enabled (ne .Values.ingress.tlsSecret "")) -}}{{- $port = 0 -}}{{- end -}}
{{- $scheme -}}://*.{{ first .Values.domains }}{{ if not (has $port (list 0 $usual)) }}:{{ $port }}{{ end }}
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
{{- if and (not (include "gateway.tls" .)) (eq (int .Values.service.httpPort) 0) -}}
{{- fail "There is nothing to listen on: set tls.existingSecret, tls.certManager.enabled, tls.acme.enabled, or service.httpPort." -}}
{{- end -}}
{{- if and .Values.tls.acme.enabled (include "gateway.tlsSecret" .) -}}
{{- fail "tls.acme.enabled excludes tls.existingSecret and tls.certManager.enabled: leave one out." -}}
{{- end -}}
{{- if and (include "gateway.orders" .) (not (include "gateway.redisSecret" .)) -}}
{{- fail "Certificates that the gateway orders need Redis: set redis.existingSecret, or redis.bundled.enabled for trying out." -}}
{{- end -}}
{{- if and .Values.tls.onDemand (not .Values.tls.acme.acceptTerms) -}}
{{- fail "tls.onDemand orders from an ACME server: read its terms of service and set tls.acme.acceptTerms=true." -}}
{{- end -}}
{{- if and .Values.tls.onDemand (not (include "gateway.tls" .)) -}}
{{- fail "tls.onDemand needs a certificate to begin with: set tls.existingSecret, tls.certManager.enabled or tls.acme.enabled." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (eq (int .Values.service.httpPort) 0) -}}
{{- fail "The Ingress ends TLS and goes on to service.httpPort: set it." -}}
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
{{- $config := dict
  "Edge" (dict "Domains" .Values.domains)
  "Listen" (dict "Http" (ternary "*:8080" "" (gt (int .Values.service.httpPort) 0)) "Https" (ternary "*:8443" "" (ne (include "gateway.tls" .) "")) "Admin" "*:8081" "PublicOrigin" (include "gateway.origin" .)
    "DrainDelay" (include "gateway.duration" .Values.drain.delaySeconds) "DrainTimeout" (include "gateway.duration" .Values.drain.timeoutSeconds))
  "Storage" (dict "DataDirectory" "/var/lib/gateway")
  "Telemetry" (dict "Logs" (dict "Format" "Json") "Otlp" (dict "Endpoint" .Values.otlp.endpoint) "Traces" (dict "Ratio" .Values.otlp.traceRatio))
-}}
{{- if include "gateway.redisSecret" . -}}
{{- $_ := set $config "Cluster" (dict "Listen" "*:8444") -}}
{{- end -}}
{{- $certificates := dict -}}
{{- if include "gateway.tlsSecret" . -}}
{{- $certificates = dict "Source" "Files" "File" "/etc/gateway-tls/tls.crt" "KeyFile" "/etc/gateway-tls/tls.key" -}}
{{- end -}}
{{- if .Values.tls.acme.enabled -}}
{{- $certificates = dict "Source" "Acme" -}}
{{- end -}}
{{- if include "gateway.orders" . -}}
{{- $acme := dict "AcceptTerms" .Values.tls.acme.acceptTerms "Email" .Values.tls.acme.email "Challenge" .Values.tls.acme.challenge -}}
{{- with .Values.tls.acme.directory -}}{{- $_ := set $acme "Directories" (list (dict "Url" .)) -}}{{- end -}}
{{- if include "gateway.dns" . -}}{{- $_ := set $acme "Dns" (dict "Listen" "*:8053") -}}{{- end -}}
{{- $_ := set $certificates "Acme" $acme -}}
{{- end -}}
{{- if .Values.tls.onDemand -}}{{- $_ := set $certificates "OnDemand" (dict "Enabled" true) -}}{{- end -}}
{{- if $certificates -}}
{{- $_ := set $config "Certificates" $certificates -}}
{{- end -}}
{{- mustMergeOverwrite $config (deepCopy .Values.config) | mustToPrettyJson -}}
{{- end -}}
