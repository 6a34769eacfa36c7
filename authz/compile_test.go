package authz_test

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-951114d4/sallyport/authz"
)

func TestPoliciesThatDoNotLoad(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files map[string]string
		words []string
	}{
		{"syntax", map[string]string{"register.rego": "package sallyport.register\nallow if {"}, []string{"register.rego:2", "rego_parse_error"}},
		{"every syntax error", map[string]string{"register.rego": "package sallyport.register\nallow if {", "x.rego": "package x\ny := ="}, []string{"register.rego:2", "x.rego:2"}},
		{"Rego v0", map[string]string{"register.rego": "package sallyport.register\nallow { true }"}, []string{"register.rego:2"}},
		{"empty module", map[string]string{"x.rego": "# nothing"}, []string{"x.rego"}},
		{"strict: unused variable", map[string]string{"register.rego": "package sallyport.register\nallow if { x := 1 }"}, []string{"register.rego:2", "unused"}},
		{"strict: unused import", map[string]string{"register.rego": "package sallyport.register\nimport data.lib\nallow := true"}, []string{"register.rego:2", "unused"}},
		{"recursion", map[string]string{"register.rego": "package sallyport.register\nallow if not allow"}, []string{"register.rego:2", "recursive"}},
		{"unsafe", map[string]string{"register.rego": "package sallyport.register\nallow if x == 1"}, []string{"register.rego:2", "unsafe"}},
		{"no register", map[string]string{"register.rego": "package other\nallow := true"}, []string{"data.sallyport.register.allow"}},
		{"no scrape", map[string]string{"scrape.rego": "package sallyport.scrape\nhelper := true"}, []string{"data.sallyport.scrape.allow"}},
		{"allow in a test only", map[string]string{"register.rego": "package sallyport.register\nx := true", "a_test.rego": "package sallyport.register\nallow := true"}, []string{"data.sallyport.register.allow"}},
		{"allow a function", map[string]string{"register.rego": "package sallyport.register\nallow(x) if x == 1"}, []string{"register.rego:2", "not a function"}},
		{"limit a function", map[string]string{"register.rego": "package sallyport.register\nallow := true\nlimits.max_routes(x) := 5 if x == 1"}, []string{"register.rego:3", "not a function"}},
		{"allow a package", map[string]string{"register.rego": "package sallyport.register.allow\nx := true"}, []string{"allow is of type object"}},
		{"unknown limit", map[string]string{"register.rego": "package sallyport.register\nallow := true\nlimits.max_rout := 5"}, []string{"max_rout"}},
		{"allow as data", map[string]string{"register.rego": "package other\nx := 1", "sallyport/register/data.json": `{"allow": true}`}, []string{"data.sallyport.register.allow must be a rule"}},
		{"limits as data", map[string]string{"data.yaml": "sallyport: {scrape: {limits: {max_inflight: 1}}}"}, []string{"data.sallyport.scrape.limits must be a rule"}},
		{"data in the place of a rule", map[string]string{"register.rego": "package sallyport.register\nallow := grants.x\ngrants := {\"x\": true}", "sallyport/register/data.json": `{"grants": {"x": true}}`}, []string{"register.rego:3", "conflict"}},
		{"failing test", map[string]string{"x_test.rego": "package x_test\nimport data.sallyport.register\n\ntest_a if true\ntest_b if register.allow"}, []string{"1 failed", "x_test.rego:5", "test_b"}},
		{"failing test among the rules", map[string]string{"x.rego": "package x\ntest_b if false"}, []string{"x.rego:2", "test_b"}},
		{"test that does not compile", map[string]string{"x_test.rego": "package x_test\ntest_b if y"}, []string{"x_test.rego:2"}},
		{"test that does not parse", map[string]string{"x_test.rego": "package x_test\ntest_b if"}, []string{"x_test.rego:2"}},
		{"test with a builtin error", map[string]string{"x_test.rego": "package x_test\ntest_b if not to_number(data.word)", "data.json": `{"word": "x"}`}, []string{"x_test.rego:2", "to_number"}},
		{"bad data", map[string]string{"data.json": "{\n\"a\": }"}, []string{"data.json:2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mustNotCompile(t, folder(tt.files), tt.words...)
		})
	}
	t.Run("empty folder", func(t *testing.T) { mustNotCompile(t, fstest.MapFS{}, "is this the folder of a policy?") })
}

func TestCompileStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := authz.Compile(ctx, folder(nil), authz.Options{}); err == nil {
		t.Error("the policy loads")
	}
}

// A test beside the rules may say what it likes about them; it has no part in a decision.
func TestTestsAreKeptApart(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego":      "package sallyport.register\ndefault allow := false\nallow if data.lib.ok",
		"register_test.rego": "package sallyport.register\nallow if input.agent.id\ntest_a if allow with input.agent.id as \"x\"",
		"lib_test.rego":      "package lib\nok := true",
	}), authz.Options{})
	if d := p.Register(t.Context(), node()); d.Allow || d.Fault != nil {
		t.Errorf("%+v", d)
	}
}

func TestPrintIsSilent(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": "package sallyport.register\nallow if { print(\"x\", input.agent.id); trace(\"y\") }",
	}), authz.Options{})
	if d := p.Register(t.Context(), node()); !d.Allow {
		t.Errorf("%+v", d)
	}
}

func TestRevisionNamesTheContent(t *testing.T) {
	t.Parallel()
	base := map[string]string{"data.json": `{"a": 1}`, "README.md": "x"}
	first := mustCompile(t, folder(base), authz.Options{}).Revision()
	if first != strings.ToLower(first) || len(first) != 12 {
		t.Errorf("revision %q", first)
	}
	if again := mustCompile(t, folder(base), authz.Options{}).Revision(); again != first {
		t.Errorf("the same files: %s and %s", first, again)
	}
	base["README.md"] = "y"
	if again := mustCompile(t, folder(base), authz.Options{}).Revision(); again != first {
		t.Error("a file that is not read changes the revision")
	}
	for name, files := range map[string]map[string]string{
		"content": {"data.json": `{"a": 2}`},
		"name":    {"data2.json": `{"a": 1}`},
		"test":    {"data.json": `{"a": 1}`, "x_test.rego": "package x_test\ntest_a if true"},
	} {
		if other := mustCompile(t, folder(files), authz.Options{}).Revision(); other == first {
			t.Errorf("another %s has the same revision", name)
		}
	}
}

func TestEngineForwards(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego": "package sallyport.register\nallow if input.action == \"register\"",
		"scrape.rego":   "package sallyport.scrape\nallow if input.action == \"scrape\"",
		"admin.rego":    "package sallyport.admin\nallow if input.action == \"admin\"",
		"session.rego":  "package sallyport.session\nallow if input.action == \"session\"",
	}), authz.Options{})
	e := authz.NewEngine(p)
	if e.Policy() != p {
		t.Error("another policy")
	}
	for _, d := range []authz.Decision{
		e.Register(t.Context(), node()), e.Scrape(t.Context(), prometheus()), e.Admin(t.Context(), operator()),
		e.Session(t.Context(), connection()),
	} {
		if !d.Allow || d.Revision != p.Revision() {
			t.Errorf("%+v", d)
		}
	}
}
