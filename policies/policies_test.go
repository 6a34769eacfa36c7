package policies_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/seed-951114d4/sallyport/policies"
)

func TestBuiltin(t *testing.T) {
	t.Parallel()
	for _, name := range policies.Names() {
		for _, file := range []string{"README.md", "register.rego", "scrape.rego", "admin.rego"} {
			if _, err := fs.Stat(builtin(t, name), file); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, name := range []string{"", ".", "..", "nothing", "default/", "Default"} {
		if _, ok := policies.Builtin(name); ok {
			t.Errorf("there is a policy %q", name)
		}
	}
}

// Every rule and every expression of what ships is reached by its own tests, all of
// which pass.
func TestCoverage(t *testing.T) {
	t.Parallel()
	for _, name := range policies.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules, all := modules(t, builtin(t, name))
			coverage := cover.New()
			results, err := tester.NewRunner().
				SetCompiler(ast.NewCompiler()).
				SetModules(all).
				SetCoverageQueryTracer(coverage).
				SetCoverageRuns(nil).
				RunTests(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			ran := 0
			for r := range results {
				ran++
				if !r.Pass() {
					t.Errorf("%s: %s.%s: failed: %v", r.Location, r.Package, r.Name, r.Error)
				}
			}
			if ran == 0 {
				t.Error("no tests")
			}
			for file, report := range coverage.Report(rules).Files {
				if rules[file] == nil {
					continue
				}
				for _, r := range report.NotCovered {
					t.Errorf("%s:%d-%d: no test gets here", file, r.Start.Row, r.End.Row)
				}
			}
		})
	}
}

// A folder is there to be copied whole, so what two of them need stands in both. The
// copies are one text.
func TestCopiesAreEqual(t *testing.T) {
	t.Parallel()
	for _, stem := range []string{"patterns", "revoked", "session"} {
		for _, file := range []string{stem + ".rego", stem + "_test.rego"} {
			prod, err := fs.ReadFile(builtin(t, "prod"), file)
			if err != nil {
				t.Fatal(err)
			}
			staging, err := fs.ReadFile(builtin(t, "staging"), file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(prod, staging) {
				t.Errorf("%s is not the same in prod and staging", file)
			}
		}
	}
}

func builtin(t testing.TB, name string) fs.FS {
	t.Helper()
	folder, ok := policies.Builtin(name)
	if !ok {
		t.Fatalf("no policy %q", name)
	}
	return folder
}

// modules are the parsed rules, and rules and tests together.
func modules(t *testing.T, folder fs.FS) (rules, all map[string]*ast.Module) {
	t.Helper()
	rules, all = make(map[string]*ast.Module), make(map[string]*ast.Module)
	names, err := fs.Glob(folder, "*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := fs.ReadFile(folder, name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ast.ParseModuleWithOpts(name, string(content), ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		all[name] = m
		if !strings.HasSuffix(name, "_test.rego") {
			rules[name] = m
			described(t, m)
		}
	}
	return rules, all
}

// described wants a title on every package and on the rules that the proxy asks for:
// the first thing that one reads who copies the folder.
func described(t *testing.T, m *ast.Module) {
	t.Helper()
	titled := make(map[string]bool)
	for _, a := range m.Annotations {
		titled[a.GetTargetPath().String()] = a.Title != ""
	}
	pkg := m.Package.Path.String()
	want := []string{pkg}
	for _, rule := range m.Rules {
		switch name := rule.Head.Ref()[0].String(); name {
		case "allow", "reasons", "limits", "labels":
			want = append(want, pkg+"."+name)
		}
	}
	for _, path := range want {
		if !titled[path] {
			t.Errorf("%s: %s has no title", m.Package.Location, path)
		}
	}
}
