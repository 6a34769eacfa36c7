package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
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

// question is one action's compiled query.
type question struct {
	rules  []string  // those that the policy has
	places []ast.Ref // where they are, in the same order
	// eval gives the rules' values in the same order, nil where one is undefined. It
	// stops, if late, once cancel is set.
	eval func(ctx context.Context, asked asked, cancel topdown.Cancel) ([]ast.Value, error)
}

// asked is what a question is about.
type asked struct {
	input   ast.Value
	subject *Subject            // the agent of input, nil where only this is asked about it
	recall  *recall             // for subject
	tracer  topdown.QueryTracer // who watches the evaluation, nil for nobody
}

// The variables of the query.
const (
	varRule  = ast.Var("rule")
	varValue = ast.Var("value")
)

// newQuestion compiles the query for the rules of a that c has. It asks for those
// alone: the package may hold helpers, and evaluating them all would cost and could
// fail. A nil question is that of a package without allow.
func newQuestion(c *ast.Compiler, store storage.Store, a action) (*question, error) {
	var q question
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
	}
	if len(q.rules) == 0 || q.rules[0] != ruleAllow {
		return nil, nil
	}

	compiled, err := compileQuery(c, q.rules, a)
	if err != nil {
		return nil, fmt.Errorf("compiling the query for %s: %w", a.path(), err)
	}
	q.eval = func(ctx context.Context, asked asked, cancel topdown.Cancel) ([]ast.Value, error) {
		// Nobody writes to the data of a policy: this is no more than a number.
		txn, err := store.NewTransaction(ctx)
		if err != nil {
			return nil, err
		}
		defer store.Abort(ctx, txn)
		query := compiled().WithStore(store).WithTransaction(txn).WithInput(ast.NewTerm(asked.input)).WithCancel(cancel)
		if asked.tracer != nil {
			query.WithQueryTracer(asked.tracer)
		}
		if asked.recall == nil {
			return values(ctx, query, q.rules)
		}
		answers, err := values(ctx, query.WithVirtualCache(asked.recall), q.rules)
		if err == nil {
			asked.recall.keep()
		}
		return answers, err
	}
	return &q, nil
}

// compileQuery makes the query that looks at one rule after the other. OPA's evaluator
// is asked itself: the layer of options and results around it costs 2 us of the 20 that
// a decision of builtin:default takes (measured).
func compileQuery(c *ast.Compiler, rules []string, a action) (func() *topdown.Query, error) {
	names := ast.NewArray()
	for _, rule := range rules {
		names = names.Append(ast.StringTerm(rule))
	}
	each := ast.RefTerm(ast.NewTerm(names), ast.NewTerm(ast.Wildcard.Value))
	compiler := c.QueryCompiler()
	body, err := compiler.Compile(ast.NewBody(
		ast.Equality.Expr(ast.NewTerm(varRule), each),
		ast.Equality.Expr(ast.NewTerm(varValue), ast.NewTerm(a.path().Append(ast.NewTerm(varRule)))),
	))
	if err != nil {
		return nil, err
	}
	return func() *topdown.Query {
		return topdown.NewQuery(body).WithQueryCompiler(compiler).WithCompiler(c).
			WithMetrics(metrics.NoOp()).
			// Without this a builtin that fails is undefined, and under "not" allows.
			WithStrictBuiltinErrors(true)
	}, nil
}

// values evaluates the query: the value of each rule, in their order.
func values(ctx context.Context, query *topdown.Query, rules []string) ([]ast.Value, error) {
	values := make([]ast.Value, len(rules))
	err := query.Iter(ctx, func(result topdown.QueryResult) error {
		rule, value := result[varRule], result[varValue]
		if rule == nil || value == nil {
			return errors.New("the query gave no value")
		}
		name, _ := rule.Value.(ast.String)
		i := slices.Index(rules, string(name))
		if i < 0 || values[i] != nil {
			return errors.New("the query gave no single value")
		}
		values[i] = value.Value
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// ask evaluates the question within timeout. Whatever goes wrong, a panic included,
// is an error.
func (q *question) ask(ctx context.Context, asked asked, timeout time.Duration) (a answer, err error) {
	defer func() {
		if r := recover(); r != nil {
			a, err = answer{}, fmt.Errorf("evaluating: %w: %v", errPanic, r)
		}
	}()
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(timeout, cancel.Cancel)
	defer timer.Stop()

	values, err := q.eval(ctx, asked, cancel)
	switch {
	case topdown.IsCancel(err):
		return answer{}, fmt.Errorf("evaluating: %w of %s", ErrLate, timeout)
	case err != nil:
		return answer{}, fmt.Errorf("evaluating: %w", err)
	}
	if a, err = parseAnswer(q.rules, values); err != nil {
		return a, &answerError{err}
	}
	return a, nil
}
