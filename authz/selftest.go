package authz

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestReport is what came of the tests of a policy.
type TestReport struct {
	Tests []TestResult   // by file and line
	Files []FileCoverage // by name; the rules alone, no tests
}

// Passed says that no test failed. A policy without tests passes.
func (r TestReport) Passed() bool { return false }

// Coverage is the share of the lines with rules or expressions that a test reached,
// from 0 to 1.
func (r TestReport) Coverage() float64 { return 0 }

// TestOutcome is "passed", "failed", "error" or "skipped".
type TestOutcome string

// The outcomes of a test. An error is a fault, such as a conflict or a builtin that
// fails; a failure is a test whose body is not true.
const (
	TestPassed  TestOutcome = "passed"
	TestFailed  TestOutcome = "failed"
	TestError   TestOutcome = "error"
	TestSkipped TestOutcome = "skipped"
)

// TestResult is one rule whose name begins with test_ (or todo_test_, which skips it).
type TestResult struct {
	Name     string // as in data.sallyport.register_test.test_own_prefix
	File     string
	Line     int
	Outcome  TestOutcome
	Message  string // why, where the outcome is an error
	Duration time.Duration
}

// FileCoverage is what the tests reached of one file of rules.
type FileCoverage struct {
	File       string
	Covered    []Lines
	NotCovered []Lines
}

// Lines are those from First to Last.
type Lines struct{ First, Last int }

// Test runs the tests of the policy in fsys as [Compile] does and says what came of
// each, and which lines they reached. The error is that of a policy whose tests could
// not be run.
func Test(ctx context.Context, fsys fs.FS) (TestReport, error) {
	src, err := readSource(fsys)
	if err != nil {
		return TestReport{}, fmt.Errorf("reading policy: %w", err)
	}
	return TestReport{}, src.runTests(ctx)
}

// runTests runs the policy's own tests with the language that the policy has: no
// clock, no network, and a builtin that fails fails the test.
func (s *source) runTests(ctx context.Context) error {
	modules := maps.Clone(s.modules)
	maps.Copy(modules, s.tests)

	txn, err := s.store.NewTransaction(ctx)
	if err != nil {
		return fmt.Errorf("opening data: %w", err)
	}
	defer s.store.Abort(ctx, txn)

	results, err := tester.NewRunner().
		SetCompiler(ast.NewCompiler().WithCapabilities(capabilities())).
		SetStore(s.store).
		SetModules(modules).
		RaiseBuiltinErrors(true).
		RunTests(ctx, txn)
	if err != nil {
		return err
	}
	var failed []string
	for r := range results {
		if r.Pass() || r.Skip {
			continue
		}
		line := fmt.Sprintf("%s: %s.%s failed", r.Location, r.Package, r.Name)
		if r.Error != nil {
			line = fmt.Sprintf("%s: %v", line, r.Error)
		}
		failed = append(failed, line)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(failed) > 0 {
		slices.Sort(failed)
		return fmt.Errorf("%d failed:\n%s", len(failed), strings.Join(failed, "\n"))
	}
	return nil
}
