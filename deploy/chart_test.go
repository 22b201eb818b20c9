package deploy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// given is the least that an installation says.
const given = "kafka: {brokers: [\"k0:9092\", \"k1:9092\", \"k2:9093\"]}\nredis: {addresses: [\"redis:6379\"]}\n" + rest

// rest is what remains of it beside the servers.
const rest = `
authorities: ["cn=https://etax.example/etax?class=B&quota=50/s", "gb.hmrc=https://hmrc.example"]
pepper: {existingSecret: springtide-pepper}
`

// full uses what else there is.
const full = rest + `
kafka: {brokers: ["k0:9092", "k1:9092", "k2:9093"], tls: {enabled: true, caSecret: kafka-ca}, auth: {existingSecret: kafka-login}}
redis: {addresses: ["redis:6379"], tls: {enabled: true}, auth: {existingSecret: redis-login}}
image: {digest: "sha256:` + "0000000000000000000000000000000000000000000000000000000000000000" + `", pullSecrets: [registry]}
otel: {endpoint: "http://collector:4317"}
deadline: "2026-07-20T00:00:00+08:00"
frontdoor: {args: ["--tenant-rate=500"], tls: {existingSecret: door-tls, clientCA: true}, service: {type: LoadBalancer, annotations: {a: b}}}
scaling: {max: 32, prewarm: 4, exact: false}
networkPolicy: {clients: [{namespaceSelector: {}}], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}
podAnnotations: {a: b}
podLabels: {team: tax}
nodeSelector: {disk: fast}
tolerations: [{key: peak, operator: Exists}]
priorityClassName: high
env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}]
serviceAccount: {annotations: {a: b}}
`

// unscaled is for a cluster without KEDA and without network policies.
const unscaled = "scaling: {enabled: false}\nnetworkPolicy: {enabled: false}\nscrapeAnnotations: false\n"

// objects are everything that a chart gives, by kind and name.
type objects struct {
	deployments map[string]appsv1.Deployment
	services    map[string]corev1.Service
	configs     map[string]corev1.ConfigMap
	accounts    map[string]corev1.ServiceAccount
	pods        map[string]corev1.Pod
	budgets     map[string]policyv1.PodDisruptionBudget
	policies    map[string]networkingv1.NetworkPolicy
	scaled      map[string]keda.ScaledObject
}

func none() objects {
	return objects{
		map[string]appsv1.Deployment{},
		map[string]corev1.Service{},
		map[string]corev1.ConfigMap{},
		map[string]corev1.ServiceAccount{},
		map[string]corev1.Pod{},
		map[string]policyv1.PodDisruptionBudget{},
		map[string]networkingv1.NetworkPolicy{},
		map[string]keda.ScaledObject{},
	}
}

// render is `helm template season . --namespace tax -f values`.
func render(values string) (objects, error) {
	chart, err := loader.LoadDir("helm/springtide")
	if err != nil {
		return objects{}, err
	}
	var v map[string]any
	if err := yaml.Unmarshal([]byte(values), &v); err != nil {
		return objects{}, err
	}
	release := common.ReleaseOptions{Name: "season", Namespace: "tax", Revision: 1, IsInstall: true}
	top, err := util.ToRenderValues(chart, v, release, nil)
	if err != nil {
		return objects{}, err
	}
	files, err := engine.Engine{Strict: true}.Render(chart, top)
	if err != nil {
		return objects{}, err
	}
	all := none()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			if err := all.addFile(files[name]); err != nil {
				return all, fmt.Errorf("%s: %w\n%s", name, err, files[name])
			}
		}
	}
	return all, nil
}

func rendered(t *testing.T, values string) objects {
	t.Helper()
	all, err := render(values)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (o objects) addFile(text string) error {
	documents := kyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		doc, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && len(bytes.TrimSpace(doc)) > 0 {
			err = o.add(doc)
		}
		if err != nil {
			return err
		}
	}
}

func (o objects) add(doc []byte) error {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	switch kind.APIVersion + "/" + kind.Kind {
	case "/": // nothing but a comment
		return nil
	case "apps/v1/Deployment":
		return decode(doc, o.deployments, func(d appsv1.Deployment) string { return d.Name })
	case "v1/Service":
		return decode(doc, o.services, func(s corev1.Service) string { return s.Name })
	case "v1/ConfigMap":
		return decode(doc, o.configs, func(c corev1.ConfigMap) string { return c.Name })
	case "v1/ServiceAccount":
		return decode(doc, o.accounts, func(a corev1.ServiceAccount) string { return a.Name })
	case "v1/Pod":
		return decode(doc, o.pods, func(p corev1.Pod) string { return p.Name })
	case "policy/v1/PodDisruptionBudget":
		return decode(doc, o.budgets, func(b policyv1.PodDisruptionBudget) string { return b.Name })
	case "networking.k8s.io/v1/NetworkPolicy":
		return decode(doc, o.policies, func(p networkingv1.NetworkPolicy) string { return p.Name })
	case "keda.sh/v1alpha1/ScaledObject":
		return decode(doc, o.scaled, func(s keda.ScaledObject) string { return s.Name })
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
		return errors.New("an object without a name")
	}
	if _, twice := into[name(v)]; twice {
		return fmt.Errorf("%s is there twice", name(v))
	}
	into[name(v)] = v
	return nil
}

// selected are the names of the deployments whose pods have all of some labels.
func (o objects) selected(have map[string]string) []string {
	return o.taken(labels.SelectorFromSet(have), false)
}

// taken are the names of the deployments whose pods a selector takes, and of the tests.
func (o objects) taken(selector labels.Selector, tests bool) []string {
	var names []string
	for name, d := range o.deployments {
		if selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			names = append(names, strings.TrimPrefix(name, "season-springtide-"))
		}
	}
	for name, p := range o.pods {
		if tests && selector.Matches(labels.Set(p.Labels)) {
			names = append(names, strings.TrimPrefix(name, "season-springtide-"))
		}
	}
	slices.Sort(names)
	return names
}

// eachWay runs a test on the least, the most, and an installation that is not scaled.
func eachWay(t *testing.T, test func(t *testing.T, all objects)) {
	for name, values := range map[string]string{"given": given, "full": full, "not scaled": given + unscaled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, rendered(t, values))
		})
	}
}

func TestAnInstallationIsWhole(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]struct {
		roles                            []string
		services, budgets, scaled, walls int
	}{
		given:            {[]string{"frontdoor", "project", "scaler", "submit", "validate", "webhooks"}, 2, 5, 2, 5},
		full:             {[]string{"frontdoor", "project", "scaler", "submit", "validate", "webhooks"}, 2, 5, 2, 5},
		given + unscaled: {[]string{"frontdoor", "project", "submit", "validate", "webhooks"}, 1, 5, 0, 0},
	} {
		all := rendered(t, values)
		if got := all.selected(nil); !slices.Equal(got, want.roles) {
			t.Errorf("%v, want %v", got, want.roles)
		}
		if len(all.services) != want.services || len(all.budgets) != want.budgets || len(all.scaled) != want.scaled || len(all.policies) != want.walls ||
			len(all.configs) != 1 || len(all.accounts) != 1 || len(all.pods) != 1 {
			t.Errorf("%d services, %d budgets, %d scaled objects, %d policies, %d configs, %d accounts, %d tests",
				len(all.services), len(all.budgets), len(all.scaled), len(all.policies), len(all.configs), len(all.accounts), len(all.pods))
		}
	}
}

func TestEveryPodFindsWhatItNames(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, all objects) {
		specs := map[string]corev1.PodSpec{}
		for name, d := range all.deployments {
			specs[name] = d.Spec.Template.Spec
			if _, ok := all.accounts[d.Spec.Template.Spec.ServiceAccountName]; !ok {
				t.Errorf("%s: there is no account %q", name, d.Spec.Template.Spec.ServiceAccountName)
			}
			if got := all.selected(d.Spec.Selector.MatchLabels); len(got) != 1 {
				t.Errorf("%s selects the pods of %v", name, got)
			}
		}
		for name, p := range all.pods {
			specs[name] = p.Spec
		}
		for name, spec := range specs {
			c := spec.Containers[0]
			for _, from := range c.EnvFrom {
				if _, ok := all.configs[from.ConfigMapRef.Name]; !ok {
					t.Errorf("%s: there is no config map %s", name, from.ConfigMapRef.Name)
				}
			}
			for _, m := range c.VolumeMounts {
				if !slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
					t.Errorf("%s: there is no volume %s", name, m.Name)
				}
			}
		}
		for name, s := range all.services {
			took := all.selected(s.Spec.Selector)
			if len(took) != 1 {
				t.Fatalf("service %s selects %v", name, took)
			}
			for _, p := range s.Spec.Ports {
				if !hasPort(all.deployments["season-springtide-"+took[0]], p.TargetPort.StrVal, p.Port) {
					t.Errorf("service %s: %s has no port %s (%d)", name, took[0], p.TargetPort.StrVal, p.Port)
				}
			}
		}
		for name, b := range all.budgets {
			if took := all.selected(b.Spec.Selector.MatchLabels); len(took) != 1 || b.Spec.MaxUnavailable == nil {
				t.Errorf("budget %s selects %v", name, took)
			}
		}
	})
}

func hasPort(d appsv1.Deployment, name string, number int32) bool {
	return slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
		return p.Name == name && (number == 0 || p.ContainerPort == number)
	})
}

// podSpecs are those of the deployments and of the pods that run by themselves, by name.
func (all objects) podSpecs() map[string]corev1.PodSpec {
	specs := map[string]corev1.PodSpec{}
	for name, d := range all.deployments {
		specs[name] = d.Spec.Template.Spec
	}
	for name, p := range all.pods {
		specs[name] = p.Spec
	}
	return specs
}

func TestEveryPodIsHardened(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, all objects) {
		for name, spec := range all.podSpecs() {
			pod, c := spec.SecurityContext, spec.Containers[0].SecurityContext
			if len(spec.Containers) != 1 || *spec.AutomountServiceAccountToken || *spec.EnableServiceLinks || spec.HostNetwork {
				t.Errorf("%s: more than one container, or ties to the cluster or the host", name)
			}
			if !*pod.RunAsNonRoot || *pod.RunAsUser == 0 || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
				*c.AllowPrivilegeEscalation || !*c.ReadOnlyRootFilesystem || !*c.RunAsNonRoot || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s may do more than it needs: %+v %+v", name, pod, c)
			}
			for _, v := range spec.Volumes {
				if v.Secret == nil && (v.EmptyDir == nil || v.EmptyDir.SizeLimit.IsZero()) {
					t.Errorf("%s: volume %s", name, v.Name)
				}
				if v.Secret != nil && *v.Secret.DefaultMode&0o7 != 0 {
					t.Errorf("%s: everybody may read %s", name, v.Name)
				}
			}
		}
	})
}

func TestEveryPodIsWatchedAndMayDrain(t *testing.T) {
	t.Parallel()
	const drain = 40 // seconds: a stage drains within 30, a part of a process stops within 40
	eachWay(t, func(t *testing.T, all objects) {
		for name, d := range all.deployments {
			spec := d.Spec.Template.Spec
			c := spec.Containers[0]
			for path, probe := range map[string]*corev1.Probe{"/readyz": c.ReadinessProbe, "/healthz": c.LivenessProbe} {
				if probe == nil || probe.HTTPGet.Path != path || !hasPort(d, probe.HTTPGet.Port.StrVal, 7090) {
					t.Errorf("%s: probe of %s: %+v", name, path, probe)
				}
			}
			if c.StartupProbe == nil || c.StartupProbe.PeriodSeconds*c.StartupProbe.FailureThreshold < 300 {
				t.Errorf("%s: has no time to start: %+v", name, c.StartupProbe)
			}
			grace := int64(drain)
			if c.Lifecycle != nil {
				grace += c.Lifecycle.PreStop.Sleep.Seconds
			}
			if *spec.TerminationGracePeriodSeconds <= grace {
				t.Errorf("%s: killed after %d s, a drain may take %d", name, *spec.TerminationGracePeriodSeconds, grace)
			}
			if slices.Contains(c.Args, "serve") != (c.Lifecycle != nil) {
				t.Errorf("%s: who is behind a service goes on while clients are still sent to it, nobody else", name)
			}
			if c.Resources.Limits.Memory().Value() < c.Resources.Requests.Memory().Value() || !c.Resources.Limits.Cpu().IsZero() {
				t.Errorf("%s: resources %+v", name, c.Resources)
			}
		}
	})
}

func TestEveryScaledStageReachesTheScaler(t *testing.T) {
	t.Parallel()
	for values, most := range map[string]int32{given: 64, full: 32} {
		all := rendered(t, values)
		for name, s := range all.scaled {
			d, ok := all.deployments[s.Spec.ScaleTargetRef.Name]
			if !ok || d.Spec.Replicas != nil {
				t.Fatalf("%s: its deployment is missing, or gives a number of replicas of its own", name)
			}
			if *s.Spec.MinReplicaCount != 0 || *s.Spec.MaxReplicaCount != most {
				t.Errorf("%s: %d to %d replicas", name, *s.Spec.MinReplicaCount, *s.Spec.MaxReplicaCount)
			}
			if err := keda.ValidateTriggers(s.Spec.Triggers); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			trigger, args := s.Spec.Triggers[0], d.Spec.Template.Spec.Containers[0].Args
			if trigger.Type != "external-push" || !slices.Equal(args[:2], []string{"work", trigger.Metadata["group"]}) {
				t.Errorf("%s: %+v does not belong to %v", name, trigger, args)
			}
			host, port, _ := strings.Cut(trigger.Metadata["scalerAddress"], ":")
			service, ok := all.services[strings.TrimSuffix(host, ".tax")]
			if !ok || fmt.Sprint(service.Spec.Ports[0].Port) != port {
				t.Errorf("%s: no service at %s", name, trigger.Metadata["scalerAddress"])
			}
			behavior := s.Spec.Advanced.HorizontalPodAutoscalerConfig.Behavior
			if *behavior.ScaleUp.StabilizationWindowSeconds != 0 || *behavior.ScaleDown.StabilizationWindowSeconds != 0 ||
				behavior.ScaleUp.Policies[0].Value < most || behavior.ScaleDown.Policies[0].Value < most {
				t.Errorf("%s: the wanted number is not reached in one jump: %+v", name, behavior)
			}
			if exact := behavior.ScaleUp.Tolerance != nil && behavior.ScaleUp.Tolerance.IsZero(); exact != (most == 64) {
				t.Errorf("%s: exact is %v", name, exact)
			}
		}
		scaler := all.deployments["season-springtide-scaler"]
		if *scaler.Spec.Replicas != 1 || scaler.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType ||
			!slices.Contains(scaler.Spec.Template.Spec.Containers[0].Args, fmt.Sprintf("--max=%d", most)) {
			t.Errorf("the scaler: %+v", scaler.Spec)
		}
	}
}

func TestOnlyWhatIsNamedIsReached(t *testing.T) {
	t.Parallel()
	all := rendered(t, full)
	want := map[string]struct{ pods, in, out []string }{
		"season-springtide": {
			[]string{"doctor", "frontdoor", "project", "scaler", "submit", "validate", "webhooks"},
			[]string{"admin"},
			[]string{"53", "53", "9092", "9093", "6379", "4317"},
		},
		"season-springtide-frontdoor":   {[]string{"frontdoor"}, []string{"grpc", "http"}, nil},
		"season-springtide-authorities": {[]string{"doctor", "submit"}, nil, []string{"443"}},
		"season-springtide-webhooks":    {[]string{"webhooks"}, nil, []string{"443"}},
		"season-springtide-scaler":      {[]string{"scaler"}, []string{"keda"}, nil},
	}
	for name, p := range all.policies {
		var in, out []string
		for _, r := range p.Spec.Ingress {
			if len(r.From) == 0 {
				t.Errorf("%s lets everybody in", name)
			}
			for _, port := range r.Ports {
				in = append(in, port.Port.String())
			}
		}
		for _, r := range p.Spec.Egress {
			for _, port := range r.Ports {
				out = append(out, port.Port.String())
			}
		}
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		pods, w := all.taken(selector, true), want[name]
		if !slices.Equal(pods, w.pods) || !slices.Equal(in, w.in) || !slices.Equal(out, w.out) {
			t.Errorf("%s: pods %v, in %v, out %v; want %+v", name, pods, in, out, w)
		}
		for _, pod := range pods {
			for _, port := range in {
				if _, runs := all.deployments["season-springtide-"+pod]; runs && !hasPort(all.deployments["season-springtide-"+pod], port, 0) {
					t.Errorf("%s: %s has no port %s", name, pod, port)
				}
			}
		}
	}
}
