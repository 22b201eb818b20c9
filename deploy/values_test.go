package deploy

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestSettingsReachThePods(t *testing.T) {
	t.Parallel()
	all := rendered(t, full)
	config := all.configs["season-springtide"].Data
	for name, want := range map[string]string{
		"SPRINGTIDE_KAFKA":            "k0:9092,k1:9092,k2:9093",
		"SPRINGTIDE_REDIS":            "redis:6379",
		"SPRINGTIDE_AUTHORITY":        "cn=https://etax.example/etax?class=B&quota=50/s,gb.hmrc=https://hmrc.example",
		"SPRINGTIDE_REPLICATION":      "3",
		"SPRINGTIDE_PARTITIONS":       "64",
		"SPRINGTIDE_DEADLINE":         "2026-07-20T00:00:00+08:00",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
		"OTEL_TRACES_SAMPLER_ARG":     "0.05",
	} {
		if config[name] != want {
			t.Errorf("%s is %q, want %q", name, config[name], want)
		}
	}
	for name, d := range all.deployments {
		pod := d.Spec.Template
		if !strings.HasPrefix(pod.Spec.Containers[0].Image, "springtide@sha256:") || pod.Labels["team"] != "tax" || pod.Annotations["a"] != "b" ||
			pod.Spec.PriorityClassName != "high" || len(pod.Spec.Tolerations) != 1 || pod.Spec.NodeSelector["disk"] != "fast" {
			t.Errorf("%s: %+v", name, pod)
		}
	}
	before := rendered(t, given).deployments["season-springtide-submit"].Spec.Template.Annotations["checksum/config"]
	if after := rendered(t, given+"deadline: 2026-07-20T00:00:00Z\n").deployments["season-springtide-submit"].Spec.Template.Annotations["checksum/config"]; after == before {
		t.Error("a changed setting does not restart the pods")
	}
}

// Passwords come from secrets that are there, as variables; certificates as files.
func TestSecretsReachThePods(t *testing.T) {
	t.Parallel()
	all := rendered(t, full)
	for name, spec := range all.podSpecs() {
		c, env, mounted := spec.Containers[0], map[string]corev1.EnvVar{}, map[string]string{}
		for _, v := range c.Env {
			env[v.Name] = v
		}
		for _, v := range c.VolumeMounts {
			mounted[v.Name] = v.MountPath
		}
		for variable, secret := range map[string]string{
			"SPRINGTIDE_KAFKA_USER": "kafka-login/user", "SPRINGTIDE_KAFKA_PASSWORD": "kafka-login/password",
			"SPRINGTIDE_REDIS_USER": "redis-login/user", "SPRINGTIDE_REDIS_PASSWORD": "redis-login/password",
		} {
			from := env[variable].ValueFrom
			if from == nil || from.SecretKeyRef.Name+"/"+from.SecretKeyRef.Key != secret || *from.SecretKeyRef.Optional != (secret == "redis-login/user") {
				t.Errorf("%s: %s is not %s: %+v", name, variable, secret, from)
			}
		}
		if env["SPRINGTIDE_KAFKA_CA"].Value != mounted["kafka-ca"]+"/ca.crt" || env["SPRINGTIDE_REDIS_TLS"].Value != "true" || env["SPRINGTIDE_REDIS_CA"].Name != "" {
			t.Errorf("%s: %+v, %v", name, c.Env, mounted)
		}
		door := strings.HasSuffix(name, "-frontdoor")
		keeps := door || strings.HasSuffix(name, "-webhooks")
		if (env["SPRINGTIDE_PEPPER"].Value == mounted["pepper"]+"/pepper") != keeps || strings.Contains(strings.Join(c.Args, " "), "--pepper") || (mounted["tls"] != "") != door {
			t.Errorf("%s: %+v, %v", name, c.Env, mounted)
		}
		if door && !slices.Contains(c.Args, "--tls-client-ca="+mounted["tls"]+"/ca.crt") {
			t.Errorf("%s: %v", name, c.Args)
		}
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	t.Parallel()
	for wrong, want := range map[string]string{
		"": "brokers",
		strings.Replace(given, "springtide-pepper", `""`, 1): "existingSecret",
		strings.Replace(given, "k0:9092", "k0", 1):           "brokers/0",
		strings.Replace(given, "cn=https", "cn:https", 1):    "authorities/0",
		given + "kafak: {}\n":                                "kafak",
		given + "submit: {replica: 3}\n":                     "replica",
		given + "project: {replicas: 0}\n":                   "replicas",
		given + "scaling: {max: 0}\n":                        "max",
		given + "frontdoor: {args: [tenant-rate]}\n":         "args",
		given + "image: {digest: latest}\n":                  "digest",
		given + "validate: {memory: {go: 450M}}\n":           "memory/go",
		given + "networkPolicy: {authorityPorts: []}\n":      "authorityPorts",
		given + "deadline: tomorrow\n":                       "deadline",
	} {
		if _, err := render(wrong); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want something about %s", wrong, err, want)
		}
	}
}

func TestAFieldThatDoesNotExistIsRefused(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replica: 3}",
		"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec: {cooldown: 3}",
		"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec: {minReplicaCount: none}",
		"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\nspec: {maxUnavailable: 1, maxUnavailable: 2}",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: \"\"}",
		"apiVersion: v1\nkind: Nothing\nmetadata: {name: x}",
	} {
		if err := none().add([]byte(doc)); err == nil {
			t.Errorf("taken: %s", doc)
		}
	}
}
