// These tests read the manifests with which Kubernetes and KEDA run the scaled
// stages as strictly as a server would; they are in a module
// of their own, so that the product does not depend on Kubernetes.
package keda

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// A scaledObject has the fields of keda.sh/v1alpha1 that may stand in a manifest.
type scaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ScaleTargetRef struct {
			Name                   string `json:"name"`
			APIVersion             string `json:"apiVersion,omitempty"`
			Kind                   string `json:"kind,omitempty"`
			EnvSourceContainerName string `json:"envSourceContainerName,omitempty"`
		} `json:"scaleTargetRef"`
		PollingInterval       *int32 `json:"pollingInterval,omitempty"`
		InitialCooldownPeriod *int32 `json:"initialCooldownPeriod,omitempty"`
		CooldownPeriod        *int32 `json:"cooldownPeriod,omitempty"`
		IdleReplicaCount      *int32 `json:"idleReplicaCount,omitempty"`
		MinReplicaCount       *int32 `json:"minReplicaCount,omitempty"`
		MaxReplicaCount       *int32 `json:"maxReplicaCount,omitempty"`
		Advanced              *struct {
			RestoreToOriginalReplicaCount bool `json:"restoreToOriginalReplicaCount,omitempty"`
			HorizontalPodAutoscalerConfig *struct {
				Name     string                                         `json:"name,omitempty"`
				Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior,omitempty"`
			} `json:"horizontalPodAutoscalerConfig,omitempty"`
		} `json:"advanced,omitempty"`
		Triggers []struct {
			Type              string            `json:"type"`
			Name              string            `json:"name,omitempty"`
			UseCachedMetrics  bool              `json:"useCachedMetrics,omitempty"`
			Metadata          map[string]string `json:"metadata"`
			AuthenticationRef *struct {
				Name string `json:"name"`
				Kind string `json:"kind,omitempty"`
			} `json:"authenticationRef,omitempty"`
			MetricType autoscalingv2.MetricTargetType `json:"metricType,omitempty"`
		} `json:"triggers"`
		Fallback *struct {
			FailureThreshold int32  `json:"failureThreshold"`
			Replicas         int32  `json:"replicas"`
			Behavior         string `json:"behavior,omitempty"`
		} `json:"fallback,omitempty"`
	} `json:"spec"`
}

// manifests are all objects of the folder, by kind.
type manifests struct {
	deployments map[string]appsv1.Deployment
	services    map[string]corev1.Service
	configs     map[string]corev1.ConfigMap
	scaled      map[string]scaledObject
}

func read(t *testing.T) manifests {
	t.Helper()
	m := manifests{map[string]appsv1.Deployment{}, map[string]corev1.Service{}, map[string]corev1.ConfigMap{}, map[string]scaledObject{}}
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents := kyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
		for {
			doc, err := documents.Read()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = m.add(doc)
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
	return m
}

func (m manifests) add(doc []byte) error {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	switch kind.APIVersion + "/" + kind.Kind {
	case "apps/v1/Deployment":
		return decode(doc, m.deployments, func(d appsv1.Deployment) string { return d.Name })
	case "v1/Service":
		return decode(doc, m.services, func(s corev1.Service) string { return s.Name })
	case "v1/ConfigMap":
		return decode(doc, m.configs, func(c corev1.ConfigMap) string { return c.Name })
	case "keda.sh/v1alpha1/ScaledObject":
		return decode(doc, m.scaled, func(s scaledObject) string { return s.Name })
	}
	return fmt.Errorf("unexpected %s %s", kind.APIVersion, kind.Kind)
}

// decode refuses fields that the kind does not have, and fields that are given twice.
func decode[T any](doc []byte, into map[string]T, name func(T) string) error {
	var v T
	if err := yaml.UnmarshalStrict(doc, &v); err != nil {
		return err
	}
	if name(v) == "" {
		return fmt.Errorf("an object without a name")
	}
	if _, twice := into[name(v)]; twice {
		return fmt.Errorf("%s is there twice", name(v))
	}
	into[name(v)] = v
	return nil
}

func TestEveryScaledStageReachesTheScaler(t *testing.T) {
	t.Parallel()
	m := read(t)
	if len(m.scaled) != 2 {
		t.Fatalf("%d scaled objects, want validate and submit", len(m.scaled))
	}
	for name, s := range m.scaled {
		d, ok := m.deployments[s.Spec.ScaleTargetRef.Name]
		if !ok || d.Spec.Replicas != nil {
			t.Errorf("%s: its deployment is missing, or gives a number of replicas of its own", name)
			continue
		}
		if *s.Spec.MinReplicaCount != 0 || *s.Spec.MaxReplicaCount < 1 {
			t.Errorf("%s: %d to %d replicas", name, *s.Spec.MinReplicaCount, *s.Spec.MaxReplicaCount)
		}
		if len(s.Spec.Triggers) != 1 {
			t.Fatalf("%s: %d triggers", name, len(s.Spec.Triggers))
		}
		trigger := s.Spec.Triggers[0]
		group := trigger.Metadata["group"]
		if trigger.Type != "external-push" || trigger.MetricType != autoscalingv2.AverageValueMetricType || !slices.Equal(d.Spec.Template.Spec.Containers[0].Args[:2], []string{"work", group}) {
			t.Errorf("%s: %+v does not belong to %v", name, trigger, d.Spec.Template.Spec.Containers[0].Args)
		}
		host, port, _ := strings.Cut(trigger.Metadata["scalerAddress"], ":")
		service, ok := m.services[host]
		if !ok || fmt.Sprint(service.Spec.Ports[0].Port) != port {
			t.Errorf("%s: no service at %s", name, trigger.Metadata["scalerAddress"])
		}
		for _, rules := range []*autoscalingv2.HPAScalingRules{s.Spec.Advanced.HorizontalPodAutoscalerConfig.Behavior.ScaleUp, s.Spec.Advanced.HorizontalPodAutoscalerConfig.Behavior.ScaleDown} {
			if *rules.StabilizationWindowSeconds != 0 || !rules.Tolerance.IsZero() || rules.Policies[0].Value < *s.Spec.MaxReplicaCount {
				t.Errorf("%s: the wanted number is not reached in one jump: %+v", name, rules)
			}
		}
	}
}

func TestEveryPodFindsWhatItNamesAndMayDrain(t *testing.T) {
	t.Parallel()
	m := read(t)
	for name, d := range m.deployments {
		pod := d.Spec.Template
		for k, v := range d.Spec.Selector.MatchLabels {
			if pod.Labels[k] != v {
				t.Errorf("%s: its selector does not match its pods", name)
			}
		}
		for _, c := range pod.Spec.Containers {
			for _, from := range c.EnvFrom {
				if _, ok := m.configs[from.ConfigMapRef.Name]; !ok {
					t.Errorf("%s: there is no config map %s", name, from.ConfigMapRef.Name)
				}
			}
			if c.Args[0] == "work" && (pod.Spec.TerminationGracePeriodSeconds == nil || *pod.Spec.TerminationGracePeriodSeconds < 45) {
				t.Errorf("%s: killed before it has drained", name)
			}
		}
	}
	for name, s := range m.services {
		found := false
		for _, d := range m.deployments {
			all := true
			for k, v := range s.Spec.Selector {
				all = all && d.Spec.Template.Labels[k] == v
			}
			found = found || all
		}
		if !found {
			t.Errorf("service %s selects nobody", name)
		}
	}
}

func TestAFieldThatDoesNotExistIsRefused(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("submit.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][2]string{{"cooldownPeriod:", "cooldown:"}, {"selectPolicy:", "selectPolicies:"}, {"minReplicaCount: 0", "minReplicaCount: none"}} {
		spoilt := strings.Replace(string(raw), wrong[0], wrong[1], 1)
		_, doc, _ := strings.Cut(spoilt, "\n---\n")
		if err := (manifests{scaled: map[string]scaledObject{}}).add([]byte(doc)); err == nil {
			t.Errorf("%s was taken", wrong[1])
		}
	}
}
