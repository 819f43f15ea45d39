{{- define "imagegen.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object, each once. Takes a dict of `root`, `component` and what an object has besides, `more`. */}}
{{- define "imagegen.labels" -}}
{{- $release := dict
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_")
-}}
{{- merge (include "imagegen.selector" . | fromYaml) $release (default dict .more) .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* What pods are selected by: never changes, neither between versions nor with a name. */}}
{{- define "imagegen.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* An image's full name. Takes a dict of `root` and `image`. */}}
{{- define "imagegen.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.images.registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "imagegen.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Pod Security "restricted". */}}
{{- define "imagegen.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "imagegen.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* Fails where the router would be open to everybody without anybody having said so. Takes a dict of `root`, `what`. */}}
{{- define "imagegen.guarded" -}}
{{- if not (or .root.Values.auth.allowAnonymous .root.Values.auth.existingSecret) -}}
{{- fail (printf "%s lets everybody who reaches it make pictures: set auth.existingSecret to a Secret with API keys (`imagegen keys secret` prints one), or auth.allowAnonymous to true" .what) -}}
{{- end -}}
{{- end -}}

{{/* Neither has pods that a policy could select for sure: it is whoever answers at their ports. */}}
{{- define "imagegen.dns" -}}
- {{ with .Values.networkPolicy.dns }}to: {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - { port: {{ . }}, protocol: UDP }
    - { port: {{ . }}, protocol: TCP }
    {{- end }}
{{- end -}}

{{- define "imagegen.dnsAndApiServer" -}}
{{ include "imagegen.dns" . }}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
{{- end -}}
