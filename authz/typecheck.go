package authz

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// checkTypes compiles the rules against the JSON schemas of their input, so that a
// misspelt field is an error instead of a value that is never defined: under "not"
// that would allow. Three actions have three inputs, and OPA knows one schema per
// compilation. So each action is compiled once more with the rules that it can
// reach, in whatever package they are: a helper shared by two actions must make
// sense for both. What no action reaches is held against all inputs at once.
//
// Schema annotations of an author have no say here. They could only widen a type.
func checkTypes(modules map[string]*ast.Module) error {
	var union []any
	for _, a := range actions() {
		schema, err := a.schema()
		if err != nil {
			return err
		}
		union = append(union, schema)
		err = checkAgainst(modules, schema, func(r ast.Ref) bool { return r.HasPrefix(a.path()) }, true)
		if err != nil {
			return fmt.Errorf("checking against the input of %s: %w", a, err)
		}
	}
	ofAnAction := func(r ast.Ref) bool {
		for _, a := range actions() {
			if r.HasPrefix(a.path()) {
				return true
			}
		}
		return false
	}
	err := checkAgainst(modules, map[string]any{"anyOf": union}, ofAnAction, false)
	if err != nil {
		return fmt.Errorf("checking against the inputs: %w", err)
	}
	return nil
}

// checkAgainst checks the types of the rules that the roots can reach, or of those
// that they cannot.
func checkAgainst(modules map[string]*ast.Module, schema any, root func(ast.Ref) bool, reachable bool) error {
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, schema)
	c := ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithSchemas(schemas).
		WithOnlyStagesUpTo(ast.StageCheckTypes).
		WithStageAfterID(ast.StageSetGraph, ast.CompilerStageDefinition{
			Name:       "SelectRules",
			MetricName: "select_rules",
			Stage:      func(c *ast.Compiler) *ast.Error { return selectRules(c, root, reachable) },
		})
	if c.Compile(modules); c.Failed() {
		return c.Errors
	}
	return nil
}

// selectRules narrows the graph, by which the type check goes, to the rules wanted.
func selectRules(c *ast.Compiler, root func(ast.Ref) bool, reachable bool) *ast.Error {
	reached := make(map[*ast.Rule]bool)
	var reach func(*ast.Rule)
	reach = func(r *ast.Rule) {
		if reached[r] {
			return
		}
		reached[r] = true
		for dep := range c.Graph.Dependencies(r) {
			reach(dep.(*ast.Rule))
		}
		if r.Else != nil {
			reach(r.Else)
		}
	}
	for _, m := range c.Modules {
		for _, r := range m.Rules {
			if root(r.Ref()) {
				reach(r)
			}
		}
	}

	selected := make(map[string]*ast.Module)
	for name, m := range c.Modules {
		narrowed := *m
		narrowed.Rules = nil
		for _, r := range m.Rules {
			if reached[r] == reachable {
				narrowed.Rules = append(narrowed.Rules, r)
			}
		}
		selected[name] = &narrowed
	}
	graph := ast.NewGraph(selected, func(r ast.Ref) []*ast.Rule {
		return c.GetRulesDynamicWithOpts(r, ast.RulesOptions{IncludeHiddenModules: true})
	})
	if _, acyclic := graph.Sort(); !acyclic {
		// The type check would pass over a graph that it cannot sort. The strict
		// compilation, which comes first, refuses recursion with a better message.
		return ast.NewError(ast.RecursionErr, nil, "rules refer to each other in a circle")
	}
	c.Graph = graph
	return nil
}
