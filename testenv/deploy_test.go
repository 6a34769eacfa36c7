package testenv_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/seed-951114d4/sallyport/testenv"
)

const deploy = "../deploy"

// deployed lists the files below a folder of deploy/ that a pattern matches.
func deployed(t *testing.T, folder, pattern string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join(deploy, folder), func(path string, d fs.DirEntry, err error) error {
		if matched, _ := filepath.Match(pattern, filepath.Base(path)); err == nil && matched && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("no %s in deploy/%s", pattern, folder)
	}
	return names
}

// documents decodes each document of a YAML file. A key that stands twice is a fault.
func documents[T any](t *testing.T, name string) []T {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader(read(t, name)))
	var all []T
	for {
		var one T
		switch err := decoder.Decode(&one); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, one)
	}
}

func TestDeployParses(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		for _, name := range deployed(t, ".", pattern) {
			if len(documents[map[string]any](t, name)) == 0 {
				t.Errorf("%s is empty", name)
			}
		}
	}
}

// The command that lists what to edit leaves no name of the examples out.
func TestDeployListsWhatToEdit(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`(?m)^grep .*$`).FindString(string(read(t, deploy+"/README.md")))
	list := exec.Command("/bin/sh", "-c", command)
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	for _, name := range deployed(t, ".", "*") {
		if ext := filepath.Ext(name); ext == ".md" || ext == ".rego" || !bytes.Contains(read(t, name), []byte("example.org")) {
			continue
		}
		if !bytes.Contains(out, []byte(strings.TrimPrefix(name, "../")+":")) {
			t.Errorf("%s is not listed", name)
		}
	}
}

// Nobody is to copy a key out of an example, and no example is to hold one.
func TestDeployHoldsNoKey(t *testing.T) {
	t.Parallel()
	for _, name := range deployed(t, ".", "*") {
		if bytes.Contains(read(t, name), []byte("-----BEGIN")) {
			t.Errorf("%s holds PEM", name)
		}
	}
}

// The policy to start from is builtin:prod, but for its data.
func TestDeployedPolicyIsProd(t *testing.T) {
	t.Parallel()
	shipped, err := filepath.Glob("../policies/prod/*")
	if err != nil || len(shipped) == 0 {
		t.Fatal(err)
	}
	listed := documents[kustomization](t, deploy+"/policy/kustomization.yaml")[0]
	for _, name := range shipped {
		base := filepath.Base(name)
		if base == "README.md" {
			continue
		}
		if copied := filepath.Join(deploy, "policy/prod", base); base != "data.json" && !bytes.Equal(read(t, name), read(t, copied)) {
			t.Errorf("%s differs: cp %s %s", copied, name, copied)
		}
		if !slices.Contains(listed.Generators[0].Files, "prod/"+base) {
			t.Errorf("the ConfigMap lacks %s", base)
		}
	}
	out, err := exec.Command(testenv.Build(t, "sallyport"), "policy", "check", deploy+"/policy/prod").CombinedOutput()
	if err != nil {
		t.Errorf("the policy does not load: %s", out)
	}
}

// What enters an image's build is what git tracks: less, and the version that Go
// stamps is "+dirty"; more, and a key that lies about could be in it.
func TestContainerContextIsWhatIsTracked(t *testing.T) {
	t.Parallel()
	allowed := []string{}
	for _, line := range strings.Split(string(read(t, "../.dockerignore")), "\n") {
		if name, ok := strings.CutPrefix(line, "!"); ok {
			allowed = append(allowed, name)
		} else if line != "" && line != "*" && !strings.HasPrefix(line, "#") {
			t.Errorf(".dockerignore: %s: every line but * allows something", line)
		}
	}
	tracked := []string{".git"}
	for _, name := range output(t, "git", "ls-files") {
		first, _, _ := strings.Cut(name, "/")
		tracked = append(tracked, first)
	}
	slices.Sort(tracked)
	if tracked = slices.Compact(tracked); !slices.Equal(allowed, tracked) {
		t.Errorf(".dockerignore allows %v, git tracks %v", allowed, tracked)
	}
}

// Every image ends as a user that is not root, and what it starts exists.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	text := string(read(t, deploy+"/container/Containerfile"))
	for _, want := range []string{"FROM scratch AS base", "USER 65532:65532", "--platform=$BUILDPLATFORM"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	var programs []string
	for _, entry := range regexp.MustCompile(`ENTRYPOINT \["/(\S+)"\]`).FindAllStringSubmatch(text, -1) {
		if copied := fmt.Sprintf("COPY --from=build /src/bin/%s /%[1]s\n", entry[1]); !strings.Contains(text, copied) {
			t.Errorf("no %q", copied)
		}
		programs = append(programs, entry[1])
	}
	if slices.Sort(programs); !slices.Equal(programs, []string{"sallyport", "sallyport-agent", "sallyport-proxy"}) {
		t.Errorf("the images start %v", programs)
	}
	if found := regexp.MustCompile(`(?m)^(USER|ADD) (root|0).*$`).FindString(text); found != "" {
		t.Error(found)
	}
}

// Images are named with the tag of a release, never with what moves.
func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	for _, name := range append(deployed(t, "compose", "*.yaml"), deployed(t, "kubernetes", "*.yaml")...) {
		for _, image := range regexp.MustCompile(`(?m)image:(?: &\w+)? ([^*\s]+)`).FindAllStringSubmatch(string(read(t, name)), -1) {
			ours := strings.HasPrefix(image[1], "sallyport/")
			if tagged := regexp.MustCompile(`:v?\d[\w.]*$`).MatchString(image[1]); !ours && !tagged {
				t.Errorf("%s: %s has no version", name, image[1])
			}
		}
	}
}
