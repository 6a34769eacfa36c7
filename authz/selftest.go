package authz

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"
)

// Test runs the tests of the policy in fsys as [Compile] does, and says what came of
// each and which lines they reached. The error is that of a policy whose tests cannot
// be run.
func Test(ctx context.Context, fsys fs.FS) (TestReport, error) {
	src, err := readSource(fsys)
	if err != nil {
		return TestReport{}, fmt.Errorf("reading policy: %w", err)
	}
	coverage := cover.New()
	runner := src.runner(true).SetCoverageQueryTracer(coverage).SetCoverageRuns(nil)
	results, err := src.results(ctx, runner)
	if err != nil {
		return TestReport{}, fmt.Errorf("testing policy: %w", err)
	}
	report := TestReport{Tests: make([]TestResult, 0, len(results))}
	for _, r := range results {
		report.Tests = append(report.Tests, testResult(r))
	}
	reached := coverage.Report(src.modules)
	for _, name := range slices.Sorted(maps.Keys(src.modules)) {
		report.Files = append(report.Files, fileCoverage(name, reached.Files[name]))
	}
	return report, nil
}

// runTests runs the policy's own tests. One that fails is an error.
func (s *source) runTests(ctx context.Context) error {
	results, err := s.results(ctx, s.runner(false))
	if err != nil {
		return err
	}
	var failed []string
	for _, r := range results {
		if r.Pass() || r.Skip {
			continue
		}
		line := fmt.Sprintf("%s: %s.%s failed", r.Location, r.Package, r.Name)
		if r.Error != nil {
			line = fmt.Sprintf("%s: %v", line, r.Error)
		}
		failed = append(failed, line)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d failed:\n%s", len(failed), strings.Join(failed, "\n"))
	}
	return nil
}

// runner runs the tests with the language that the policy has: no clock, no network,
// and a builtin that fails fails the test. Without prints, print says nothing.
func (s *source) runner(prints bool) *tester.Runner {
	modules := maps.Clone(s.modules)
	maps.Copy(modules, s.tests)
	return tester.NewRunner().
		SetCompiler(ast.NewCompiler().WithCapabilities(capabilities()).WithEnablePrintStatements(prints)).
		SetStore(s.store).
		SetModules(modules).
		RaiseBuiltinErrors(true)
}

// results are in the order of files and lines.
func (s *source) results(ctx context.Context, runner *tester.Runner) ([]*tester.Result, error) {
	txn, err := s.store.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening data: %w", err)
	}
	defer s.store.Abort(ctx, txn)

	running, err := runner.RunTests(ctx, txn)
	if err != nil {
		return nil, err
	}
	var results []*tester.Result
	for r := range running {
		results = append(results, r)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slices.SortFunc(results, func(a, b *tester.Result) int {
		return cmp.Or(a.Location.Compare(b.Location), strings.Compare(a.Name, b.Name))
	})
	return results, nil
}
