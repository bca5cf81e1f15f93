{{- define "pause-trace.selector" -}}
app.kubernetes.io/name: pause-trace
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pause-trace.labels" -}}
{{ include "pause-trace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
