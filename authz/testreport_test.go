package authz_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/authz"
)

const tested = `package sallyport.register

default allow := false

allow if {
	input.agent.kind == "spiffe"
	low
}

low if input.route.target.port < 1024

low if {
	input.agent.kind == "dns"
	input.route.target.port == 9100
}
`

const testsOfIt = `package sallyport.register_test

import data.sallyport.register

test_high_port if {
	not register.allow with input as {"agent": {"kind": "spiffe"}, "route": {"target": {"port": 9100}}}
}

test_low_port if {
	print("port", 80)
	register.allow with input as {"agent": {"kind": "spiffe"}, "route": {"target": {"port": 80}}}
}

test_wrong if register.allow with input as {"agent": {"kind": "spiffe"}, "route": {"target": {"port": 9100}}}

test_broken if to_number("x") == 1

todo_test_later if false
`

func TestTestReport(t *testing.T) {
	t.Parallel()
	files := folder(map[string]string{"register.rego": tested, "register_test.rego": testsOfIt})
	report, err := authz.Test(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	const pkg = "data.sallyport.register_test."
	want := []authz.TestResult{
		{Name: pkg + "test_high_port", Line: 5, Outcome: authz.TestPassed},
		{Name: pkg + "test_low_port", Line: 9, Outcome: authz.TestPassed, Output: "port 80\n"},
		{Name: pkg + "test_wrong", Line: 14, Outcome: authz.TestFailed},
		{Name: pkg + "test_broken", Line: 16, Outcome: authz.TestError},
		{Name: pkg + "todo_test_later", Line: 18, Outcome: authz.TestSkipped},
	}
	if len(report.Tests) != len(want) {
		t.Fatalf("%+v", report.Tests)
	}
	for i, got := range report.Tests {
		if (got.Outcome == authz.TestError) != strings.Contains(got.Message, "register_test.rego:16") {
			t.Errorf("message %q", got.Message)
		}
		if ran := got.Outcome != authz.TestSkipped; ran != (got.Duration > 0) {
			t.Errorf("%s took %s", got.Name, got.Duration)
		}
		got.Message, got.Duration, want[i].File = "", 0, "register_test.rego"
		if got != want[i] {
			t.Errorf("got  %+v\nwant %+v", got, want[i])
		}
	}
	if report.Passed() {
		t.Error("passed")
	}
	wantCoverage(t, report, []authz.FileCoverage{
		{File: "register.rego",
			Covered:    []authz.Lines{{First: 3, Last: 3}, {First: 5, Last: 7}, {First: 10, Last: 10}},
			NotCovered: []authz.Lines{{First: 12, Last: 14}}},
		{File: "scrape.rego", NotCovered: []authz.Lines{{First: 3, Last: 3}}},
	})
	if got, want := report.Coverage(), 5.0/9; got != want {
		t.Errorf("coverage %f, want %f", got, want)
	}
	// What fails here does not load either.
	mustNotCompile(t, files, "2 failed", "register_test.rego:14", "test_wrong failed", "register_test.rego:16")
}

func wantCoverage(t *testing.T, report authz.TestReport, want []authz.FileCoverage) {
	t.Helper()
	same := slices.EqualFunc(report.Files, want, func(a, b authz.FileCoverage) bool {
		return a.File == b.File && slices.Equal(a.Covered, b.Covered) && slices.Equal(a.NotCovered, b.NotCovered)
	})
	if !same {
		t.Errorf("got  %+v\nwant %+v", report.Files, want)
	}
}

func TestReportOfWhatPasses(t *testing.T) {
	t.Parallel()
	report, err := authz.Test(t.Context(), folder(nil))
	if err != nil || !report.Passed() || len(report.Tests) != 0 || report.Coverage() != 0 || len(report.Files) != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	for _, name := range []string{"register", "scrape"} {
		test := "package sallyport." + name + "_test\n\nimport data.sallyport." + name + "\n\ntest_denies if not " + name + ".allow\n"
		report, err = authz.Test(t.Context(), folder(map[string]string{name + "_test.rego": test}))
		if err != nil || !report.Passed() || len(report.Tests) != 1 || report.Coverage() != 0.5 {
			t.Errorf("%+v, %v", report, err)
		}
	}
	if c := (authz.TestReport{}).Coverage(); c != 1 {
		t.Errorf("coverage of nothing is %f", c)
	}
}

func TestTestsThatCannotRun(t *testing.T) {
	t.Parallel()
	for name, rego := range map[string]string{
		"syntax":   "package a\n\ntest_x if {\n",
		"function": "package a\n\ntest_x if f(1)\n",
	} {
		report, err := authz.Test(t.Context(), folder(map[string]string{"a_test.rego": rego}))
		if err == nil || !strings.Contains(err.Error(), "a_test.rego:") || report.Tests != nil {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := authz.Test(ctx, folder(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
