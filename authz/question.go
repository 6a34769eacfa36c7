package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// ErrLate is the fault of an evaluation that was cut short.
var ErrLate = errors.New("no answer within the time limit")

// errPanic is the fault of an evaluation that panicked.
var errPanic = errors.New("panic")

// answerError is the fault of an answer that is none: of another type, say.
type answerError struct{ error }

func (e *answerError) Unwrap() error { return e.error }

// question is one action's prepared query.
type question struct {
	rules  []string  // those that the policy has, in the order of the answer
	places []ast.Ref // where they are, in the same order
	// eval gives the query's value and stops, if late, once cancel is set.
	eval func(ctx context.Context, input ast.Value, cancel topdown.Cancel, opts ...rego.EvalOption) (ast.Value, error)
}

// prepare builds the query for the rules of a that c has. It asks for those alone:
// the package may hold helpers, and evaluating them all would cost and could fail.
// A nil question is that of a package without allow.
func prepare(ctx context.Context, c *ast.Compiler, store storage.Store, a action) (*question, error) {
	var q question
	var cells []string
	for _, name := range a.rules() {
		// A rule may be written in parts: limits.max_routes := 5. What is found here
		// need not be the answer's, but what is not found is never asked for, and a
		// limit that is passed over allows.
		if len(c.GetRulesDynamicWithOpts(a.rule(name), ast.RulesOptions{IncludeHiddenModules: true})) == 0 {
			continue
		}
		for _, rule := range c.GetRulesWithPrefix(a.rule(name)) {
			if len(rule.Head.Args) > 0 {
				return nil, fmt.Errorf("%s: %s must be a rule, not a function", rule.Loc(), rule.Ref().GroundPrefix())
			}
		}
		q.rules, q.places = append(q.rules, name), append(q.places, a.rule(name))
		cells = append(cells, fmt.Sprintf("[x | x := %s]", a.rule(name)))
	}
	if len(q.rules) == 0 || q.rules[0] != ruleAllow {
		return nil, nil
	}

	prepared, err := rego.New(
		rego.Compiler(c),
		rego.Store(store),
		rego.Query("["+strings.Join(cells, ", ")+"]"),
		rego.SetRegoVersion(ast.RegoV1),
		rego.Capabilities(capabilities()),
		// Without this a builtin that fails is undefined, and under "not" allows.
		rego.StrictBuiltinErrors(true),
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t.Value, nil }),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing the query for %s: %w", a.path(), err)
	}

	q.eval = func(ctx context.Context, input ast.Value, cancel topdown.Cancel, opts ...rego.EvalOption) (ast.Value, error) {
		results, err := prepared.Eval(ctx, append(opts,
			rego.EvalParsedInput(input),
			rego.EvalExternalCancel(cancel),
			rego.EvalMetrics(metrics.NoOp()))...)
		if err != nil {
			return nil, err
		}
		if len(results) != 1 || len(results[0].Expressions) != 1 {
			return nil, errors.New("the query gave no single result")
		}
		value, ok := results[0].Expressions[0].Value.(ast.Value)
		if !ok {
			return nil, errors.New("the query gave no value")
		}
		return value, nil
	}
	return &q, nil
}

// ask evaluates the question within timeout. Whatever goes wrong, a panic included,
// is an error.
func (q *question) ask(ctx context.Context, input ast.Value, timeout time.Duration, opts ...rego.EvalOption) (a answer, err error) {
	defer func() {
		if r := recover(); r != nil {
			a, err = answer{}, fmt.Errorf("evaluating: %w: %v", errPanic, r)
		}
	}()
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(timeout, cancel.Cancel)
	defer timer.Stop()

	value, err := q.eval(ctx, input, cancel, opts...)
	switch {
	case topdown.IsCancel(err):
		return answer{}, fmt.Errorf("evaluating: %w of %s", ErrLate, timeout)
	case err != nil:
		return answer{}, fmt.Errorf("evaluating: %w", err)
	}
	if a, err = parseAnswer(q.rules, value); err != nil {
		return a, &answerError{err}
	}
	return a, nil
}
