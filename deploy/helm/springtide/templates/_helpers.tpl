{{/* The name of everything: the release's, as one namespace may hold several. */}}
{{- define "springtide.name" -}}
{{- if contains "springtide" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-springtide" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "springtide.selector" -}}
app.kubernetes.io/name: springtide
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "springtide.labels" -}}
{{ include "springtide.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "springtide.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/*
A deployment of one role. Takes root, component (validate, ...), values (the part of
values.yaml), args (list), ports (dict of name and number, besides admin), and:
scaled (no number of replicas of its own), single (never two at once), pepper, balanced (behind a service).
*/}}
{{- define "springtide.deployment" -}}
{{- $root := .root }}
{{- $is := merge (pick . "scaled" "single" "pepper" "balanced") (dict "scaled" false "single" false "pepper" false "balanced" false) }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "springtide.name" $root }}-{{ .component }}
  labels:
    {{- include "springtide.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if $is.single }}
  replicas: 1
  strategy: {type: Recreate}
  {{- else }}
  {{- if not $is.scaled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {{ if $is.balanced }}{maxUnavailable: 0, maxSurge: 1}{{ else }}{maxUnavailable: 25%, maxSurge: 25%}{{ end }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "springtide.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels:
        {{- with $root.Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- include "springtide.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      annotations:
        checksum/config: {{ include (print $root.Template.BasePath "/config.yaml") $root | sha256sum }}
        {{- if $root.Values.scrapeAnnotations }}
        prometheus.io/scrape: "true"
        prometheus.io/port: "7090"
        {{- end }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "springtide.name" $root }}
      automountServiceAccountToken: false
      enableServiceLinks: false # their variables would begin with SPRINGTIDE_
      terminationGracePeriodSeconds: 60 # a drain takes 40 s at most
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: {type: RuntimeDefault}
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      containers:
        - name: springtide
          image: {{ include "springtide.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args:
            {{- range concat .args .values.args }}
            - {{ . | quote }}
            {{- end }}
          envFrom:
            - configMapRef:
                name: {{ include "springtide.name" $root }}
          env:
            - name: GOMEMLIMIT
              value: {{ .values.memory.go | quote }}
            - name: OTEL_SERVICE_NAME
              value: springtide-{{ .component }}
            {{- if $is.pepper }}
            - name: SPRINGTIDE_PEPPER
              value: /etc/springtide/pepper/pepper
            {{- end }}
            {{- include "springtide.logins" $root | nindent 12 }}
            {{- with $root.Values.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            {{- range $name, $port := .ports }}
            - name: {{ $name }}
              containerPort: {{ $port }}
            {{- end }}
            - name: admin
              containerPort: 7090
          startupProbe: # a front door reads all keys, drafts and acts first
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 2
            failureThreshold: 150
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 2
            timeoutSeconds: 3
            failureThreshold: 1
          livenessProbe:
            httpGet: {path: /healthz, port: admin}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          {{- if $is.balanced }}
          lifecycle:
            preStop: # until nobody sends new calls here any more
              sleep: {seconds: 5}
          {{- end }}
          resources:
            requests:
              cpu: {{ .values.cpu.request }}
              memory: {{ .values.memory.request }}
            limits:
              memory: {{ .values.memory.limit }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- if $is.pepper }}
            - name: pepper
              mountPath: /etc/springtide/pepper
              readOnly: true
            {{- end }}
            {{- include "springtide.mounts" $root | nindent 12 }}
            {{- if and $is.balanced $root.Values.frontdoor.tls.existingSecret }}
            - name: tls
              mountPath: /etc/springtide/tls
              readOnly: true
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- if $is.pepper }}
        - name: pepper
          secret:
            secretName: {{ required "pepper.existingSecret: name the secret with the pepper of the API keys" $root.Values.pepper.existingSecret }}
            defaultMode: 0440
            items:
              - key: {{ $root.Values.pepper.key }}
                path: pepper
        {{- end }}
        {{- include "springtide.volumes" $root | nindent 8 }}
        {{- if and $is.balanced $root.Values.frontdoor.tls.existingSecret }}
        - name: tls
          secret:
            secretName: {{ $root.Values.frontdoor.tls.existingSecret }}
            defaultMode: 0440
        {{- end }}
      topologySpreadConstraints:
        {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ $key }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "springtide.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $.component }}
        {{- end }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
{{- end }}

{{/* How Kafka and Redis are spoken to, from existing secrets: environment, mounts and volumes of a pod. */}}
{{- define "springtide.logins" -}}
{{- range $server := list "kafka" "redis" }}
{{- $s := get $.Values $server }}
{{- if $s.tls.enabled }}
- name: SPRINGTIDE_{{ upper $server }}_TLS
  value: "true"
{{- if $s.tls.caSecret }}
- name: SPRINGTIDE_{{ upper $server }}_CA
  value: /etc/springtide/{{ $server }}/ca.crt
{{- end }}
{{- end }}
{{- if $s.auth.existingSecret }}
{{- range $name := list "user" "password" }}
- name: SPRINGTIDE_{{ upper $server }}_{{ upper $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $s.auth.existingSecret }}
      key: {{ $name }}
      optional: {{ and (eq $server "redis") (eq $name "user") }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "springtide.mounts" -}}
{{- range $server := list "kafka" "redis" }}
{{- $s := get $.Values $server }}
{{- if and $s.tls.enabled $s.tls.caSecret }}
- name: {{ $server }}-ca
  mountPath: /etc/springtide/{{ $server }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "springtide.volumes" -}}
{{- range $server := list "kafka" "redis" }}
{{- $s := get $.Values $server }}
{{- if and $s.tls.enabled $s.tls.caSecret }}
- name: {{ $server }}-ca
  secret:
    secretName: {{ $s.tls.caSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{/* A disruption budget of one component. Takes root, component, spare (maxUnavailable). */}}
{{- define "springtide.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "springtide.name" .root }}-{{ .component }}
  labels:
    {{- include "springtide.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  maxUnavailable: {{ .spare }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "springtide.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}
