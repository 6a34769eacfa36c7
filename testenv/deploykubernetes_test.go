package testenv_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// object is what the tests look at of a Kubernetes object.
type object struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Automount *bool `yaml:"automountServiceAccountToken"`
	Spec      struct {
		ServiceName string           `yaml:"serviceName"`
		Selector    map[string]any   `yaml:"selector"`
		PodSelector map[string]any   `yaml:"podSelector"`
		Ports       []port           `yaml:"ports"`
		PolicyTypes []string         `yaml:"policyTypes"`
		Ingress     []map[string]any `yaml:"ingress"`
		Egress      []map[string]any `yaml:"egress"`
		Claims      []struct {
			Metadata struct {
				Name string `yaml:"name"`
			} `yaml:"metadata"`
		} `yaml:"volumeClaimTemplates"`
		Template struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec pod `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

type pod struct {
	ServiceAccount string         `yaml:"serviceAccountName"`
	Automount      *bool          `yaml:"automountServiceAccountToken"`
	ServiceLinks   *bool          `yaml:"enableServiceLinks"`
	Grace          int            `yaml:"terminationGracePeriodSeconds"`
	Security       map[string]any `yaml:"securityContext"`
	Init           []container    `yaml:"initContainers"`
	Containers     []container    `yaml:"containers"`
	Volumes        []struct {
		Name string `yaml:"name"`
	} `yaml:"volumes"`
}

type container struct {
	Name      string         `yaml:"name"`
	Image     string         `yaml:"image"`
	Security  map[string]any `yaml:"securityContext"`
	Liveness  map[string]any `yaml:"livenessProbe"`
	Readiness map[string]any `yaml:"readinessProbe"`
	Resources struct {
		Limits map[string]string `yaml:"limits"`
	} `yaml:"resources"`
	Ports []port `yaml:"ports"`
	Env   []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"env"`
	Mounts []struct {
		Name     string `yaml:"name"`
		ReadOnly bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type port struct {
	Name      string `yaml:"name"`
	Container int    `yaml:"containerPort"`
	Port      int    `yaml:"port"`
	Target    string `yaml:"targetPort"`
}

// objects are those of a folder of deploy/kubernetes, its kustomization left out.
func objects(t *testing.T, folder string) []object {
	t.Helper()
	var all []object
	for _, name := range deployed(t, "kubernetes/"+folder, "*.yaml") {
		for _, o := range documents[object](t, name) {
			if o.Kind != "Kustomization" && o.Kind != "Component" && o.Kind != "" {
				all = append(all, o)
			}
		}
	}
	return all
}

// kubernetesPlaces are the daemons of the overlays: the base's variables and the
// overlay's.
func kubernetesPlaces(t *testing.T) []place {
	t.Helper()
	var places []place
	for _, side := range []struct{ folder, name string }{{"outside", "sallyport-proxy"}, {"inside", "sallyport-agent"}} {
		for _, form := range []string{"secrets", "csi"} {
			env := map[string]string{"targets file": "kubernetes/base/inside/targets.yaml"}
			for _, o := range append(objects(t, "base/"+side.folder), objects(t, "overlays/"+form+"/"+side.folder)...) {
				for _, c := range o.Spec.Template.Spec.Containers {
					for _, v := range c.Env {
						if o.Metadata.Name == side.name {
							env[v.Name] = v.Value
						}
					}
				}
			}
			places = append(places, place{"kubernetes " + form + " " + side.folder, side.name, env})
		}
	}
	return places
}

// What runs has no right that it does not need, in every container.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	pods := 0
	for _, o := range slices.Concat(objects(t, "base"), objects(t, "overlays")) {
		spec := o.Spec.Template.Spec
		for _, c := range slices.Concat(spec.Init, spec.Containers) {
			if c.Image != "" { // else a patch
				restricted(t, o.Metadata.Name+" "+c.Name, c)
			}
		}
		if o.Kind == "ServiceAccount" && !isFalse(o.Automount) {
			t.Errorf("ServiceAccount %s mounts its token", o.Metadata.Name)
		}
		if spec.ServiceAccount == "" {
			continue
		}
		pods++
		if !isFalse(spec.Automount) || !isFalse(spec.ServiceLinks) {
			t.Errorf("%s: a token or service links", o.Metadata.Name)
		}
		if spec.Security["runAsNonRoot"] != true || fmt.Sprint(spec.Security["seccompProfile"]) != "map[type:RuntimeDefault]" {
			t.Errorf("%s: the pod's security context is %v", o.Metadata.Name, spec.Security)
		}
		if spec.Grace <= 20 {
			t.Errorf("%s has %d s to drain, which takes 20", o.Metadata.Name, spec.Grace)
		}
		for _, c := range spec.Containers {
			if c.Liveness == nil || c.Readiness == nil {
				t.Errorf("%s: no probes", c.Name)
			}
		}
	}
	if pods != 3 {
		t.Errorf("%d kinds of pods, want proxy, agent and Prometheus", pods)
	}
}

func restricted(t *testing.T, name string, c container) {
	t.Helper()
	want := map[string]string{
		"allowPrivilegeEscalation": "false", "readOnlyRootFilesystem": "true", "runAsNonRoot": "true",
		"capabilities": "map[drop:[ALL]]", "seccompProfile": "map[type:RuntimeDefault]",
	}
	for key, value := range want {
		if have := fmt.Sprint(c.Security[key]); have != value {
			t.Errorf("%s: %s is %s, want %s", name, key, have, value)
		}
	}
	if len(c.Security) != len(want) {
		t.Errorf("%s: %v", name, c.Security)
	}
	if c.Resources.Limits["memory"] == "" {
		t.Errorf("%s has no limit on memory", name)
	}
}

func isFalse(b *bool) bool { return b != nil && !*b }

// Selectors, Services, ports and volumes name what is there.
func TestManifestsFitTogether(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"outside", "inside"} {
		all := objects(t, "base/"+side)
		labels := map[string]bool{}
		named := map[string]bool{}
		containerPorts := map[int]bool{53: true, 9153: true, 50051: true} // of others
		for _, o := range all {
			named[o.Kind+" "+o.Metadata.Name] = true
			if o.Kind == "StatefulSet" {
				labels[o.Spec.Template.Metadata.Labels["app.kubernetes.io/name"]] = true
			}
			for _, c := range o.Spec.Template.Spec.Containers {
				for _, p := range c.Ports {
					containerPorts[p.Container], named["port "+p.Name] = true, true
				}
			}
		}
		if !named["NetworkPolicy default-deny"] {
			t.Errorf("%s is not closed by default", side)
		}
		for _, o := range all {
			fits(t, o, labels, named, containerPorts)
		}
	}
}

func fits(t *testing.T, o object, labels, named map[string]bool, containerPorts map[int]bool) {
	t.Helper()
	selector := fmt.Sprint(o.Spec.Selector, o.Spec.PodSelector)
	if name, ok := strings.CutPrefix(selector[strings.Index(selector, "app.kubernetes.io/name")+1:], "pp.kubernetes.io/name:"); ok {
		if name = strings.FieldsFunc(name, func(r rune) bool { return r == ']' || r == ' ' })[0]; !labels[name] {
			t.Errorf("%s %s selects %s, which nothing is", o.Kind, o.Metadata.Name, name)
		}
	}
	if o.Kind == "StatefulSet" {
		if !named["Service "+o.Spec.ServiceName] || !named["ServiceAccount "+o.Spec.Template.Spec.ServiceAccount] || !named["PodDisruptionBudget "+o.Metadata.Name] {
			t.Errorf("%s lacks its Service, ServiceAccount or PodDisruptionBudget", o.Metadata.Name)
		}
		volumes := map[string]bool{"identity": true} // the overlay's
		for _, v := range o.Spec.Template.Spec.Volumes {
			volumes[v.Name] = true
		}
		for _, c := range o.Spec.Claims {
			volumes[c.Metadata.Name] = true
		}
		for _, m := range o.Spec.Template.Spec.Containers[0].Mounts {
			if !volumes[m.Name] || !m.ReadOnly && m.Name != "data" {
				t.Errorf("%s mounts %s, which is no volume, or to write", o.Metadata.Name, m.Name)
			}
		}
	}
	for _, p := range o.Spec.Ports {
		if !named["port "+p.Target] {
			t.Errorf("Service %s: no container has the port %s", o.Metadata.Name, p.Target)
		}
	}
	for _, rule := range slices.Concat(o.Spec.Ingress, o.Spec.Egress) {
		ports, _ := rule["ports"].([]any)
		if len(ports) == 0 {
			t.Errorf("NetworkPolicy %s opens all ports", o.Metadata.Name)
		}
		for _, p := range ports {
			if number, _ := p.(map[string]any)["port"].(int); !containerPorts[number] {
				t.Errorf("NetworkPolicy %s opens %d, on which nothing listens", o.Metadata.Name, number)
			}
		}
	}
}

// The two Prometheus differ in their number alone.
func TestPrometheusPairsAreAlike(t *testing.T) {
	t.Parallel()
	const folder = deploy + "/kubernetes/base/outside/prometheus-"
	first, second := string(read(t, folder+"0.yml")), string(read(t, folder+"1.yml"))
	for _, change := range []string{"Prometheus %s scrapes through proxy %[1]s,", "replica: prometheus-%s", "https://sallyport-proxy-%s."} {
		first = strings.Replace(first, fmt.Sprintf(change, "0"), fmt.Sprintf(change, "1"), 1)
	}
	if first != second {
		t.Errorf("prometheus-1.yml is not what it should be:\n%s", first)
	}
}
