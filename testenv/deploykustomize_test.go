package testenv_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// kustomization is what names files.
type kustomization struct {
	Resources  []string `yaml:"resources"`
	Components []string `yaml:"components"`
	Patches    []struct {
		Path string `yaml:"path"`
	} `yaml:"patches"`
	Generators []struct {
		Files []string `yaml:"files"`
	} `yaml:"configMapGenerator"`
}

// Every file that a kustomization names is there.
func TestKustomizationsAreWhole(t *testing.T) {
	t.Parallel()
	for _, name := range deployed(t, ".", "kustomization.yaml") {
		k := documents[kustomization](t, name)[0]
		named := slices.Concat(k.Resources, k.Components)
		for _, p := range k.Patches {
			named = append(named, p.Path)
		}
		for _, g := range k.Generators {
			named = append(named, g.Files...)
		}
		for _, path := range named {
			path = filepath.Join(filepath.Dir(name), path)
			if info, err := os.Stat(path); err != nil {
				t.Error(name, err)
			} else if _, err := os.Stat(filepath.Join(path, "kustomization.yaml")); info.IsDir() && err != nil {
				t.Error(name, err)
			}
		}
	}
}

// kustomize itself builds each overlay, where it is installed; it comes with kubectl.
// Debian's is too old for components, so CI has none to install.
func TestOverlaysBuild(t *testing.T) {
	t.Parallel()
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed")
	}
	overlays, err := filepath.Glob(deploy + "/kubernetes/overlays/*/*")
	if err != nil || len(overlays) != 4 {
		t.Fatal(overlays, err)
	}
	for _, overlay := range append(overlays, deploy+"/grafana") {
		if out, err := exec.Command(kubectl, "kustomize", overlay).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", overlay, out)
		}
	}
}
