package testenv_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/testenv"
)

const module = "github.com/seed-951114d4/sallyport"

// mayImport says, per top-level folder, which others of ours its packages may
// import outside tests. What is not listed is refused.
var mayImport = map[string][]string{
	"proto":    {},
	"policies": {},
	"pki":      {},
	"authn":    {},
	"authz":    {"authn"},
	"agent":    {"authn", "proto"},
	"proxy":    {"authn", "authz", "proto"},
	"testenv":  {"agent", "authn", "authz", "pki", "policies", "proto", "proxy"},
	"cmd":      {"agent", "authn", "authz", "pki", "policies", "proto", "proxy"},
}

// mustNotLink says what a daemon's binary must not contain, by import path or
// by its beginning.
var mustNotLink = map[string][]string{
	"cmd/sallyport-agent": {
		module + "/authz", module + "/policies", module + "/pki", module + "/proxy",
		"github.com/open-policy-agent/opa/", "net/http/pprof", "testing", "golang.org/x/net/trace", "text/template", "html/template",
	},
	"cmd/sallyport-proxy": {module + "/pki", module + "/agent", "net/http/pprof"},
}

// topLevel is the layout of the repository's root.
var topLevel = strings.Fields(`
	cmd authn authz proxy agent pki policies proto testenv
	go.mod go.sum Makefile SECURITY.md README.md LICENSE
	.ci .gitignore .gitattributes .dockerignore .golangci.yml
	deploy docs .github CHANGELOG.md CONTRIBUTING.md`)

func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	for _, line := range output(t, "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		fields := strings.Fields(line)
		from, ok := folder(fields[0])
		if !ok {
			t.Errorf("%s is not in a folder of the layout", fields[0])
			continue
		}
		for _, imported := range fields[1:] {
			to, ours := folder(imported)
			if ours && to != from && !slices.Contains(mayImport[from], to) {
				t.Errorf("%s imports %s", fields[0], imported)
			}
		}
	}
}

// TestTestsImportNoCommand: a library's tests may use pki, policies and testenv,
// but what they need of cmd is in the wrong place.
func TestTestsImportNoCommand(t *testing.T) {
	t.Parallel()
	for _, line := range output(t, "go", "list", "-f", `{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}`, "./...") {
		fields := strings.Fields(line)
		if from, _ := folder(fields[0]); from == "cmd" {
			continue
		}
		for _, imported := range fields[1:] {
			if to, ours := folder(imported); ours && to == "cmd" {
				t.Errorf("the tests of %s import %s", fields[0], imported)
			}
		}
	}
}

func TestDaemonsLinkOnlyWhatTheyNeed(t *testing.T) {
	t.Parallel()
	if makefile := read(t, "../Makefile"); !strings.Contains(string(makefile), "?= "+testenv.BuildTags+"\n") {
		t.Errorf("make build does not build with the tags %q", testenv.BuildTags)
	}
	for command, forbidden := range mustNotLink {
		deps := output(t, "go", "list", "-tags", testenv.BuildTags, "-deps", "./"+command)
		for _, dep := range deps {
			for _, prefix := range forbidden {
				if dep == prefix || strings.HasPrefix(dep, strings.TrimSuffix(prefix, "/")+"/") {
					t.Errorf("%s links %s", command, dep)
				}
			}
		}
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, file := range output(t, "git", "ls-files") {
		entry, _, _ := strings.Cut(file, "/")
		if !slices.Contains(topLevel, entry) {
			t.Errorf("%s is not in the layout", file)
		}
	}
}

// folder returns the top-level folder of a package of ours.
func folder(importPath string) (string, bool) {
	rest, ours := strings.CutPrefix(importPath, module+"/")
	name, _, _ := strings.Cut(rest, "/")
	return name, ours
}

func output(t *testing.T, name string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running %v: %v\n%s", cmd.Args, err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestOnlyTracingKnowsTheSDK: the libraries make spans by OpenTelemetry's API, which costs
// who imports them nothing; what samples and sends them is the commands' to choose.
func TestOnlyTracingKnowsTheSDK(t *testing.T) {
	t.Parallel()
	for _, line := range output(t, "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		fields := strings.Fields(line)
		for _, imported := range fields[1:] {
			sdk := strings.HasPrefix(imported, "go.opentelemetry.io/otel/sdk") || strings.HasPrefix(imported, "go.opentelemetry.io/otel/exporters")
			if sdk && fields[0] != module+"/cmd/internal/tracing" {
				t.Errorf("%s imports %s", fields[0], imported)
			}
		}
	}
}
