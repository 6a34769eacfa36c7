package authz

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
)

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
